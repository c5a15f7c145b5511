//! Ids in the paths of requests.

use base::{Code, NotAnId, is_id};

use crate::problem::Problem;

/// Refuses what cannot be an id ([`is_id`]), before anything is looked up or kept under it.
///
/// # Errors
/// 400 `invalid_request`.
pub fn check_id(id: &str) -> Result<(), Problem> {
    if is_id(id) { Ok(()) } else { Err(Problem::of(Code::InvalidRequest, NotAnId.to_string())) }
}
