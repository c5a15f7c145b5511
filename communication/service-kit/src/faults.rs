//! Planted faults: an operator makes a route fail a given number of times, to see what others do.
//!
//! Off unless the configuration says otherwise, and reachable over the admin port alone.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};

/// Faults that may stand at a time.
const FAULTS_MAX: usize = 64;

/// What happens instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultEffect {
    /// This status, without any work.
    Status(u16),
    /// So many milliseconds of waiting before the work.
    DelayMs(u64),
    /// The work is done and the connection is closed without a reply.
    DropReply(bool),
}

/// One planted fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Method and template, such as `PUT /api/accounts/{id}`.
    pub route: String,
    /// What happens instead.
    #[serde(flatten)]
    pub effect: FaultEffect,
    /// How many more requests it hits.
    pub count: u32,
}

/// Why a fault was not planted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlantError {
    /// The route is not `METHOD /template`.
    #[error("the route must look like `PUT /api/things/{{id}}`")]
    Route,
    /// No such status exists.
    #[error("{0} is not a status")]
    Status(u16),
    /// Too many stand already.
    #[error("{FAULTS_MAX} faults stand already")]
    TooMany,
}

/// The faults of one process; a cheap handle.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Mutex<Vec<Fault>>>);

impl Faults {
    /// Plants a fault, in the place of one that stands on the same route.
    ///
    /// # Errors
    /// [`PlantError`] says what is wrong with it.
    pub fn plant(&self, fault: Fault) -> Result<(), PlantError> {
        let (method, path) = fault.route.split_once(' ').ok_or(PlantError::Route)?;
        if Method::from_bytes(method.as_bytes()).is_err() || !path.starts_with('/') {
            return Err(PlantError::Route);
        }
        if let FaultEffect::Status(status) = fault.effect {
            // Informational statuses are no answers.
            StatusCode::from_u16(status)
                .ok()
                .filter(|it| !it.is_informational())
                .ok_or(PlantError::Status(status))?;
        }
        let mut faults = self.lock();
        faults.retain(|it| it.route != fault.route);
        if faults.len() >= FAULTS_MAX {
            return Err(PlantError::TooMany);
        }
        faults.push(fault);
        Ok(())
    }

    /// Takes all faults away.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// What stands.
    #[must_use]
    pub fn list(&self) -> Vec<Fault> {
        self.lock().clone()
    }

    /// What happens to this request; counts it.
    pub(crate) fn strike(&self, method: &Method, template: &str) -> Option<FaultEffect> {
        let mut faults = self.lock();
        let at = faults.iter().position(|it| {
            it.route
                .split_once(' ')
                .is_some_and(|(verb, path)| verb == method.as_str() && path == template)
        })?;
        let effect = faults[at].effect;
        faults[at].count = faults[at].count.saturating_sub(1);
        if faults[at].count == 0 {
            faults.remove(at);
        }
        Some(effect)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Fault>> {
        // A panic while it was held leaves whole entries.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FaultEffect {
    pub(crate) const fn delay(self) -> Option<Duration> {
        match self {
            Self::DelayMs(wait) => Some(Duration::from_millis(wait)),
            Self::Status(_) | Self::DropReply(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(route: &str, effect: FaultEffect, count: u32) -> Fault {
        Fault { route: route.to_owned(), effect, count }
    }

    #[test]
    fn a_fault_hits_its_route_as_often_as_it_says() {
        let faults = Faults::default();
        faults.plant(fault("PUT /a/{id}", FaultEffect::Status(503), 2)).unwrap();
        assert_eq!(faults.strike(&Method::GET, "/a/{id}"), None);
        assert_eq!(faults.strike(&Method::PUT, "/a/{id}"), Some(FaultEffect::Status(503)));
        assert_eq!(faults.strike(&Method::PUT, "/a/{id}"), Some(FaultEffect::Status(503)));
        assert_eq!(faults.strike(&Method::PUT, "/a/{id}"), None);
    }

    #[test]
    fn the_json_form_names_one_effect() {
        let text = r#"{"route":"PUT /a","drop_reply":true,"count":1}"#;
        let read: Fault = serde_json::from_str(text).unwrap();
        assert_eq!(read, fault("PUT /a", FaultEffect::DropReply(true), 1));
        assert!(serde_json::from_str::<Fault>(r#"{"route":"PUT /a","count":1}"#).is_err());
    }

    #[test]
    fn nonsense_is_not_planted() {
        let faults = Faults::default();
        let plant =
            |route: &str, status| faults.plant(fault(route, FaultEffect::Status(status), 1));
        assert_eq!(plant("PUT", 503), Err(PlantError::Route));
        assert_eq!(plant("PUT api", 503), Err(PlantError::Route));
        assert_eq!(plant("PUT /a", 99), Err(PlantError::Status(99)));
        for index in 0..FAULTS_MAX {
            plant(&format!("PUT /{index}"), 503).unwrap();
        }
        assert_eq!(plant("PUT /more", 503), Err(PlantError::TooMany));
        assert_eq!(plant("PUT /1", 500), Ok(()));
    }
}
