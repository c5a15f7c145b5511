//! Sends requests from a file, and says whether each ended as its line expects.
//!
//! A line that gets no answer is sent again under its own idempotency key: that is safe, and what a
//! careful client does. What the system refuses for good is an end like any other.

mod line;
mod summary;

use std::{
    io::Read as _,
    path::Path,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use base::headers;
use http::{HeaderName, Method, StatusCode};
use runtime::{SystemClock, random_from_os};
use serde_json::Value;
use service_kit::{Call, segment};
use skein::{Exit, Failure, Output};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};

pub(crate) use self::line::Line;
use self::{
    line::read_lines,
    summary::{Ended, Summary},
};
use crate::{
    cli::SubmitArguments,
    sending::{Interrupt, Progress, unknown},
    system::System,
};

/// Pause before a request is sent again, when the answer names none.
const AGAIN: Duration = Duration::from_millis(500);
/// Longest pause that an answer may ask for.
const AGAIN_MAX: Duration = Duration::from_secs(30);
/// Pause between two looks at where a delivery stands. Latencies are as coarse as this.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// What the looks at many are spread by: 200 in a second are enough.
const LOOK_AT_ONE: Duration = Duration::from_millis(5);
/// States of a request in which nothing moves any more without a person.
const ENDS: [&str; 4] = ["Completed", "Cancelled", "Failed", "Parked"];

/// Sends every line; with `--wait` sees each to its end.
pub(crate) async fn submit(
    system: System,
    arguments: &SubmitArguments,
    output: Output,
) -> Result<Exit, Failure> {
    let lines = read_file(&arguments.file)?;
    let total = lines.len();
    let mut lines = lines.into_iter();
    let open_max = arguments.open_max.max(1);
    let (stop, stopped) = watch::channel(false);
    let sender = Arc::new(Sender {
        system,
        run: new_run(),
        patience: Duration::from_secs(arguments.timeout),
        wait: arguments.wait,
        look_every: LOOK_EVERY.max(LOOK_AT_ONE * u32::try_from(open_max).unwrap_or(u32::MAX)),
        accepted: AtomicUsize::new(0),
        stopped,
    });
    let mut progress = Progress::new(output, arguments.progress);
    let mut interrupt = Interrupt::watch();
    let mut summary = Summary::new(arguments.wait, total);
    let mut open = JoinSet::new();
    loop {
        while open.len() < open_max && !summary.is_interrupted() {
            let Some(line) = lines.next() else { break };
            summary.sends();
            let sender = Arc::clone(&sender);
            open.spawn(async move {
                let ended = sender.see_through(&line).await;
                (line, ended)
            });
        }
        tokio::select! {
            joined = open.join_next() => match joined {
                None => break,
                Some(Ok((_, Ended::Rejected { status: 401, detail }))) => {
                    return Err(unknown(&detail));
                }
                Some(joined) => note(&mut summary, joined),
            },
            () = progress.due() => {
                progress.tell(&summary.so_far(sender.accepted.load(Ordering::Relaxed)));
            }
            () = interrupt.came() => {
                summary.interrupt();
                // Each says where it stands and ends.
                stop.send_replace(true);
            }
        }
    }
    output.result(&summary, &summary.table());
    Ok(summary.exit())
}

type Joined = Result<(Line, Ended), tokio::task::JoinError>;

fn note(summary: &mut Summary, joined: Joined) {
    if let Ok((line, ended)) = joined {
        summary.add(&line, ended);
    }
}

/// The lines of a file; `-` is standard input.
pub(crate) fn read_file(file: &Path) -> Result<Vec<Line>, Failure> {
    let now = SystemClock::shared().now();
    read_lines(&read(file)?, now).map_err(|it| Failure::new("bad_file", it).at(file.display()))
}

/// What a line asks for.
pub(crate) fn request_of(line: Line) -> Value {
    line.request
}

fn read(file: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = if file.as_os_str() == "-" {
        std::io::stdin().lock().read_to_string(&mut text).map(|_| ())
    } else {
        std::fs::read_to_string(file).map(|it| text = it)
    };
    read.map_err(|error| {
        let exit = match error.kind() {
            std::io::ErrorKind::NotFound => Exit::NotFound,
            _ => Exit::Failed,
        };
        Failure::new("no_file", "the file cannot be read")
            .at(file.display())
            .because(error)
            .exit(exit)
    })?;
    Ok(text)
}

/// What makes the keys of this run differ from those of every other.
fn new_run() -> String {
    random_from_os().uuid_v7(SystemClock::shared().now()).to_string()
}

/// Sends requests and watches deliveries.
struct Sender {
    system: System,
    run: String,
    patience: Duration,
    wait: bool,
    look_every: Duration,
    /// Lines that were taken so far.
    accepted: AtomicUsize,
    /// Whether nobody wants to know any more.
    stopped: watch::Receiver<bool>,
}

impl Sender {
    /// From the request to its end, or to its acceptance when nobody waits, or to the wish to stop.
    async fn see_through(&self, line: &Line) -> Ended {
        let (mut stopped, taken) = (self.stopped.clone(), OnceLock::new());
        tokio::select! {
            ended = self.follow(line, &taken) => ended,
            _stop = stopped.wait_for(|it| *it) => Ended::Left { id: taken.get().cloned() },
        }
    }

    /// Cancel-safe in that `taken` has the id from the answer on; a request that has none yet may have
    /// been taken all the same.
    async fn follow(&self, line: &Line, taken: &OnceLock<String>) -> Ended {
        let deadline = Instant::now() + self.patience;
        let id = match self.accepted(line, deadline).await {
            Ok(id) => id,
            Err(ended) => return ended,
        };
        self.accepted.fetch_add(1, Ordering::Relaxed);
        taken.get_or_init(|| id.clone());
        let accepted = Instant::now();
        if let Some(after) = line.cancel_after {
            sleep(after).await;
            self.cancel(&id, deadline).await;
        }
        if !self.wait {
            return Ended::Accepted { id };
        }
        loop {
            if let Some(document) = self.document(&id).await
                && let Some(state) = document["state"].as_str()
                && ENDS.contains(&state)
            {
                return Ended::At {
                    state: state.to_owned(),
                    failed_step: document["failedStep"].as_str().map(str::to_owned),
                    reason: document["reason"].as_str().map(str::to_owned),
                    took: accepted.elapsed(),
                    id,
                };
            }
            if Instant::now() >= deadline {
                return Ended::TooLate { id };
            }
            sleep(self.look_every).await;
        }
    }

    async fn accepted(&self, line: &Line, deadline: Instant) -> Result<String, Ended> {
        let key = format!("\"{}-{}\"", self.run, line.number);
        loop {
            let call = Call::new("gateway", Method::POST, "/api/deliveryrequests")
                .header(http::header::CONTENT_TYPE, "application/json")
                .header(HeaderName::from_static(headers::IDEMPOTENCY_KEY), &key)
                .json(&line.request);
            let pause = match self.system.call(call).await {
                Ok(reply) if reply.status == StatusCode::ACCEPTED => {
                    let document = reply.json().unwrap_or(Value::Null);
                    return Ok(document["deliveryId"].as_str().unwrap_or_default().to_owned());
                }
                Ok(reply) if is_worth_repeating(reply.status) => reply.retry_after(),
                Ok(reply) => {
                    let detail = reply.problem().map(|it| it.detail).unwrap_or_default();
                    let status = reply.status.as_u16();
                    return Err(Ended::Rejected { status, detail });
                }
                Err(_) => None,
            };
            if Instant::now() >= deadline {
                return Err(Ended::Unanswered);
            }
            sleep(pause.unwrap_or(AGAIN).min(AGAIN_MAX)).await;
        }
    }

    /// What becomes of the wish shows where the delivery ends.
    async fn cancel(&self, id: &str, deadline: Instant) {
        loop {
            let path = format!("/api/deliveryrequests/{}", segment(id));
            match self.system.call(Call::new("gateway", Method::DELETE, path)).await {
                Ok(reply) if !is_worth_repeating(reply.status) => return,
                Ok(_) | Err(_) if Instant::now() >= deadline => return,
                Ok(_) | Err(_) => sleep(AGAIN).await,
            }
        }
    }

    async fn document(&self, id: &str) -> Option<Value> {
        let path = format!("/api/deliveryrequests/{}", segment(id));
        self.system.call(Call::get("gateway", path)).await.ok()?.json()
    }
}

/// Whether the same request may be taken later.
fn is_worth_repeating(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}
