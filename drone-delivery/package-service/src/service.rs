//! Wiring of one Package process.

use serde::{Deserialize, Serialize};
use service_kit::{Bound, Service, ServiceContext, StartError, start_sweeper};
use store::StoreSettings;
use utoipa::OpenApi as _;

use crate::{
    api::{Document, Shared, routes},
    store::MIGRATIONS,
};

/// Settings of the role.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PackageConfig {
    /// Its database.
    pub store: StoreSettings,
}

/// Starts the service on the context's tasks.
///
/// # Errors
/// The database cannot be opened, or an address cannot be listened on.
pub async fn run(context: ServiceContext, config: PackageConfig) -> Result<Bound, StartError> {
    let store = context.open_store(MIGRATIONS, config.store)?;
    start_sweeper(&context, &store);
    let shared = Shared { store: store.clone(), clock: context.clock.clone() };
    let health = context.health(Some(&store)).healthz("application/json", r#"{"status":"OK"}"#);
    Service::new(routes(shared))
        .store(&store)
        .health(health)
        .openapi(&Document::openapi())
        .serve(&context)
}
