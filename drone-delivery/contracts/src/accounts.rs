//! The Accounts context, as Shipping sees it: an id, and whether it may ship.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Words;

/// Whether an account may ship.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub enum AccountStatus {
    /// It may.
    #[default]
    Active,
    /// It may not: the article's example of a failure that does not go away.
    Suspended,
}

impl Words for AccountStatus {
    const WHAT: &'static str = "a status: Active or Suspended";
    const ALL: &'static [(Self, &'static str)] =
        &[(Self::Active, "Active"), (Self::Suspended, "Suspended")];
}
