//! The conformance tests of participants: every route that changes something is called twice, many
//! times at once, after its undo, before its do, by an owner that is none any more, with another
//! body, and with one that gives a member twice.
//!
//! A service's tests hand its running self and its rows over; [`conforms`] panics with the route
//! and the rule that does not hold.

use base::{Direction, OperationKey};
use http::{HeaderName, StatusCode};
use serde_json::Value;
use telemetry::Telemetry;
use tokio::task::JoinSet;

use crate::{
    client::{Call, CallReply, Client},
    config::ServiceAddresses,
    routes::{MutatingRoute, Repetition, SampleCall},
    service::Bound,
};

const SERVICE: &str = "participant";
/// Calls that come at once.
const AT_ONCE: usize = 16;

/// Walks every keyed row.
///
/// # Panics
/// When a rule does not hold.
#[expect(clippy::panic, reason = "a failed conformance test ends the test")]
pub async fn conforms(bound: &Bound, rows: &[MutatingRoute]) {
    let services = ServiceAddresses::new().with(SERVICE, bound.http_url());
    let timeout = std::time::Duration::from_secs(20);
    let client = Client::new(services, timeout, Telemetry::disabled());
    let keyed = rows.iter().filter(|it| it.repetition == Repetition::Keyed);
    let mut number = 0;
    for row in keyed {
        let kit =
            Kit { client: client.clone(), route: format!("{} {}", row.change.method(), row.path) };
        let rules = [
            Kit::twice,
            Kit::at_once,
            Kit::undone,
            Kit::overtaken,
            Kit::stale,
            Kit::other,
            Kit::client_s,
            Kit::doubled,
        ];
        for rule in rules {
            number += 1;
            if let Err(broken) = rule(&kit, row, number).await {
                panic!("{}: {broken}", kit.route);
            }
        }
    }
}

struct Kit {
    client: Client,
    route: String,
}

type Rule = std::pin::Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

fn key(number: u32, direction: Direction) -> OperationKey {
    OperationKey { saga: format!("s{number}"), step: "step".to_owned(), direction, revision: 0 }
}

fn request(call: &SampleCall) -> Call {
    let request = Call::new(SERVICE, call.method.clone(), call.path.clone());
    match &call.body {
        Some(body) => request.json(body),
        None => request,
    }
}

async fn send(
    client: &Client,
    call: &SampleCall,
    operation: Option<(OperationKey, u64)>,
) -> Result<CallReply, String> {
    let mut request = request(call);
    if let Some((key, epoch)) = operation {
        request = request.operation(key, Some(epoch));
    }
    client.call(request).await.map_err(|it| format!("{} {}: {it}", call.method, call.path))
}

async fn prepare(client: &Client, calls: &[SampleCall]) -> Result<(), String> {
    for call in calls {
        let reply = send(client, call, None).await?;
        if !reply.status.is_success() {
            return Err(format!("preparation {} {} gave {}", call.method, call.path, reply.status));
        }
    }
    Ok(())
}

fn is_replay(reply: &CallReply) -> bool {
    reply.header(base::headers::IDEMPOTENT_REPLAYED) == Some("true")
}

fn ensure(holds: bool, rule: &str, reply: &CallReply) -> Result<(), String> {
    if holds {
        return Ok(());
    }
    let body = String::from_utf8_lossy(&reply.body);
    Err(format!("{rule}; it gave {} {body}", reply.status))
}

impl Kit {
    fn twice(&self, row: &MutatingRoute, number: u32) -> Rule {
        let (client, sample) = (self.client.clone(), (row.sample)(number));
        Box::pin(async move {
            prepare(&client, &sample.before).await?;
            let operation = Some((key(number, Direction::Do), 1));
            let first = send(&client, &sample.call, operation.clone()).await?;
            ensure(first.status.is_success(), "a sample must succeed", &first)?;
            let again = send(&client, &sample.call, operation).await?;
            let same = again.status == first.status && again.body == first.body;
            ensure(same && is_replay(&again), "again must give the first reply", &again)
        })
    }

    fn at_once(&self, row: &MutatingRoute, number: u32) -> Rule {
        let (client, sample) = (self.client.clone(), (row.sample)(number));
        Box::pin(async move {
            prepare(&client, &sample.before).await?;
            let mut calls = JoinSet::new();
            for _ in 0..AT_ONCE {
                let (client, call) = (client.clone(), sample.call.clone());
                let operation = Some((key(number, Direction::Do), 1));
                calls.spawn(async move { send(&client, &call, operation).await });
            }
            let mut first: Option<CallReply> = None;
            let mut fresh = 0;
            for reply in calls.join_all().await {
                let reply = reply?;
                fresh += u32::from(!is_replay(&reply));
                let same = first
                    .as_ref()
                    .is_none_or(|it| it.status == reply.status && it.body == reply.body);
                ensure(same && reply.status.is_success(), "all must have one reply", &reply)?;
                first = Some(reply);
            }
            if fresh == 1 { Ok(()) } else { Err(format!("{fresh} of {AT_ONCE} took effect")) }
        })
    }

    fn undone(&self, row: &MutatingRoute, number: u32) -> Rule {
        let (client, sample) = (self.client.clone(), (row.sample)(number));
        Box::pin(async move {
            let Some(undo) = &sample.undo else { return Ok(()) };
            prepare(&client, &sample.before).await?;
            let operation = |direction| Some((key(number, direction), 1));
            send(&client, &sample.call, operation(Direction::Do)).await?;
            for _ in 0..2 {
                let undone = send(&client, undo, operation(Direction::Undo)).await?;
                ensure(undone.status.is_success(), "an undo must succeed, twice", &undone)?;
            }
            let late = send(&client, &sample.call, operation(Direction::Do)).await?;
            ensure(late.status == StatusCode::CONFLICT, "a do after its undo is refused", &late)
        })
    }

    fn overtaken(&self, row: &MutatingRoute, number: u32) -> Rule {
        let (client, sample) = (self.client.clone(), (row.sample)(number));
        Box::pin(async move {
            let Some(undo) = &sample.undo else { return Ok(()) };
            prepare(&client, &sample.before).await?;
            let operation = |direction| Some((key(number, direction), 1));
            let undone = send(&client, undo, operation(Direction::Undo)).await?;
            ensure(undone.status.is_success(), "an undo before its do must succeed", &undone)?;
            let late = send(&client, &sample.call, operation(Direction::Do)).await?;
            ensure(late.status == StatusCode::CONFLICT, "a do after its undo is refused", &late)
        })
    }

    fn stale(&self, row: &MutatingRoute, number: u32) -> Rule {
        let (client, sample) = (self.client.clone(), (row.sample)(number));
        Box::pin(async move {
            prepare(&client, &sample.before).await?;
            let operation = |epoch| Some((key(number, Direction::Do), epoch));
            send(&client, &sample.call, operation(5)).await?;
            let stale = send(&client, &sample.call, operation(4)).await?;
            let code = stale.problem().map(|it| it.code.into_owned());
            let refused = stale.status == StatusCode::CONFLICT
                && code.as_deref() == Some(base::Code::StaleEpoch.as_str());
            ensure(refused, "a lower epoch is refused as stale", &stale)
        })
    }

    fn other(&self, row: &MutatingRoute, number: u32) -> Rule {
        let (client, sample) = (self.client.clone(), (row.sample)(number));
        Box::pin(async move {
            let Some(other) = sample.other_body.clone() else { return Ok(()) };
            prepare(&client, &sample.before).await?;
            let operation = Some((key(number, Direction::Do), 1));
            send(&client, &sample.call, operation.clone()).await?;
            let changed = SampleCall { body: Some(other), ..sample.call.clone() };
            let refused = send(&client, &changed, operation).await?;
            let expected = StatusCode::UNPROCESSABLE_ENTITY;
            ensure(refused.status == expected, "another body under the key is refused", &refused)
        })
    }

    fn client_s(&self, row: &MutatingRoute, number: u32) -> Rule {
        let (client, sample) = (self.client.clone(), (row.sample)(number));
        Box::pin(async move {
            prepare(&client, &sample.before).await?;
            let name = HeaderName::from_static(base::headers::IDEMPOTENCY_KEY);
            let ask = async |body: &Option<Value>| {
                let call = SampleCall { body: body.clone(), ..sample.call.clone() };
                let key = format!("\"order {number}\"");
                let keyed = request(&call).header(name.clone(), &key);
                client.call(keyed).await.map_err(|it| format!("{}: {it}", call.path))
            };
            let first = ask(&sample.call.body).await?;
            ensure(
                first.status.is_success(),
                "a sample must succeed under a client's key",
                &first,
            )?;
            let again = ask(&sample.call.body).await?;
            let same = again.status == first.status && again.body == first.body;
            ensure(same && is_replay(&again), "a client's key must give the first reply", &again)?;
            let Some(other) = sample.other_body.clone() else { return Ok(()) };
            let refused = ask(&Some(other)).await?;
            let expected = StatusCode::UNPROCESSABLE_ENTITY;
            ensure(refused.status == expected, "another body under the key is refused", &refused)
        })
    }

    fn doubled(&self, row: &MutatingRoute, number: u32) -> Rule {
        let (client, sample) = (self.client.clone(), (row.sample)(number));
        Box::pin(async move {
            prepare(&client, &sample.before).await?;
            let body = sample.call.body.as_ref().and_then(Value::as_object);
            let Some((name, value)) = body.and_then(|it| it.iter().next()) else { return Ok(()) };
            let whole = body.map(|it| serde_json::json!(it).to_string()).unwrap_or_default();
            let rest = whole.strip_prefix('{').unwrap_or_default();
            let twice = format!("{{{}:{value},{rest}", serde_json::json!(name));
            let mut call = request(&sample.call);
            call.body = twice.into();
            let refused = client.call(call).await.map_err(|it| it.to_string())?;
            let said = refused.problem().map(|it| it.errors).unwrap_or_default();
            let is_named = said.iter().any(|it| it.pointer == format!("/{name}"));
            let holds = refused.status == StatusCode::BAD_REQUEST && is_named;
            ensure(holds, "a member that is given twice is refused by name", &refused)
        })
    }
}
