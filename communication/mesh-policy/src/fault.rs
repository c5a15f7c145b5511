//! Faults that an operator plants at the mesh, to see what others do.
//!
//! The first standing fault that fits a request and whose draw hits decides alone. None stands
//! longer than it was planted for, so that a forgotten experiment ends by itself.

use std::time::Duration;

use base::Random;

use crate::{Moment, route::RequestView};

/// More faults than this at a time are refused: each is looked at for each request.
pub const FAULTS_MAX: usize = 100;

/// One planted fault.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// Its name; a second one of that name takes its place.
    pub name: String,
    /// What it stands before: a service, whichever of its versions a route leads a call to, or one of
    /// these alone.
    pub service: String,
    /// At whose door.
    pub at: At,
    /// The route that it is bound to, as `namespace/name`; `None` means all.
    pub route: Option<String>,
    /// A header that must be there with this value; name in lower case.
    pub header: Option<(String, String)>,
    /// Share of requests that it hits, 0 to 1.
    pub share: f64,
    /// Wait before the request goes on.
    pub delay: Option<Duration>,
    /// What becomes of it.
    pub abort: Option<Abort>,
    /// How long it stands from when it was planted.
    pub expires_after: Option<Duration>,
}

/// At whose door a fault stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum At {
    /// At the door through which others call the service; each of them sees its share.
    #[default]
    Caller,
    /// At the door through which calls come in to the service: whoever calls, through a mesh or not.
    Service,
}

/// What becomes of a request that a fault hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abort {
    /// This status, without a call.
    Status(u16),
    /// The answer is cut and the connection reset after so many bytes of its body.
    ResetAfter(u64),
}

/// A call, as far as faults tell calls apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call<'a> {
    /// The service that its caller named; `None` at an edge, where nobody names one.
    pub called: Option<&'a str>,
    /// The destination that it was led to.
    pub destination: &'a str,
    /// The route that led it, as `namespace/name`.
    pub route: Option<&'a str>,
}

/// What a fault does to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strike<'a> {
    /// Name of the fault, for metric and header.
    pub name: &'a str,
    /// Wait before the request goes on, or before it ends.
    pub delay: Option<Duration>,
    /// What becomes of it.
    pub abort: Option<Abort>,
}

/// Too many faults stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{FAULTS_MAX} faults stand already")]
pub struct TooManyFaultsError;

/// The faults that stand.
#[derive(Debug, Clone, Default)]
pub struct Faults(Vec<Planted>);

#[derive(Debug, Clone)]
struct Planted {
    fault: Fault,
    at: Moment,
}

impl Planted {
    fn stands(&self, now: Moment) -> bool {
        self.fault.expires_after.is_none_or(|it| now.saturating_since(self.at) < it)
    }
}

impl Faults {
    /// Plants a fault; one of the same name goes, and its time begins anew.
    ///
    /// # Errors
    /// When [`FAULTS_MAX`] others stand.
    pub fn plant(&mut self, fault: Fault, now: Moment) -> Result<(), TooManyFaultsError> {
        self.0.retain(|it| it.stands(now) && it.fault.name != fault.name);
        if self.0.len() >= FAULTS_MAX {
            return Err(TooManyFaultsError);
        }
        self.0.push(Planted { fault, at: now });
        Ok(())
    }

    /// Takes a fault away; whether it was there.
    pub fn clear(&mut self, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|it| it.fault.name != name);
        self.0.len() < before
    }

    /// Takes all away.
    pub fn clear_all(&mut self) {
        self.0.clear();
    }

    /// Those that stand, with the time that is left to each.
    pub fn standing(&self, now: Moment) -> impl Iterator<Item = (&Fault, Option<Duration>)> {
        self.0.iter().filter(move |it| it.stands(now)).map(move |it| {
            let passed = now.saturating_since(it.at);
            (&it.fault, it.fault.expires_after.map(|whole| whole.saturating_sub(passed)))
        })
    }

    /// What becomes of a call; `None` leaves it alone.
    pub fn strike(
        &self,
        call: Call<'_>,
        request: &impl RequestView,
        now: Moment,
        random: &mut Random,
    ) -> Option<Strike<'_>> {
        self.standing(now)
            .map(|(fault, _)| fault)
            .filter(|it| it.binds(call, request))
            .find(|it| random.unit() < it.share)
            .map(|it| Strike { name: &it.name, delay: it.delay, abort: it.abort })
    }
}

impl Fault {
    /// Whether it may strike a call; its share decides whether it does.
    #[must_use]
    pub fn binds(&self, call: Call<'_>, request: &impl RequestView) -> bool {
        let has_header = |(name, value): &(String, String)| request.header(name) == Some(value);
        self.at == At::Caller
            && (call.called == Some(&self.service) || call.destination == self.service)
            && self.route.as_deref().is_none_or(|it| Some(it) == call.route)
            && self.header.as_ref().is_none_or(has_header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::from_millis(7_000);

    struct Request(Option<&'static str>);

    impl RequestView for Request {
        fn method(&self) -> &'static str {
            "GET"
        }
        fn host(&self) -> &'static str {
            ""
        }
        fn path(&self) -> &'static str {
            "/"
        }
        fn query(&self) -> Option<&str> {
            None
        }
        fn header(&self, name: &str) -> Option<&str> {
            self.0.filter(|_| name == "tenant")
        }
    }

    fn fault(name: &str, share: f64) -> Fault {
        Fault {
            name: name.to_owned(),
            service: "account".to_owned(),
            at: At::Caller,
            route: None,
            header: None,
            share,
            delay: None,
            abort: Some(Abort::Status(503)),
            expires_after: None,
        }
    }

    fn hits(
        faults: &Faults,
        service: &str,
        route: Option<&str>,
        tenant: Option<&'static str>,
        now: Moment,
    ) -> usize {
        let call = Call { called: None, destination: service, route };
        let mut random = Random::with_seed(41);
        let strikes = |_: &usize| faults.strike(call, &Request(tenant), now, &mut random).is_some();
        (0..1_000).filter(strikes).count()
    }

    #[test]
    fn a_fault_hits_its_share_of_what_it_fits() {
        let mut faults = Faults::default();
        let route = Some("shop/orders".to_owned());
        let header = Some(("tenant".to_owned(), "blue".to_owned()));
        faults.plant(Fault { route, header, ..fault("f", 0.3) }, NOW).unwrap();
        let found = hits(&faults, "account", Some("shop/orders"), Some("blue"), NOW);
        assert!((250..350).contains(&found), "{found}");
        assert_eq!(hits(&faults, "package", Some("shop/orders"), Some("blue"), NOW), 0);
        assert_eq!(hits(&faults, "account", None, Some("blue"), NOW), 0);
        assert_eq!(hits(&faults, "account", Some("shop/orders"), Some("red"), NOW), 0);
        assert_eq!(hits(&faults, "account", Some("shop/orders"), None, NOW), 0);
    }

    #[test]
    fn a_fault_of_a_service_hits_calls_to_each_of_its_versions_and_one_of_a_version_no_other() {
        let hit = |of: &str, called, destination| {
            let mut faults = Faults::default();
            faults.plant(Fault { service: of.to_owned(), ..fault("f", 1.0) }, NOW).unwrap();
            let call = Call { called, destination, route: None };
            let mut random = Random::with_seed(41);
            faults.strike(call, &Request(None), NOW, &mut random).is_some()
        };
        let called = Some("account");
        assert!(hit("account", called, "account-v1") && hit("account", called, "account-v2"));
        assert!(
            hit("account-v2", called, "account-v2") && !hit("account-v2", called, "account-v1")
        );
        assert!(hit("account", None, "account") && !hit("account", None, "account-v1"));
        assert!(!hit("account", Some("package"), "package"));
    }

    #[test]
    fn a_fault_ends_when_its_time_is_over_counted_from_when_it_was_planted() {
        let mut faults = Faults::default();
        let expires_after = Some(Duration::from_secs(10));
        faults.plant(Fault { expires_after, ..fault("f", 1.0) }, NOW).unwrap();
        let check = |faults: &Faults, seconds, expected| {
            let now = NOW + Duration::from_secs(seconds);
            assert_eq!(hits(faults, "account", None, None, now), expected, "after {seconds} s");
        };
        check(&faults, 9, 1_000);
        check(&faults, 10, 0);
        let later = NOW + Duration::from_secs(9);
        faults.plant(Fault { expires_after, ..fault("f", 1.0) }, later).unwrap();
        check(&faults, 18, 1_000);
        check(&faults, 19, 0);
    }

    #[test]
    fn a_second_of_the_same_name_takes_the_place_of_the_first() {
        let mut faults = Faults::default();
        faults.plant(fault("f", 1.0), NOW).unwrap();
        faults.plant(fault("f", 0.0), NOW).unwrap();
        assert_eq!(hits(&faults, "account", None, None, NOW), 0);
        assert!(faults.clear("f") && !faults.clear("f"));
    }

    #[test]
    fn so_many_stand_and_no_more_until_one_expires() {
        let mut faults = Faults::default();
        let expires_after = Some(Duration::from_secs(1));
        for number in 0..FAULTS_MAX {
            let name = number.to_string();
            faults.plant(Fault { expires_after, ..fault(&name, 1.0) }, NOW).unwrap();
        }
        assert_eq!(faults.plant(fault("more", 1.0), NOW), Err(TooManyFaultsError));
        assert_eq!(faults.plant(fault("more", 1.0), NOW + Duration::from_secs(1)), Ok(()));
    }
}
