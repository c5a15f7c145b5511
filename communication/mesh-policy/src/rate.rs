//! Local rate limits by the generic cell rate algorithm (ITU-T I.371): 429 with Retry-After.
//!
//! One moment is all that is kept of each client: when its bucket would be full again. That moment
//! also orders the table of clients: who is full again is forgotten without loss.
//!
//! It refuses to share counts between proxies; each one limits what comes through it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use crate::Moment;

/// A longer key is counted with the strangers: a table of long header fields is a way to fill memory.
const KEY_BYTES_MAX: usize = 256;

/// One limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimit {
    /// Its name, for header and metric.
    pub name: String,
    /// The edge, or the proxy, whose requests it binds; `None` means everybody's.
    pub gateway: Option<String>,
    /// The route that it binds, as `namespace/name`; `None` means every request.
    pub route: Option<String>,
    /// The service whose own door it stands at; `None` means the doors of those who call.
    pub service: Option<String>,
    /// The roles of the callers whom it binds: one of them is enough; none means everybody. Roles are known
    /// behind an edge that asks who comes in.
    pub roles: Vec<String>,
    /// Requests in `period`.
    pub requests: u32,
    /// The period.
    pub period: Duration,
    /// Requests that may come at once.
    pub burst: u32,
    /// Who is counted apart.
    pub key: RateKey,
}

impl RateLimit {
    /// So many a second, and `burst` of them at once, for each key apart: a bound that no policy states.
    #[must_use]
    pub fn per_second(name: &str, requests: u32, burst: u32, key: RateKey) -> Self {
        Self {
            name: name.to_owned(),
            gateway: None,
            route: None,
            service: None,
            roles: Vec::new(),
            requests,
            period: Duration::from_secs(1),
            burst,
            key,
        }
    }

    /// Whether it binds a caller with these roles, with commas between them.
    #[must_use]
    pub fn is_for(&self, roles: Option<&str>) -> bool {
        let mut known = roles.unwrap_or_default().split(',');
        self.roles.is_empty() || known.any(|it| self.roles.iter().any(|bound| bound == it))
    }
}

/// Who is counted apart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum RateKey {
    /// Everybody together.
    #[default]
    All,
    /// Each address of a client.
    Client,
    /// Each value of a header; name in lower case. Those without one are counted together.
    Header(String),
}

/// The answer to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it may go on; else 429.
    pub allowed: bool,
    /// Requests that may come at once after this one.
    pub remaining: u32,
    /// Time until the whole burst may come again.
    pub reset: Duration,
    /// Time until one more may come; zero where it is allowed.
    pub retry_after: Duration,
}

/// The count of one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gcra {
    /// Time that one request takes up; `None` where none is allowed at all.
    interval: Option<Duration>,
    burst: u32,
    /// Answer while none is allowed at all.
    period: Duration,
    /// The theoretical arrival time of I.371: when everything that was let through is worked off.
    full_at: Moment,
}

impl Gcra {
    /// A full bucket. A burst of 0 is one of 1, or nothing would ever pass.
    #[must_use]
    pub fn new(limit: &RateLimit) -> Self {
        Self {
            interval: limit.period.checked_div(limit.requests),
            burst: limit.burst.max(1),
            period: limit.period,
            full_at: Moment::default(),
        }
    }

    /// Counts a request and says whether it may go on. A refused one costs nothing.
    pub fn check(&mut self, now: Moment) -> Verdict {
        let Some(interval) = self.interval else {
            let (reset, retry_after) = (self.period, self.period);
            return Verdict { allowed: false, remaining: 0, reset, retry_after };
        };
        let capacity = interval.saturating_mul(self.burst);
        let backlog = self.full_at.saturating_since(now);
        let retry_after = (backlog + interval).saturating_sub(capacity);
        let allowed = retry_after.is_zero();
        let reset = if allowed { backlog + interval } else { backlog };
        self.full_at = now + reset;
        let free = capacity.saturating_sub(reset).as_nanos().checked_div(interval.as_nanos());
        let remaining = free.map_or(self.burst, |it| u32::try_from(it).unwrap_or(u32::MAX));
        Verdict { allowed, remaining, reset, retry_after }
    }
}

/// One limit with everybody that it counts apart, at most `keys_max` of them.
///
/// When the table is full, whoever has been idle longest and is full again is forgotten, which loses
/// nothing. While nobody is, newcomers share one count: a flood of invented clients limits itself
/// and cannot push out those that were there.
#[derive(Debug, Clone)]
pub struct Limiter {
    limit: RateLimit,
    keys_max: usize,
    counts: BTreeMap<Arc<str>, Gcra>,
    /// The same, by when they are full again.
    by_idleness: BTreeSet<(Moment, Arc<str>)>,
    /// Everybody, where nobody is counted apart; those without a key; those beyond the table.
    together: Gcra,
    strangers: Gcra,
}

impl Limiter {
    /// An empty table.
    #[must_use]
    pub fn new(limit: RateLimit, keys_max: usize) -> Self {
        let full = Gcra::new(&limit);
        Self {
            limit,
            keys_max,
            counts: BTreeMap::new(),
            by_idleness: BTreeSet::new(),
            together: full,
            strangers: full,
        }
    }

    /// What it enforces.
    #[must_use]
    pub const fn limit(&self) -> &RateLimit {
        &self.limit
    }

    /// How many are counted apart at the moment.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.counts.len()
    }

    /// Counts a request of this client (its address, or the value of the header). Without a key it
    /// is counted with all others that have none.
    pub fn check(&mut self, key: Option<&str>, now: Moment) -> Verdict {
        let Some(key) = key.filter(|_| self.limit.key != RateKey::All) else {
            return self.together.check(now);
        };
        if key.len() > KEY_BYTES_MAX {
            return self.strangers.check(now);
        }
        let (key, mut count) = match self.known(key) {
            Some(known) => known,
            None if self.has_room(now) => (Arc::from(key), Gcra::new(&self.limit)),
            None => return self.strangers.check(now),
        };
        let mut place = (count.full_at, key);
        self.by_idleness.remove(&place);
        let verdict = count.check(now);
        place.0 = count.full_at;
        self.counts.insert(Arc::clone(&place.1), count);
        self.by_idleness.insert(place);
        verdict
    }

    fn known(&self, key: &str) -> Option<(Arc<str>, Gcra)> {
        self.counts.get_key_value(key).map(|(key, count)| (Arc::clone(key), *count))
    }

    /// Makes room for one more where that loses nothing.
    fn has_room(&mut self, now: Moment) -> bool {
        if self.counts.len() < self.keys_max {
            return true;
        }
        match self.by_idleness.first() {
            Some((full_at, _)) if *full_at <= now => {
                if let Some((_, key)) = self.by_idleness.pop_first() {
                    self.counts.remove(&key);
                }
                true
            }
            _ => false,
        }
    }
}

/// Whole seconds of a wait, rounded up: the value of Retry-After.
#[must_use]
pub const fn seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(if wait.subsec_nanos() > 0 { 1 } else { 0 })
}

/// The value of `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-11), such as
/// `"name";q=100;w=60`; a period below a second is said as one.
#[must_use]
pub fn policy_field(limit: &RateLimit) -> String {
    let window = seconds(limit.period).max(1);
    format!("{};q={};w={window}", quoted(&limit.name), limit.requests)
}

/// The value of `RateLimit`, such as `"name";r=42;t=17`.
#[must_use]
pub fn limit_field(limit: &RateLimit, verdict: &Verdict) -> String {
    format!("{};r={};t={}", quoted(&limit.name), verdict.remaining, seconds(verdict.reset))
}

/// A String of RFC 9651: visible ASCII and spaces, two of them escaped.
fn quoted(name: &str) -> String {
    let mut quoted = String::with_capacity(name.len() + 2);
    quoted.push('"');
    for letter in name.chars().filter(|it| matches!(it, ' '..='~')) {
        if matches!(letter, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(letter);
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::from_millis(7_000);

    fn limit(requests: u32, burst: u32, key: RateKey) -> RateLimit {
        let (name, period) = ("orders".to_owned(), Duration::from_secs(1));
        let (gateway, route, service, roles) = (None, None, None, Vec::new());
        RateLimit { name, gateway, route, service, roles, requests, period, burst, key }
    }

    #[test]
    fn a_limit_for_roles_binds_who_has_one_of_them_and_nobody_else() {
        let everybody = limit(1, 1, RateKey::All);
        let some = RateLimit {
            roles: vec!["customer".to_owned(), "guest".to_owned()],
            ..everybody.clone()
        };
        for (roles, expected) in [
            (Some("customer"), true),
            (Some("operator,guest"), true),
            (Some("operator"), false),
            (Some("customers"), false),
            (Some(""), false),
            (None, false),
        ] {
            assert_eq!(
                (some.is_for(roles), everybody.is_for(roles)),
                (expected, true),
                "{roles:?}"
            );
        }
    }

    fn allowed(limiter: &mut Limiter, key: Option<&str>, times: u32, now: Moment) -> u32 {
        (0..times).map(|_| u32::from(limiter.check(key, now).allowed)).sum()
    }

    // mesh 12b: 37
    #[test]
    fn a_flood_of_a_second_gets_its_rate_and_its_burst() {
        let mut count = Gcra::new(&limit(100, 10, RateKey::All));
        let passed = (0..10_000)
            .filter(|it| count.check(NOW + Duration::from_micros(it * 100)).allowed)
            .count();
        assert!((100..=110).contains(&passed), "{passed}");
    }

    #[test]
    fn a_verdict_tells_what_is_left_and_when_to_come_again() {
        let mut count = Gcra::new(&limit(10, 3, RateKey::All));
        let millis = Duration::from_millis;
        let mut check = |at: u64, allowed, remaining, reset, retry_after| {
            let expected = Verdict {
                allowed,
                remaining,
                reset: millis(reset),
                retry_after: millis(retry_after),
            };
            assert_eq!(count.check(NOW + millis(at)), expected, "at {at} ms");
        };
        check(0, true, 2, 100, 0);
        check(0, true, 1, 200, 0);
        check(0, true, 0, 300, 0);
        check(0, false, 0, 300, 100);
        check(60, false, 0, 240, 40);
        check(100, true, 0, 300, 0);
        check(900, true, 2, 100, 0);
    }

    #[test]
    fn none_means_none_and_no_period_means_no_limit() {
        let mut none = Gcra::new(&limit(0, 10, RateKey::All));
        assert!(!none.check(NOW).allowed);
        let mut free =
            Gcra::new(&RateLimit { period: Duration::ZERO, ..limit(1, 0, RateKey::All) });
        assert!((0..1_000).all(|_| free.check(NOW).allowed));
    }

    // mesh 12b: 38
    #[test]
    fn one_clients_flood_leaves_another_its_share() {
        let mut limiter = Limiter::new(limit(10, 5, RateKey::Client), 100);
        assert_eq!(allowed(&mut limiter, Some("10.0.0.1"), 1_000, NOW), 5);
        assert_eq!(allowed(&mut limiter, Some("10.0.0.2"), 5, NOW), 5);
        assert_eq!(allowed(&mut limiter, None, 1_000, NOW), 5, "those without a key share one");
        let mut everybody = Limiter::new(limit(10, 5, RateKey::All), 100);
        assert_eq!(allowed(&mut everybody, Some("10.0.0.1"), 5, NOW), 5);
        assert_eq!(allowed(&mut everybody, Some("10.0.0.2"), 5, NOW), 0);
    }

    #[test]
    fn a_full_table_forgets_the_idle_and_else_lets_newcomers_share() {
        let mut limiter = Limiter::new(limit(10, 5, RateKey::Client), 3);
        for key in ["a", "b", "c"] {
            assert_eq!(allowed(&mut limiter, Some(key), 5, NOW), 5);
        }
        let strangers: u32 =
            (0..1_000).map(|it| allowed(&mut limiter, Some(&it.to_string()), 1, NOW)).sum();
        assert_eq!((strangers, limiter.keys()), (5, 3));
        assert_eq!(allowed(&mut limiter, Some("a"), 1, NOW), 0, "a flood pushed a client out");
        let later = NOW + Duration::from_millis(500);
        assert_eq!(allowed(&mut limiter, Some("d"), 9, later), 5);
        assert_eq!(limiter.keys(), 3);
        assert_eq!(limiter.counts.len(), limiter.by_idleness.len());
    }

    #[test]
    fn a_key_that_is_too_long_is_not_kept() {
        let mut limiter = Limiter::new(limit(10, 5, RateKey::Client), 3);
        assert_eq!(allowed(&mut limiter, Some(&"k".repeat(257)), 9, NOW), 5);
        assert_eq!(limiter.keys(), 0);
    }

    #[test]
    fn header_fields_are_structured_fields() {
        let mut orders = limit(100, 10, RateKey::All);
        orders.period = Duration::from_secs(60);
        assert_eq!(policy_field(&orders), r#""orders";q=100;w=60"#);
        let (reset, retry_after) = (Duration::from_millis(16_001), Duration::ZERO);
        let verdict = Verdict { allowed: true, remaining: 42, reset, retry_after };
        assert_eq!(limit_field(&orders, &verdict), r#""orders";r=42;t=17"#);
        orders.name = "a\"b\\c\r\nü".to_owned();
        assert_eq!(policy_field(&orders), r#""a\"b\\c";q=100;w=60"#);
    }
}
