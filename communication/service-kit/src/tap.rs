//! The page of live requests: a line of JSON for each one that ends, until the reader goes away.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse as _, Response},
};
use base::Code;
use bytes::Bytes;
use http::{Method, header};
use http_body::Frame;
use mesh_proxy::{
    Mesh,
    tap::{Direction, Event, Filter, Tap},
};
use runtime::Shutdown;
use serde_json::json;
use tokio::time::{Interval, interval};

use crate::{
    parameters::{Pairs, Parameters},
    problem::Problem,
    query::Query,
};

/// An empty line goes out so often: writing is how a reader that went away is noticed.
const BEAT: Duration = Duration::from_secs(1);
/// Most events that one reader may ask for in a second.
const EVENTS_PER_SECOND_MAX: u32 = 10_000;

/// What the page needs.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// What goes out of this process, and what comes in at its doors where it is a proxy.
    pub(crate) meshes: Vec<Mesh>,
    /// The page ends with the process: nobody else would end it.
    pub(crate) shutdown: Shutdown,
}

/// Whether this hop is one of those that are wanted.
fn takes(wanted: Option<&str>, hop: Direction) -> Result<bool, &'static str> {
    match wanted.unwrap_or("outbound") {
        "outbound" => Ok(hop == Direction::Outbound),
        "inbound" => Ok(hop == Direction::Inbound),
        "all" => Ok(true),
        _ => Err("a direction is outbound, inbound or all"),
    }
}

/// `?to=SERVICE,…&method=GET&path=/prefix&direction=outbound&max_rps=100`, each of them optional; a
/// direction is `outbound` (each request once), `inbound`, or `all`.
pub(crate) async fn page(
    State(source): State<Source>,
    Query(pairs): Query<Pairs>,
) -> Result<Response, Problem> {
    const ONCE: [&str; 5] = ["to", "method", "path", "direction", "max_rps"];
    let invalid = |detail: &str| Problem::of(Code::InvalidRequest, detail);
    let wanted = Parameters::read(pairs, &ONCE, &[])?;
    let method = wanted.get("method");
    let method = method.map(|it| Method::from_bytes(it.to_ascii_uppercase().as_bytes()));
    let names = wanted.get("to").into_iter().flat_map(|it| it.split(',')).map(str::to_owned);
    let most = wanted.get("max_rps").map_or(Ok(100), str::parse::<u32>);
    let most = most.map_err(|_| invalid("`max_rps` is a number"))?;
    let filter = Filter {
        destinations: names.collect(),
        method: method.transpose().map_err(|_| invalid("the method is none"))?,
        path_prefix: wanted.get("path").map(str::to_owned),
        events_per_second_max: most.min(EVENTS_PER_SECOND_MAX),
    };
    let mut taps = Vec::new();
    for mesh in &source.meshes {
        let is_taken = takes(wanted.get("direction"), mesh.direction()).map_err(invalid)?;
        if is_taken {
            let tap = mesh.tap(filter.clone());
            taps.push(tap.map_err(|it| Problem::of(Code::Overloaded, it.to_string()))?);
        }
    }
    let shutdown = source.shutdown;
    let stream = Stream {
        taps,
        beat: interval(BEAT),
        ends: Box::pin(async move { shutdown.cancelled().await }),
        dropped_told: 0,
    };
    let kind = [(header::CONTENT_TYPE, "application/jsonl")];
    Ok((kind, Body::new(stream)).into_response())
}

struct Stream {
    taps: Vec<Tap>,
    beat: Interval,
    ends: Pin<Box<dyn Future<Output = ()> + Send>>,
    dropped_told: u64,
}

impl Stream {
    /// The event, behind how many were not told so far if that has changed.
    fn lines(&mut self, event: Option<&Event>) -> Bytes {
        let mut text = String::new();
        let dropped = self.taps.iter().map(Tap::dropped).sum();
        if dropped != self.dropped_told {
            self.dropped_told = dropped;
            text += &json!({"dropped": dropped}).to_string();
            text.push('\n');
        }
        text += &event.map(|it| it.to_json().to_string()).unwrap_or_default();
        text.push('\n');
        text.into()
    }
}

impl http_body::Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.ends.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        let event = self.taps.iter_mut().find_map(|it| match it.poll_next(context) {
            Poll::Ready(event) => Some(event),
            Poll::Pending => None,
        });
        let event = match event {
            Some(event) => Some(event),
            None if self.beat.poll_tick(context).is_ready() => None,
            None => return Poll::Pending,
        };
        Poll::Ready(Some(Ok(Frame::data(self.lines(event.as_ref())))))
    }
}

#[cfg(test)]
mod tests {
    use telemetry::Telemetry;

    use super::*;
    use crate::{Client, ServiceAddresses};

    #[test]
    fn what_a_client_hands_to_the_proxy_beside_it_is_a_hop_of_its_own() {
        let (timeout, telemetry) = (Duration::from_secs(1), Telemetry::disabled());
        let beside = Client::beside(ServiceAddresses::new(), timeout, telemetry.clone());
        assert_eq!(beside.mesh().direction(), Direction::Handover);
        let plain = Client::new(ServiceAddresses::new(), timeout, telemetry);
        assert_eq!(plain.mesh().direction(), Direction::Outbound);
    }

    #[test]
    fn a_request_that_passes_proxies_is_told_once_unless_more_is_asked_for() {
        use Direction::{Handover, Inbound, Outbound};
        let hops = [Outbound, Inbound, Handover];
        let told = |wanted| hops.map(|it| takes(wanted, it).unwrap());
        assert_eq!(told(None), [true, false, false]);
        assert_eq!(told(Some("outbound")), told(None));
        assert_eq!(told(Some("inbound")), [false, true, false]);
        assert_eq!(told(Some("all")), [true; 3]);
        assert!(takes(Some("sideways"), Outbound).is_err());
    }
}
