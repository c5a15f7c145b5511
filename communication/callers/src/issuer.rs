//! Whose tokens are believed.

use crate::{principal::Role, signers::Signers};

/// Somebody whose tokens are believed.
#[derive(Debug, Clone)]
pub struct Issuer {
    /// What it calls itself in `iss`, letter by letter.
    pub name: String,
    /// What it calls us in `aud`.
    pub audience: String,
    /// The claim that lists roles.
    pub roles_claim: String,
    /// The roles of whom no roles are claimed for.
    pub roles: Vec<Role>,
    /// Who signs for it.
    pub signers: Signers,
}
