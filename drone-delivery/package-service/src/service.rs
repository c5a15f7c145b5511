//! Wiring of one Package process.

use serde::{Deserialize, Serialize};
use service_kit::{Bound, Service, ServiceContext, StartError, start_forgetting, start_sweeper};
use store::StoreSettings;
use utoipa::OpenApi as _;

use crate::{
    api::{Document, Shared, routes},
    store::{MIGRATIONS, forget_old},
};

/// Settings of the role.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PackageConfig {
    /// Its database.
    pub store: StoreSettings,
    /// Days after which a package that nobody touched is forgotten.
    pub packages_kept_days: u32,
}

impl Default for PackageConfig {
    fn default() -> Self {
        Self { store: StoreSettings::default(), packages_kept_days: 400 }
    }
}

/// Starts the service on the context's tasks.
///
/// # Errors
/// The database cannot be opened, or an address cannot be listened on.
pub async fn run(context: ServiceContext, config: PackageConfig) -> Result<Bound, StartError> {
    let store = context.open_store(MIGRATIONS, config.store)?;
    start_sweeper(&context, &store);
    start_forgetting(&context, &store, "packages", config.packages_kept_days, forget_old);
    let shared = Shared { store: store.clone(), clock: context.clock.clone() };
    let health = context.health(Some(&store)).healthz("application/json", r#"{"status":"OK"}"#);
    Service::new(routes(shared))
        .store(&store)
        .health(health)
        .openapi(&Document::openapi())
        // Where the original served it.
        .openapi_at("/swagger/swagger.json")
        .serve(&context)
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use base::{ManualClock, Timestamp};
    use runtime::Tasks;
    use service_kit::ServiceConfig;
    use store::{SqlError, WriteError};
    use telemetry::Telemetry;
    use tokio::time::sleep;

    use super::*;
    use crate::{domain::PackageChange, store as table};

    const DAY: Duration = Duration::from_secs(86_400);

    #[tokio::test(start_paused = true)]
    async fn a_running_service_forgets_by_its_setting() {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(0)));
        let config = ServiceConfig::new("package", "package-1", directory.path());
        let context =
            ServiceContext::new(config, clock.clone(), Telemetry::disabled(), Tasks::new());
        let store = context.open_store(MIGRATIONS, StoreSettings::default()).unwrap();
        let config = PackageConfig { packages_kept_days: 3, ..PackageConfig::default() };
        run(context, config).await.unwrap();
        let put = store.write(|it| table::put(it, "p1", PackageChange::default()).map(|_| ()));
        let put: Result<(), WriteError<SqlError>> = put.await;
        put.unwrap();
        let is_kept = || async { store.read(|it| table::find(it, "p1")).await.unwrap().is_some() };
        // Time passes by itself here while nothing runs, so that sweeps come at once.
        clock.advance(DAY * 2);
        sleep(Duration::from_secs(300)).await;
        assert!(is_kept().await);
        clock.advance(DAY * 2);
        let mut looks = 0;
        while is_kept().await {
            looks += 1;
            assert!(looks < 200_000, "it is never forgotten");
            sleep(Duration::from_secs(1)).await;
        }
    }
}
