//! Taps: listeners that are told of requests as they end.
//!
//! It never slows a request: whoever listens too slowly, or wants fewer a second, misses some, and
//! what is missed is counted. Nobody learns secrets here: no field, no body, no query is told. While
//! nobody listens, a request costs one atomic load.

pub(crate) mod access;

use std::{
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use base::Code;
use http::{Method, StatusCode};
use mesh_policy::Moment;
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// Listeners of one mesh; more are refused.
pub const LISTENERS_MAX: usize = 16;
/// Events that wait for one listener; what comes beyond is dropped and counted.
pub const WAITING_MAX: usize = 1_024;

/// Which hop of a request is told of. One request is several hops where proxies stand between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// From a service to another one: what each request has once.
    #[default]
    Outbound,
    /// From the proxy beside a service to that service.
    Inbound,
    /// From a program to the proxy beside it, which tells of the same request as outbound.
    Handover,
}

impl Direction {
    /// The word in events, logs and queries.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Outbound => "outbound",
            Self::Inbound => "inbound",
            Self::Handover => "handover",
        }
    }
}

/// One request that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Which hop of it.
    pub direction: Direction,
    /// Who called. Inbound, where nobody has proved a name, the address that it came from.
    pub source: String,
    /// Who was called; empty where no route led on.
    pub destination: String,
    /// `namespace/name` of the route; empty where none speaks.
    pub route: String,
    /// Method.
    pub method: Method,
    /// Path; a query is only hinted at.
    pub path: String,
    /// Status of the answer; `None` where the connection was reset instead.
    pub status: Option<StatusCode>,
    /// Why the mesh answered by itself; `None` where the application did.
    pub code: Option<Code>,
    /// Time to the head of the answer, all tries included.
    pub latency: Duration,
    /// Bytes of the answer's body that went by.
    pub bytes: u64,
    /// The trace that it is part of.
    pub trace_id: Option<String>,
    /// Tries that were made; 0 where none was.
    pub attempts: u32,
}

impl Event {
    /// One JSON object.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "direction": self.direction.as_str(),
            "source": self.source,
            "destination": self.destination,
            "route": self.route,
            "method": self.method.as_str(),
            "path": self.path,
            "status": self.status.map(|it| it.as_u16()),
            "code": self.code.map(Code::as_str),
            "latency_ms": self.latency.as_secs_f64() * 1_000.0,
            "bytes": self.bytes,
            "trace_id": self.trace_id,
            "attempts": self.attempts,
        })
    }
}

/// Which requests a listener is told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// Only those to one of these; empty means every one.
    pub destinations: Vec<String>,
    /// Only those with this method.
    pub method: Option<Method>,
    /// Only those whose path begins so.
    pub path_prefix: Option<String>,
    /// Requests that are told in one second; the rest is counted.
    pub events_per_second_max: u32,
}

impl Default for Filter {
    /// Every request, 100 in a second.
    fn default() -> Self {
        Self {
            destinations: Vec::new(),
            method: None,
            path_prefix: None,
            events_per_second_max: 100,
        }
    }
}

impl Filter {
    fn takes(&self, event: &Event) -> bool {
        (self.destinations.is_empty() || self.destinations.contains(&event.destination))
            && self.method.as_ref().is_none_or(|it| *it == event.method)
            && self.path_prefix.as_ref().is_none_or(|it| event.path.starts_with(it.as_str()))
    }
}

/// As many listeners as there may be listen already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{LISTENERS_MAX} listen already")]
pub struct TooManyTapsError;

/// All listeners of one mesh.
#[derive(Debug, Default)]
pub(crate) struct Taps {
    /// Looked at for each request.
    is_open: AtomicBool,
    listeners: RwLock<Vec<Arc<Listener>>>,
}

#[derive(Debug)]
struct Listener {
    filter: Filter,
    events: mpsc::Sender<Event>,
    dropped: AtomicU64,
    rate: Mutex<Rate>,
}

/// Counts by whole seconds since the first event.
#[derive(Debug, Default)]
struct Rate {
    second: Moment,
    told: u32,
}

impl Rate {
    fn allows(&mut self, per_second_max: u32, now: Moment) -> bool {
        if now.saturating_since(self.second) >= Duration::from_secs(1) {
            *self = Self { second: now, told: 0 };
        }
        let allowed = self.told < per_second_max;
        self.told += u32::from(allowed);
        allowed
    }
}

impl Taps {
    pub(crate) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    fn open(
        &self,
        filter: Filter,
    ) -> Result<(Arc<Listener>, mpsc::Receiver<Event>), TooManyTapsError> {
        let mut listeners = self.listeners.write().unwrap_or_else(PoisonError::into_inner);
        if listeners.len() >= LISTENERS_MAX {
            return Err(TooManyTapsError);
        }
        let (events, received) = mpsc::channel(WAITING_MAX);
        let rate = Mutex::default();
        let listener = Arc::new(Listener { filter, events, dropped: AtomicU64::new(0), rate });
        listeners.push(Arc::clone(&listener));
        self.is_open.store(true, Ordering::Relaxed);
        Ok((listener, received))
    }

    fn close(&self, listener: &Arc<Listener>) {
        let mut listeners = self.listeners.write().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|it| !Arc::ptr_eq(it, listener));
        self.is_open.store(!listeners.is_empty(), Ordering::Relaxed);
    }

    /// Tells whoever wants to know.
    pub(crate) fn tell(&self, event: &Event, now: Moment) {
        let listeners = self.listeners.read().unwrap_or_else(PoisonError::into_inner);
        for listener in listeners.iter().filter(|it| it.filter.takes(event)) {
            let most = listener.filter.events_per_second_max;
            let mut rate = listener.rate.lock().unwrap_or_else(PoisonError::into_inner);
            let is_told = rate.allows(most, now) && listener.events.try_send(event.clone()).is_ok();
            drop(rate);
            if !is_told {
                listener.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// One listener; dropped, it listens no more.
#[derive(Debug)]
pub struct Tap {
    taps: Arc<Taps>,
    listener: Arc<Listener>,
    events: mpsc::Receiver<Event>,
}

impl Tap {
    /// Listens from now on.
    pub(crate) fn open(taps: Arc<Taps>, filter: Filter) -> Result<Self, TooManyTapsError> {
        let (listener, events) = taps.open(filter)?;
        Ok(Self { taps, listener, events })
    }

    /// The next event. Cancel-safe.
    pub async fn next(&mut self) -> Event {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    /// The next event.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        match ready!(self.events.poll_recv(context)) {
            Some(event) => Poll::Ready(event),
            // The sender is ours too: it lives as long as this.
            None => Poll::Pending,
        }
    }

    /// Requests that it was not told of, since it listens.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.listener.dropped.load(Ordering::Relaxed)
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.taps.close(&self.listener);
    }
}

#[cfg(test)]
mod tests {
    use mesh_policy::Policy;
    use runtime::SystemClock;
    use telemetry::{Telemetry, TelemetryConfig};

    use super::*;
    use crate::{mesh::Mesh, pending::Pending};

    fn mesh() -> Mesh {
        let telemetry = Telemetry::new(TelemetryConfig::default(), SystemClock::shared());
        Mesh::new("shop", Policy::default(), &telemetry).unwrap()
    }

    fn request(mesh: &Mesh, path: &str) {
        let head = crate::view::asked("GET", "stock", path, &[]).unwrap();
        if let Some(mut pending) = Pending::of(mesh, &head, None) {
            pending.routed("", "stock");
            pending.answered(Some(StatusCode::OK), None);
        }
    }

    #[tokio::test]
    async fn a_query_is_not_told() {
        let mesh = mesh();
        let mut tap = mesh.tap(Filter::default()).unwrap();
        request(&mesh, "/a?token=secret");
        let event = tap.next().await;
        assert_eq!((event.path.as_str(), event.destination.as_str()), ("/a?…", "stock"));
        assert!(!event.to_json().to_string().contains("secret"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_beyond_the_rate_is_counted_until_the_next_second() {
        let mesh = mesh();
        let filter = Filter { events_per_second_max: 3, ..Filter::default() };
        let mut tap = mesh.tap(filter).unwrap();
        for _ in 0..5 {
            request(&mesh, "/a");
        }
        assert_eq!(tap.dropped(), 2);
        tokio::time::advance(Duration::from_secs(1)).await;
        request(&mesh, "/later");
        for expected in ["/a", "/a", "/a", "/later"] {
            assert_eq!(tap.next().await.path, expected);
        }
        assert_eq!(tap.dropped(), 2);
    }

    #[tokio::test]
    async fn a_listener_that_does_not_read_loses_events_and_keeps_no_more_than_the_bound() {
        let mesh = mesh();
        let filter = Filter { events_per_second_max: u32::MAX, ..Filter::default() };
        let tap = mesh.tap(filter).unwrap();
        for _ in 0..WAITING_MAX + 7 {
            request(&mesh, "/a");
        }
        assert_eq!((tap.events.len(), tap.dropped()), (WAITING_MAX, 7));
    }

    // mesh 12b: 58
    #[tokio::test]
    async fn only_what_a_listener_asked_for_is_told() {
        let mesh = mesh();
        let filters = [
            Filter { destinations: vec!["other".to_owned()], ..Filter::default() },
            Filter { method: Some(Method::POST), ..Filter::default() },
            Filter { path_prefix: Some("/b".to_owned()), ..Filter::default() },
            Filter { path_prefix: Some("/a".to_owned()), ..Filter::default() },
            Filter {
                destinations: ["other", "stock"].map(str::to_owned).to_vec(),
                ..Filter::default()
            },
        ];
        let taps = filters.map(|it| mesh.tap(it).unwrap());
        request(&mesh, "/a/1");
        assert_eq!(taps.map(|it| it.events.len()), [0, 0, 0, 1, 1]);
    }

    #[tokio::test]
    async fn listeners_are_bounded_and_nothing_is_gathered_when_the_last_one_left() {
        let mesh = mesh();
        let open = || mesh.tap(Filter::default());
        let taps: Vec<_> = (0..LISTENERS_MAX).map(|_| open().unwrap()).collect();
        assert_eq!(open().unwrap_err(), TooManyTapsError);
        drop(taps);
        let head = crate::view::asked("GET", "stock", "/", &[]).unwrap();
        assert!(Pending::of(&mesh, &head, None).is_none());
        assert!(open().is_ok());
    }
}
