//! Planted faults: an operator makes a route fail a given number of times, to see what others do.
//!
//! Off unless the configuration says otherwise, and reachable over the admin port alone.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base::Random;
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
    /// How many of a hundred requests to the route it hits, drawn one by one.
    #[serde(default = "all", skip_serializing_if = "is_all")]
    pub percent: u8,
}

const fn all() -> u8 {
    100
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_all(percent: &u8) -> bool {
    *percent == all()
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
    /// Of a hundred requests, at least one and at most all are hit.
    #[error("{0} of a hundred requests cannot be hit")]
    Percent(u8),
    /// Too many stand already.
    #[error("{FAULTS_MAX} faults stand already")]
    TooMany,
}

/// The faults of one process; a cheap handle.
#[derive(Debug, Clone)]
pub struct Faults(Arc<Mutex<Planted>>);

#[derive(Debug)]
struct Planted {
    faults: Vec<Fault>,
    random: Random,
}

impl Default for Faults {
    fn default() -> Self {
        Self::drawing(runtime::random_from_os())
    }
}

impl Faults {
    fn drawing(random: Random) -> Self {
        Self(Arc::new(Mutex::new(Planted { faults: Vec::new(), random })))
    }

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
        if !(1..=100).contains(&fault.percent) {
            return Err(PlantError::Percent(fault.percent));
        }
        let Planted { faults, .. } = &mut *self.lock();
        faults.retain(|it| it.route != fault.route);
        if faults.len() >= FAULTS_MAX {
            return Err(PlantError::TooMany);
        }
        faults.push(fault);
        Ok(())
    }

    /// Takes all faults away.
    pub fn clear(&self) {
        self.lock().faults.clear();
    }

    /// What stands.
    #[must_use]
    pub fn list(&self) -> Vec<Fault> {
        self.lock().faults.clone()
    }

    /// What happens to this request; counts it.
    pub(crate) fn strike(&self, method: &Method, template: &str) -> Option<FaultEffect> {
        let Planted { faults, random } = &mut *self.lock();
        let at = faults.iter().position(|it| {
            it.route
                .split_once(' ')
                .is_some_and(|(verb, path)| verb == method.as_str() && path == template)
        })?;
        if random.below(100) >= u64::from(faults[at].percent) {
            return None;
        }
        let effect = faults[at].effect;
        faults[at].count = faults[at].count.saturating_sub(1);
        if faults[at].count == 0 {
            faults.remove(at);
        }
        Some(effect)
    }

    fn lock(&self) -> MutexGuard<'_, Planted> {
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
        Fault { route: route.to_owned(), effect, count, percent: 100 }
    }

    fn faults_of(percent: u8) -> Fault {
        Fault { percent, ..fault("PUT /a", FaultEffect::Status(503), 1) }
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
    fn a_fault_hits_as_many_of_a_hundred_as_it_says_and_the_others_do_not_count() {
        let faults = Faults::drawing(Random::with_seed(7));
        faults.plant(Fault { count: 100, ..faults_of(30) }).unwrap();
        let struck = (0..1_000).filter(|_| faults.strike(&Method::PUT, "/a").is_some()).count();
        assert_eq!(struck, 100, "then it is used up");
        faults.plant(Fault { count: 10_000, ..faults_of(30) }).unwrap();
        let struck = (0..1_000).filter(|_| faults.strike(&Method::PUT, "/a").is_some()).count();
        assert!((250..350).contains(&struck), "{struck}");
        for percent in [0, 101] {
            assert_eq!(faults.plant(faults_of(percent)), Err(PlantError::Percent(percent)));
        }
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
