//! Wiring of one Account process.

use serde::{Deserialize, Serialize};
use service_kit::{Bound, Profile, Service, ServiceContext, StartError, start_sweeper};
use store::{SqlError, Store, StoreSettings, WriteError};
use utoipa::OpenApi as _;

use crate::{
    api::{Document, Shared, routes},
    domain::{Account, AccountId, AccountStatus},
    store::{self as table, MIGRATIONS},
};

/// Settings of the role.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccountConfig {
    /// Its database.
    pub store: StoreSettings,
    /// Accounts that profile demo knows as suspended.
    pub suspended: Vec<String>,
}

impl Default for AccountConfig {
    fn default() -> Self {
        Self { store: StoreSettings::default(), suspended: vec!["suspended-owner".to_owned()] }
    }
}

/// Starts the service on the context's tasks.
///
/// # Errors
/// The database cannot be opened or written, or an address cannot be listened on.
pub async fn run(context: ServiceContext, config: AccountConfig) -> Result<Bound, StartError> {
    let store = context.open_store(MIGRATIONS, config.store)?;
    if context.config.profile == Profile::Demo {
        let seeded = seed(&store, config.suspended).await;
        seeded.map_err(|it| StartError::Part { what: "the demo's accounts", source: it.into() })?;
    }
    start_sweeper(&context, &store);
    let (profile, client) = (context.config.profile, context.client().clone());
    let shared = Shared { store: store.clone(), profile, client };
    Service::new(routes(shared))
        .store(&store)
        .health(context.health(Some(&store)))
        .openapi(&Document::openapi())
        .serve(&context)
}

/// Registers the demo's suspended accounts, unless somebody did something with them before.
async fn seed(store: &Store, suspended: Vec<String>) -> Result<(), WriteError<SqlError>> {
    let seeding = store.write(move |transaction| {
        for id in suspended.into_iter().filter_map(|it| AccountId::new(it).ok()) {
            if table::find(transaction, &id)?.is_none() && !table::is_erased(transaction, &id)? {
                let account = Account::registered_on_first_use(id);
                let account = Account { status: AccountStatus::Suspended, ..account };
                table::put(transaction, &account)?;
            }
        }
        Ok(())
    });
    seeding.await
}
