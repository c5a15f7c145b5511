use drone_service::{DroneConfig, run};
use fleet_rules::FleetConfig;
use runtime::{SystemClock, Tasks};
use service_kit::{ServiceConfig, ServiceContext, testing::conforms};
use telemetry::Telemetry;

#[tokio::test]
async fn every_change_takes_effect_once_whatever_is_repeated() {
    let directory = tempfile::tempdir().unwrap();
    let config = ServiceConfig::new("drone", "drone-1", directory.path());
    let context =
        ServiceContext::new(config, SystemClock::shared(), Telemetry::disabled(), Tasks::new());
    let bound = run(context, FleetConfig::default(), DroneConfig::default()).await.unwrap();
    conforms(&bound, &drone_service::rows()).await;
}
