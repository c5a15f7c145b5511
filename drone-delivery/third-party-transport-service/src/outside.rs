//! Companies outside that carry packages, asked by HTTP in the words of `docs/carriers.md`: the layer behind
//! which nobody knows those words.
//!
//! Each call is made once. What books, moves or calls off is repeated by the workflow that asks for it;
//! what is told and asked later, by the next look ([`watch`]). There is no retry here and no breaker.

mod reading;
pub(crate) mod watch;

use std::{collections::BTreeMap, time::Duration};

use base::Timestamp;
use http::{Method, StatusCode, header};
use serde_json::{Value, json};
use service_kit::{
    Call, CallReply, Client, Deadline, ServiceAddresses, ServiceContext, StartError, segment,
};

use crate::domain::{Move, Wish};

/// A company that can be asked.
#[derive(Debug, Clone)]
pub(crate) struct Company {
    pub(crate) name: String,
    /// `http://host:port` or `https://host:port`.
    pub(crate) url: String,
    /// What it knows us by; empty for nothing.
    pub(crate) token: String,
}

/// All of them; a cheap clone.
#[derive(Debug, Clone)]
pub(crate) struct Companies {
    client: Client,
    /// By name: as the client knows it, and the token.
    known: BTreeMap<String, (String, String)>,
    timeout: Duration,
}

/// Why there is no answer yet. It is asked again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{carrier} gives no answer: {why}")]
pub(crate) struct NoAnswer {
    pub(crate) carrier: String,
    pub(crate) why: String,
}

/// Whether a company takes a trip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It does, and expects to be at the drop-off then, in wall time.
    Yes {
        delivery_eta: Option<Timestamp>,
    },
    No,
}

/// What a company makes of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Done,
    /// It has the package.
    PickedUp,
    /// It does not go there, or knows nothing of it.
    Refused,
}

impl Companies {
    /// # Errors
    /// A company is called by TLS, and nobody can be believed about who it is.
    pub(crate) fn new(
        companies: Vec<Company>,
        timeout: Duration,
        context: &ServiceContext,
    ) -> Result<Self, StartError> {
        let mut addresses = ServiceAddresses::new();
        let mut known = BTreeMap::new();
        for (number, Company { name, url, token }) in companies.into_iter().enumerate() {
            // A name of ours: a company may be called anything.
            let service = format!("carrier-{number}");
            addresses = addresses.with(service.clone(), url);
            known.insert(name, (service, token));
        }
        Ok(Self { client: context.outside(addresses, timeout)?, known, timeout })
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Their names.
    pub(crate) fn names(&self) -> Vec<String> {
        self.known.keys().cloned().collect()
    }

    /// Asks one to take a trip; again is the same as once.
    pub(crate) async fn book(
        &self,
        carrier: &str,
        id: &str,
        Wish { trip, deadline: at_door_by, .. }: &Wish,
        deadline: Option<Deadline>,
    ) -> Result<Taken, NoAnswer> {
        let body = json!({
            "pickup": trip.pickup,
            "dropoff": trip.dropoff,
            "pickupTime": trip.pickup_time.map(|it| it.to_rfc3339()),
            "deadline": at_door_by.map(|it| it.to_rfc3339()),
            "weightKg": trip.weight_kg,
        });
        let reply = self.call(carrier, (Method::PUT, id, ""), Some(&body), deadline).await?;
        match reply.status.as_u16() {
            // Whoever answers with something else than was agreed may be anybody.
            200 | 201 => match reply.json() {
                None if !reply.body.is_empty() => Err(no_json(carrier)),
                said => {
                    let delivery_eta = reading::eta(&said.unwrap_or_default());
                    Ok(Taken::Yes { delivery_eta })
                }
            },
            409 | 422 => Ok(Taken::No),
            _ => Err(unexpected(carrier, &reply)),
        }
    }

    /// Asks it to go to other doors; again is the same as once.
    pub(crate) async fn relocate(
        &self,
        carrier: &str,
        id: &str,
        change: &Move,
        deadline: Option<Deadline>,
    ) -> Result<Change, NoAnswer> {
        let body = json!({
            "pickup": change.pickup,
            "dropoff": change.dropoff,
            "pickupTime": change.pickup_time.map(|it| it.to_rfc3339()),
            "revision": change.revision,
        });
        let reply = self.call(carrier, (Method::PATCH, id, ""), Some(&body), deadline).await?;
        match reply.status.as_u16() {
            200 | 204 => Ok(Change::Done),
            409 => Ok(Change::PickedUp),
            404 | 410 | 422 => Ok(Change::Refused),
            _ => Err(unexpected(carrier, &reply)),
        }
    }

    /// Calls it off; again, and where nothing was booked, it is done.
    pub(crate) async fn call_off(
        &self,
        carrier: &str,
        id: &str,
        deadline: Option<Deadline>,
    ) -> Result<Change, NoAnswer> {
        let reply = self.call(carrier, (Method::DELETE, id, ""), None, deadline).await?;
        match reply.status.as_u16() {
            200 | 204 | 404 | 410 => Ok(Change::Done),
            409 => Ok(Change::PickedUp),
            _ => Err(unexpected(carrier, &reply)),
        }
    }

    /// Tells it that it may leave; again is the same as once.
    async fn depart(&self, carrier: &str, id: &str) -> Result<(), NoAnswer> {
        let reply = self.call(carrier, (Method::POST, id, "/departure"), None, None).await?;
        if reply.status.is_success() { Ok(()) } else { Err(unexpected(carrier, &reply)) }
    }

    /// What it says of a booking; `None` when it knows nothing of it.
    async fn news(&self, carrier: &str, id: &str) -> Result<Option<Value>, NoAnswer> {
        let reply = self.call(carrier, (Method::GET, id, ""), None, None).await?;
        match reply.status {
            StatusCode::OK => reply.json().map(Some).ok_or_else(|| no_json(carrier)),
            StatusCode::NOT_FOUND | StatusCode::GONE => Ok(None),
            _ => Err(unexpected(carrier, &reply)),
        }
    }

    async fn call(
        &self,
        carrier: &str,
        (method, id, rest): (Method, &str, &str),
        body: Option<&Value>,
        deadline: Option<Deadline>,
    ) -> Result<CallReply, NoAnswer> {
        let no_answer = |why: String| NoAnswer { carrier: carrier.to_owned(), why };
        let known = self.known.get(carrier);
        let (service, token) = known.ok_or_else(|| no_answer("it is no longer set".to_owned()))?;
        let path = format!("/bookings/{}{rest}", segment(id));
        let mut call = Call::new(service.clone(), method, path).route("/bookings/{id}");
        if let Some(body) = body {
            call = call.json(body);
        }
        if !token.is_empty() {
            call = call.header(header::AUTHORIZATION, &format!("Bearer {token}"));
        }
        let own = Deadline::after(self.timeout);
        call = call.within(deadline.map_or(own, |it| it.min(own)));
        self.client.call(call).await.map_err(|it| no_answer(it.to_string()))
    }
}

fn no_json(carrier: &str) -> NoAnswer {
    NoAnswer { carrier: carrier.to_owned(), why: "its answer is no JSON".to_owned() }
}

fn unexpected(carrier: &str, reply: &CallReply) -> NoAnswer {
    NoAnswer { carrier: carrier.to_owned(), why: format!("it answers {}", reply.status.as_u16()) }
}
