//! Services that remember what they did, under the keys of the calls, and fail as they are told.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
};
use serde_json::Value;
use tokio::time::sleep;

use crate::fixture::DRONE;

/// Time after which a caller gives up waiting for an answer.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(1);

/// What goes wrong with the calls of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// 500, before anything was done.
    Exception,
    /// 503, twice.
    BusyForAWhile,
    /// 503, until somebody mends it.
    BusyForEver,
    /// A decision against it.
    Refused,
    /// Done, and nobody hears of it.
    LostReply,
    /// Done when nobody waits for the answer any more.
    Delayed,
}

impl Fault {
    pub(crate) const ALL: [Self; 6] = [
        Self::Exception,
        Self::BusyForAWhile,
        Self::BusyForEver,
        Self::Refused,
        Self::LostReply,
        Self::Delayed,
    ];

    const fn times(self) -> u32 {
        match self {
            Self::BusyForAWhile => 2,
            Self::BusyForEver => u32::MAX,
            Self::Exception | Self::Refused | Self::LostReply | Self::Delayed => 1,
        }
    }
}

/// What is booked, made or kept for one delivery.
#[derive(Debug, Clone, Default, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "one for each service")]
pub(crate) struct Kept {
    pub(crate) drone: bool,
    pub(crate) carrier: bool,
    pub(crate) delivery: bool,
    pub(crate) package: bool,
    /// Whether the carrier was told to leave.
    pub(crate) left: bool,
    /// The drone that Delivery was told of.
    pub(crate) drone_told: Value,
    /// Where whoever serves it goes, and where Delivery says that it does.
    pub(crate) flown_to: Value,
    pub(crate) shown: Value,
}

/// A call: its operation key, and whether it was answered well.
pub(crate) type Called = (String, bool);

#[derive(Debug, Default)]
pub(crate) struct Town {
    kept: BTreeMap<String, Kept>,
    faults: BTreeMap<(String, String), (Fault, u32)>,
    answered: BTreeMap<String, u16>,
    called: Vec<Called>,
}

/// The services, shared by a test and its router.
#[derive(Debug, Clone, Default)]
pub(crate) struct Services(Arc<Mutex<Town>>);

impl Services {
    pub(crate) fn router(&self) -> Router {
        Router::new().fallback(serve).with_state(self.clone())
    }

    pub(crate) fn kept(&self, delivery: &str) -> Kept {
        self.0.lock().unwrap().kept.get(delivery).cloned().unwrap_or_default()
    }

    /// Lets calls of a step fail, in all sagas of the delivery from now on.
    pub(crate) fn fail(&self, delivery: &str, step: &str, fault: Fault) {
        let key = (delivery.to_owned(), step.to_owned());
        self.0.lock().unwrap().faults.insert(key, (fault, fault.times()));
    }

    pub(crate) fn mend(&self, delivery: &str) {
        self.0.lock().unwrap().faults.retain(|it, _| it.0 != delivery);
    }

    /// Calls of a delivery's sagas whose id begins like that, in order.
    pub(crate) fn called(&self, saga: &str) -> Vec<Called> {
        let town = self.0.lock().unwrap();
        town.called.iter().filter(|it| it.0.starts_with(saga)).cloned().collect()
    }

    fn fault(&self, delivery: &str, step: &str) -> Option<Fault> {
        let mut town = self.0.lock().unwrap();
        let (fault, left) = town.faults.get_mut(&(delivery.to_owned(), step.to_owned()))?;
        *left = left.checked_sub(1)?;
        Some(*fault)
    }

    fn note(&self, key: &str, status: u16) -> (StatusCode, &'static str) {
        self.0.lock().unwrap().called.push((key.to_owned(), status < 300));
        let refusal = r#"{"code":"picked_up","retryable":false}"#;
        let text = if status == 409 { refusal } else { "" };
        (StatusCode::from_u16(status).unwrap(), text)
    }

    /// Does the work of a call, once for its key.
    fn work(&self, delivery: &str, line: &str, key: &str, body: &Value) -> u16 {
        let mut town = self.0.lock().unwrap();
        if let Some(status) = town.answered.get(key) {
            return *status;
        }
        let kept = town.kept.entry(delivery.to_owned()).or_default();
        let (method, path) = line.split_once(" /api/").unwrap();
        let service = path.split('/').next().unwrap();
        match (method, service) {
            ("PUT", "thirdpartydeliveries") if body["noDrone"] == true => {
                kept.carrier = !delivery.starts_with("nobody");
                kept.left |= body["made"] == true;
            }
            ("PUT", "thirdpartydeliveries") => {
                kept.carrier = delivery.starts_with("carrier");
                if kept.carrier {
                    kept.flown_to = body["dropoff"].clone();
                }
            }
            ("PATCH", "thirdpartydeliveries") if !kept.carrier => return 404,
            ("PATCH", "thirdpartydeliveries") => kept.flown_to = body["dropoff"].clone(),
            ("PUT", "dronedeliveries") if delivery.starts_with("declined") => {}
            ("PUT", "deliveries") if path.ends_with("/carrier") => {
                kept.delivery &= body["booked"] == true;
            }
            ("PUT", "packages") => kept.package = true,
            ("PUT", "dronedeliveries") if body["packageDetail"].is_null() && !kept.drone => {
                return 409;
            }
            ("PUT", "dronedeliveries") => {
                (kept.drone, kept.flown_to) = (true, body["dropoff"].clone());
            }
            ("PUT", "deliveries") => {
                (kept.delivery, kept.shown) = (true, body["dropoff"].clone());
                kept.drone_told = body["droneId"].clone();
            }
            ("PATCH", "deliveries") => kept.shown = body["dropoff"].clone(),
            ("DELETE", "thirdpartydeliveries") => kept.carrier = false,
            ("DELETE", "dronedeliveries") => kept.drone = false,
            ("DELETE", "deliveries") => kept.delivery = false,
            ("DELETE", "packages") => kept.package = false,
            _ => {}
        }
        town.answered.insert(key.to_owned(), 200);
        200
    }
}

async fn serve(
    State(services): State<Services>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, String) {
    let line = format!("{method} {uri}");
    let key = headers.get("idempotency-key").and_then(|it| it.to_str().ok()).unwrap_or("");
    // "<delivery>/<workflow>[/<message>]/<step>/<do or undo>/<number>"
    let key = key.trim_matches('"').to_owned();
    let parts: Vec<&str> = key.split('/').collect();
    let (delivery, step) = (parts[0].to_owned(), parts[parts.len() - 3].to_owned());
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let work = || services.work(&delivery, &line, &key, &body);
    // What takes something back is never hindered here.
    let done = parts[parts.len() - 2] == "do";
    let fault = done.then(|| services.fault(&delivery, &step)).flatten();
    let (status, text) = match fault {
        None => services.note(&key, work()),
        Some(Fault::Exception) => services.note(&key, 500),
        Some(Fault::BusyForAWhile | Fault::BusyForEver) => services.note(&key, 503),
        Some(Fault::Refused) => services.note(&key, 409),
        Some(Fault::LostReply) => {
            work();
            services.note(&key, 500);
            return std::future::pending().await;
        }
        Some(Fault::Delayed) => {
            services.note(&key, 500);
            sleep(CALL_TIMEOUT * 3 / 2).await;
            work();
            (StatusCode::OK, "")
        }
    };
    let text = match (line.as_str(), status) {
        (_, StatusCode::OK) if line.starts_with("GET /api/account") => "true".to_owned(),
        (_, StatusCode::OK) if line.starts_with("PUT /api/thirdparty") => {
            services.kept(&delivery).carrier.to_string()
        }
        (_, StatusCode::OK) if line.starts_with("PUT /api/dronedeliveries") => {
            let declined = delivery.starts_with("declined");
            if declined { r#"{"droneId":null,"declined":true}"# } else { DRONE }.to_owned()
        }
        (_, StatusCode::OK) if line.ends_with("/carrier") => {
            format!(r#"{{"served":{}}}"#, services.kept(&delivery).delivery)
        }
        _ => text.to_owned(),
    };
    (status, text)
}
