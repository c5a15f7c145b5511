//! The operators' ports of the processes: all of them are asked at once.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use callers::ApiKey;
use http::{HeaderValue, Method, Request, StatusCode, header::AUTHORIZATION};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use runtime::Tasks;
use serde_json::Value;
use tokio::{net::TcpStream, task::JoinSet, time::timeout};

use crate::{Exit, Failure, Output, failure};

/// Longest wait for a page: what hangs is said to, and the others are shown.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// Bytes of a page that are read: a full registry of measures is a few megabytes.
const PAGE_BYTES_MAX: usize = 32 << 20;

/// A process with an operators' port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// What it is called.
    pub name: String,
    /// Its operators' port.
    pub address: SocketAddr,
}

/// The processes of a mesh.
#[derive(Debug)]
pub struct Admins {
    processes: Vec<Process>,
    tasks: Tasks,
    /// How faults are allowed, for who finds that they are not.
    faults_hint: &'static str,
    /// Whether a person named the addresses, who may have named others.
    are_told: bool,
    /// What a change shows.
    token: Option<ApiKey>,
    /// What to do where that is not what they ask for.
    token_hint: &'static str,
}

/// Of who was told addresses alone, and so has no token.
const ASK_ITS_PROGRAM: &str = "run the program's own command, in the data directory of the system";

/// What one process said.
#[derive(Debug, Clone)]
pub struct Said {
    /// Which process.
    pub process: Process,
    /// With which status.
    pub status: StatusCode,
    /// The page.
    pub body: Bytes,
}

impl Said {
    /// The page as JSON; null where it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

/// What all processes said.
#[derive(Debug, Default)]
pub struct Gathered {
    /// Those that answered, in the order of the processes.
    pub said: Vec<Said>,
    /// Those that did not, and why.
    pub silent: Vec<(Process, String)>,
}

impl Gathered {
    /// Tells of the silent ones; how a command ends that showed the others.
    #[must_use]
    pub fn exit(&self, output: Output) -> Exit {
        self.tell_silent(output);
        if self.silent.is_empty() { Exit::Done } else { Exit::Partial }
    }

    /// Remarks on each that did not answer.
    pub(super) fn tell_silent(&self, output: Output) {
        for (process, why) in &self.silent {
            output.remark(&format!("{} does not answer: {why}", process.name));
        }
    }
}

impl Admins {
    /// These processes; `faults_hint` says how they come to allow faults, which they do not while they run.
    #[must_use]
    pub fn new(processes: Vec<Process>, faults_hint: &'static str) -> Self {
        Self {
            processes,
            tasks: Tasks::new(),
            faults_hint,
            are_told: false,
            token: None,
            token_hint: ASK_ITS_PROGRAM,
        }
    }

    /// Processes that have no other name than their address.
    #[must_use]
    pub fn at(addresses: &[SocketAddr], faults_hint: &'static str) -> Self {
        let process = |it: &SocketAddr| Process { name: it.to_string(), address: *it };
        let processes = addresses.iter().map(process).collect();
        Self { are_told: true, ..Self::new(processes, faults_hint) }
    }

    /// The same with the token that their ports ask for where something is to be changed; `token_hint` says what
    /// to do where it is missing or another one.
    #[must_use]
    pub fn holding(self, token: Option<ApiKey>, token_hint: &'static str) -> Self {
        Self { token, token_hint, ..self }
    }

    /// These without the addresses at which something else answers; each of those is remarked on, and
    /// their number given. Who does not answer stays: the commands tell of it.
    ///
    /// # Errors
    /// Something else answers at each of them, or nobody does.
    pub(super) async fn checked(&self, output: Output) -> Result<(Self, usize), Failure> {
        let all = || Self {
            processes: self.processes.clone(),
            tasks: self.tasks.clone(),
            faults_hint: self.faults_hint,
            are_told: false,
            token: self.token.clone(),
            token_hint: self.token_hint,
        };
        if !self.are_told {
            return Ok((all(), 0));
        }
        let gathered = self.get("/routes").await?;
        let others: Vec<&Process> =
            gathered.said.iter().filter(|it| !is_admin(it)).map(|it| &it.process).collect();
        let what = |it: &Process| format!("{} is no admin port of a proxy or service", it.name);
        if let [first, ..] = others.as_slice()
            && others.len() == self.processes.len()
        {
            for other in &others[1..] {
                output.remark(&what(other));
            }
            let failure = Failure::new("no_admin_port", what(first)).exit(Exit::Unreachable);
            return Err(failure.next("a proxy says its admin port in its log, as `admin`"));
        }
        for other in &others {
            output.remark(&what(other));
        }
        let mut left = all();
        left.processes.retain(|it| !others.contains(&it));
        Ok((left, others.len()))
    }

    /// The processes.
    #[must_use]
    pub fn processes(&self) -> &[Process] {
        &self.processes
    }

    pub(super) const fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    pub(super) const fn faults_hint(&self) -> &'static str {
        self.faults_hint
    }

    /// Asks every process for a page.
    ///
    /// # Errors
    /// None of them answers, or there is none.
    pub async fn get(&self, path: &str) -> Result<Gathered, Failure> {
        self.ask(&self.processes, Method::GET, path, "").await
    }

    /// Asks some of the processes.
    ///
    /// # Errors
    /// None of them answers, or there is none.
    pub async fn ask(
        &self,
        processes: &[Process],
        method: Method,
        path: &str,
        body: &str,
    ) -> Result<Gathered, Failure> {
        let mut asked = JoinSet::new();
        for (number, process) in processes.iter().cloned().enumerate() {
            let mut request = request(&process, method.clone(), path, body)?;
            if let Some(shown) = self.shown(&method) {
                request.headers_mut().insert(AUTHORIZATION, shown);
            }
            let tasks = self.tasks.clone();
            asked.spawn(async move {
                let said = timeout(ANSWER_WITHIN, whole(&process, request, &tasks)).await;
                let late = || format!("nothing within {} s", ANSWER_WITHIN.as_secs());
                (number, process, said.unwrap_or_else(|_| Err(late())))
            });
        }
        let mut outcomes = asked.join_all().await;
        outcomes.sort_by_key(|(number, ..)| *number);
        let mut gathered = Gathered::default();
        for (_, process, outcome) in outcomes {
            match outcome {
                Ok(said) => gathered.said.push(said),
                Err(why) => gathered.silent.push((process, why)),
            }
        }
        if gathered.said.iter().any(|it| it.status == StatusCode::UNAUTHORIZED) {
            let what = "the operators' port asks for its token, and another one or none was shown";
            let failure = Failure::new("unauthenticated", what);
            return Err(failure.next(self.token_hint));
        }
        if gathered.said.is_empty() {
            let why = gathered.silent.first().map(|(_, why)| why.clone());
            let failure = Failure::new("unreachable", "no process of the mesh answers");
            let failure = failure.exit(Exit::Unreachable);
            return Err(failure.because(why.unwrap_or_else(|| "none is known".to_owned())));
        }
        Ok(gathered)
    }

    /// What a change shows; a look shows nothing.
    fn shown(&self, method: &Method) -> Option<HeaderValue> {
        let token = self.token.as_ref().filter(|_| *method != Method::GET)?;
        let mut shown = HeaderValue::from_str(&format!("Bearer {}", token.reveal())).ok()?;
        shown.set_sensitive(true);
        Some(shown)
    }
}

/// Whether this page of routes is one: a program of anybody may answer everything with 200.
fn is_admin(said: &Said) -> bool {
    let page = said.json();
    said.status.is_success() && page["source"].is_string() && page["routes"].is_array()
}

/// A request to an operators' port.
pub(super) fn request(
    process: &Process,
    method: Method,
    path: &str,
    body: &str,
) -> Result<Request<Full<Bytes>>, Failure> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", process.address.to_string())
        .header("content-type", "application/json")
        .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
        .map_err(|it| Failure::new("bad_argument", it.to_string()).exit(Exit::Usage))
}

/// The head of an answer with its body still to come.
pub(super) async fn begun(
    process: &Process,
    request: Request<Full<Bytes>>,
    tasks: &Tasks,
) -> Result<http::Response<Incoming>, String> {
    let stream = TcpStream::connect(process.address).await.map_err(|it| it.to_string())?;
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|it| failure::chain(&it))?;
    tasks.spawn("connection to an operators' port", |shutdown| async move {
        // How it ends shows at the answer.
        let _ended = shutdown.or_cancel(connection).await;
    });
    sender.send_request(request).await.map_err(|it| failure::chain(&it))
}

async fn whole(
    process: &Process,
    request: Request<Full<Bytes>>,
    tasks: &Tasks,
) -> Result<Said, String> {
    let answer = begun(process, request, tasks).await?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), PAGE_BYTES_MAX).collect().await;
    let body = body.map_err(|it| it.to_string())?.to_bytes();
    Ok(Said { process: process.clone(), status, body })
}

/// Text as a part of a query: what is not unreserved (RFC 3986, 2.3) is percent-encoded.
#[must_use]
pub fn encoded(text: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _written = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// A query of what is given.
#[must_use]
pub fn query(path: &str, pairs: &[(&str, Option<&str>)]) -> String {
    let given = pairs.iter().filter_map(|(name, value)| Some((name, (*value)?)));
    let pairs: Vec<String> = given.map(|(name, it)| format!("{name}={}", encoded(it))).collect();
    if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_holds_what_is_given_and_hides_nothing_in_it() {
        let pairs = [("to", Some("a&b=c d")), ("from", None), ("path", Some("/x?y#é"))];
        assert_eq!(query("/tap", &pairs), "/tap?to=a%26b%3Dc%20d&path=/x%3Fy%23%C3%A9");
        assert_eq!(query("/tap", &[("to", None)]), "/tap");
    }

    #[tokio::test]
    async fn nobody_to_ask_is_a_failure() {
        let failure = Admins::at(&[], "").get("/routes").await.unwrap_err();
        assert_eq!((failure.exit, failure.code.as_ref()), (Exit::Unreachable, "unreachable"));
    }
}
