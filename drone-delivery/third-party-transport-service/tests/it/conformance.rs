use fleet_rules::FleetConfig;
use runtime::{SystemClock, Tasks};
use service_kit::{ServiceConfig, ServiceContext, testing::conforms};
use telemetry::Telemetry;
use third_party_transport_service::{TransportConfig, rows, run};

#[tokio::test]
async fn every_change_takes_effect_once_whatever_is_repeated() {
    let directory = tempfile::tempdir().unwrap();
    let role = "third-party-transport";
    let config = ServiceConfig::new(role, "third-party-transport-1", directory.path());
    let context =
        ServiceContext::new(config, SystemClock::shared(), Telemetry::disabled(), Tasks::new());
    let bound = run(context, FleetConfig::default(), TransportConfig::default()).await.unwrap();
    conforms(&bound, &rows()).await;
}
