use package_service::{PackageConfig, run};
use runtime::{SystemClock, Tasks};
use service_kit::{ServiceConfig, ServiceContext, testing::conforms};
use telemetry::Telemetry;

#[tokio::test]
async fn every_change_takes_effect_once_whatever_is_repeated() {
    let directory = tempfile::tempdir().unwrap();
    let config = ServiceConfig::new("package", "package-1", directory.path());
    let context =
        ServiceContext::new(config, SystemClock::shared(), Telemetry::disabled(), Tasks::new());
    let bound = run(context, PackageConfig::default()).await.unwrap();
    conforms(&bound, &package_service::rows()).await;
}
