//! `tap` and `top`: requests as they end, from all processes together.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{self, IsTerminal as _},
    time::Duration,
};

use base::SharedClock;
use http::Method;
use http_body_util::BodyExt as _;
use runtime::{Shutdown, SystemClock};
use serde_json::{Value, json};
use tokio::{
    sync::mpsc,
    time::{Instant, Interval, interval, timeout, timeout_at},
};

use super::{
    admin::{Admins, begun, query, request},
    arguments::{TapArguments, TopArguments},
    names,
    stat::{NOTHING, millis, watching},
};
use crate::{Exit, Failure, Format, Output, Table};

/// Events of all processes that wait to be shown; the processes wait, and then drop and count.
const WAITING_MAX: usize = 1_024;
/// Bytes of one line; what is longer is no event.
const LINE_BYTES_MAX: usize = 64 << 10;
/// Longest wait for the head of an answer.
const OPEN_WITHIN: Duration = Duration::from_secs(3);
/// Most events of a process in a second for `top`, which counts and does not print them.
const TOP_EVENTS_PER_SECOND_MAX: u32 = 10_000;
/// Rows that `top` keeps; what comes beyond is counted in one.
const ROWS_MAX: usize = 500;
/// Rows that `top` shows.
const ROWS_SHOWN: usize = 30;

/// What one of the processes says.
#[derive(Debug, Clone, PartialEq)]
enum Told {
    /// It is listened to.
    Open,
    /// A request has ended.
    Event(Value),
    /// So many were not told, since the beginning.
    Dropped(u64),
    /// It says nothing any more.
    Closed(String),
}

/// Requests of all processes as they end.
#[derive(Debug)]
pub struct Live {
    told: mpsc::Receiver<(usize, Told)>,
    names: Vec<String>,
    from: Option<String>,
    dropped: Vec<u64>,
    open: usize,
    /// What some said before all were listened to.
    early: VecDeque<(usize, Told)>,
}

impl Live {
    /// Listens to every process.
    ///
    /// # Errors
    /// None of them answers, or there is none; none knows the service that is wanted.
    pub async fn open(admins: &Admins, wanted: &TapArguments) -> Result<Self, Failure> {
        let most = wanted.max_rps.to_string();
        let to = names::wanted(admins, wanted.to.as_deref()).await?.join(",");
        let pairs = [
            ("to", Some(to.as_str()).filter(|it| !it.is_empty())),
            ("direction", Some(wanted.direction.as_str())),
            ("method", wanted.method.as_deref()),
            ("path", wanted.path.as_deref()),
            ("max_rps", Some(&*most)),
        ];
        let path = query("/tap", &pairs);
        let (tell, told) = mpsc::channel(WAITING_MAX);
        for (number, process) in admins.processes().iter().cloned().enumerate() {
            let request = request(&process, Method::GET, &path, "")?;
            let (tell, tasks) = (tell.clone(), admins.tasks().clone());
            admins.tasks().spawn("tap", move |shutdown| async move {
                let ended = async {
                    let opening = timeout(OPEN_WITHIN, begun(&process, request, &tasks)).await;
                    let answer = opening.unwrap_or_else(|_| Err("it does not answer".to_owned()));
                    match answer {
                        Ok(answer) => listen(answer, number, &tell, &shutdown).await,
                        Err(why) => why,
                    }
                };
                let why = ended.await;
                // Whoever listened may have gone away.
                let _heard = tell.send((number, Told::Closed(why))).await;
            });
        }
        let names: Vec<String> = admins.processes().iter().map(|it| it.name.clone()).collect();
        let (dropped, open) = (vec![0; names.len()], names.len());
        let (from, early) = (wanted.from.clone(), VecDeque::new());
        let mut live = Self { told, names, from, dropped, open, early };
        live.settle().await?;
        Ok(live)
    }

    /// Waits until each process is listened to or has said no.
    async fn settle(&mut self) -> Result<(), Failure> {
        let (mut silent, mut settled) = (None, 0);
        while settled < self.names.len() {
            let Some((number, told)) = self.told.recv().await else { break };
            match told {
                Told::Open => settled += 1,
                Told::Closed(why) => {
                    settled += 1;
                    self.open -= 1;
                    silent = Some(why);
                }
                // The wait is short, and what is beyond the bound is counted.
                told if self.early.len() < WAITING_MAX => self.early.push_back((number, told)),
                _ => self.dropped[number] += 1,
            }
        }
        if self.open > 0 {
            return Ok(());
        }
        let failure = Failure::new("unreachable", "no process of the mesh answers");
        let why = silent.unwrap_or_else(|| "none is known".to_owned());
        Err(failure.exit(Exit::Unreachable).because(why))
    }

    /// The next request that ended; `None` when no process is left. Cancel-safe.
    pub async fn next(&mut self) -> Option<Value> {
        while self.open > 0 {
            let told = match self.early.pop_front() {
                Some(early) => early,
                None => self.told.recv().await?,
            };
            match told {
                (_, Told::Open) => {}
                (number, Told::Dropped(count)) => self.dropped[number] = count,
                (_, Told::Closed(_)) => self.open -= 1,
                (number, Told::Event(mut event)) => {
                    event["process"] = self.names[number].as_str().into();
                    if self.from.as_deref().is_none_or(|it| event["source"] == it) {
                        return Some(event);
                    }
                }
            }
        }
        None
    }

    /// Requests that ended and were not told.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.iter().sum()
    }
}

/// Reads lines until there are none; says why.
async fn listen(
    answer: http::Response<hyper::body::Incoming>,
    number: usize,
    tell: &mpsc::Sender<(usize, Told)>,
    shutdown: &Shutdown,
) -> String {
    if !answer.status().is_success() {
        return format!("it answers {}", answer.status().as_u16());
    }
    let mut body = answer.into_body();
    let mut lines = Lines::default();
    if tell.send((number, Told::Open)).await.is_err() {
        return String::new();
    }
    while let Some(Some(Ok(frame))) = shutdown.or_cancel(body.frame()).await {
        let Ok(data) = frame.into_data() else { continue };
        for line in lines.take(&data) {
            let told = match line["dropped"].as_u64() {
                Some(count) => Told::Dropped(count),
                None => Told::Event(line),
            };
            if tell.send((number, told)).await.is_err() {
                return String::new();
            }
        }
    }
    "it ended".to_owned()
}

/// Bytes as lines of JSON.
#[derive(Debug, Default)]
struct Lines(Vec<u8>);

impl Lines {
    /// The objects whose lines are whole now.
    fn take(&mut self, data: &[u8]) -> Vec<Value> {
        self.0.extend_from_slice(data);
        let mut objects = Vec::new();
        if let Some(end) = self.0.iter().rposition(|it| *it == b'\n') {
            let rest = self.0.split_off(end + 1);
            let lines = self.0.split(|it| *it == b'\n').filter(|it| !it.is_empty());
            objects.extend(lines.filter_map(|it| serde_json::from_slice(it).ok()));
            self.0 = rest;
        }
        if self.0.len() > LINE_BYTES_MAX {
            self.0.clear();
        }
        objects
    }
}

/// Shows requests as they end.
///
/// # Errors
/// No process answers.
pub async fn tap(
    admins: &Admins,
    arguments: &TapArguments,
    output: Output,
) -> Result<Exit, Failure> {
    let clock = SystemClock::shared();
    let mut live = Live::open(admins, arguments).await?;
    let end = arguments.lasts.map(|it| Instant::now() + it);
    let mut pace = Pace { most: arguments.max_rps, ..Pace::new() };
    loop {
        let next = match end {
            Some(end) => timeout_at(end, live.next()).await,
            None => Ok(live.next().await),
        };
        match next {
            Ok(Some(event)) if pace.allows() => show(&event, &clock, output),
            Ok(Some(_)) => {}
            Ok(None) => {
                let failure = Failure::new("unreachable", "every process of the mesh has ended");
                return Err(failure.exit(Exit::Unreachable));
            }
            Err(_) => break,
        }
    }
    let missed = live.dropped() + pace.missed;
    if missed > 0 {
        output.remark(&format!("{missed} more requests were not shown; see --max-rps"));
    }
    Ok(Exit::Done)
}

/// The bound on what is shown holds for all processes together.
struct Pace {
    most: u32,
    second: Instant,
    shown: u32,
    missed: u64,
}

impl Pace {
    fn new() -> Self {
        Self { most: 0, second: Instant::now(), shown: 0, missed: 0 }
    }

    fn allows(&mut self) -> bool {
        if self.second.elapsed() >= Duration::from_secs(1) {
            (self.second, self.shown) = (Instant::now(), 0);
        }
        let allowed = self.shown < self.most;
        self.shown += u32::from(allowed);
        self.missed += u64::from(!allowed);
        allowed
    }
}

fn show(event: &Value, clock: &SharedClock, output: Output) {
    match output.format {
        Format::Json => output.document(&document(event, clock)),
        Format::Table => output.text(&(line(event, false) + "\n")),
        Format::Wide => output.text(&(line(event, true) + "\n")),
    }
}

fn document(event: &Value, clock: &SharedClock) -> Value {
    json!({
        "ts": clock.now().to_string(), "kind": "http", "process": event["process"],
        "direction": event["direction"], "src": event["source"], "dst": event["destination"], "route": event["route"],
        "method": event["method"], "path": event["path"], "status": event["status"],
        "code": event["code"], "latency_ms": event["latency_ms"], "bytes": event["bytes"],
        "trace_id": event["trace_id"], "attempt": event["attempts"],
    })
}

/// A request on one line for people.
fn line(event: &Value, is_wide: bool) -> String {
    let text = |name: &str| match event[name].as_str() {
        Some("") | None => "–".to_owned(),
        Some(text) => text.to_owned(),
    };
    let outcome = match (event["status"].as_u64(), event["code"].as_str()) {
        (Some(status), Some(code)) => format!("{status} {code}"),
        (Some(status), None) => status.to_string(),
        (None, _) => "no answer".to_owned(),
    };
    let mut line = format!(
        "{} -> {}  {} {}  {outcome}  {}  {}B",
        text("source"),
        text("destination"),
        text("method"),
        text("path"),
        millis(event["latency_ms"].as_f64().unwrap_or(0.0)),
        event["bytes"].as_u64().unwrap_or(0),
    );
    if let Some(direction @ ("inbound" | "handover")) = event["direction"].as_str() {
        line += &format!("  {direction}");
    }
    if let Some(tries @ 2..) = event["attempts"].as_u64() {
        line += &format!("  tries={tries}");
    }
    if is_wide {
        let (route, trace, process) = (text("route"), text("trace_id"), text("process"));
        line += &format!("  route={route} trace={trace} process={process}");
    }
    crate::table::printable(&line)
}

/// What is called most.
#[derive(Debug, Default)]
pub struct Counts {
    rows: BTreeMap<(String, String, String), Count>,
    /// Requests that no row was left for.
    pub beyond: u64,
}

#[derive(Debug, Clone, PartialEq)]
struct Count {
    requests: u64,
    good: u64,
    best_ms: f64,
    worst_ms: f64,
    last_ms: f64,
}

impl Counts {
    /// Counts a request.
    pub fn add(&mut self, event: &Value) {
        let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        let route = text("route");
        let way = if route.is_empty() { template(&text("path")) } else { route };
        let key = (text("method"), way, text("destination"));
        if self.rows.len() >= ROWS_MAX && !self.rows.contains_key(&key) {
            self.beyond += 1;
            return;
        }
        let millis = event["latency_ms"].as_f64().unwrap_or(0.0);
        let is_good = event["status"].as_u64().is_some_and(|it| it < 500);
        let row = self.rows.entry(key).or_insert(Count {
            requests: 0,
            good: 0,
            best_ms: f64::INFINITY,
            worst_ms: 0.0,
            last_ms: 0.0,
        });
        row.requests += 1;
        row.good += u64::from(is_good);
        row.best_ms = row.best_ms.min(millis);
        row.worst_ms = row.worst_ms.max(millis);
        row.last_ms = millis;
    }

    fn sorted(&self) -> Vec<(&(String, String, String), &Count)> {
        let mut rows: Vec<_> = self.rows.iter().collect();
        rows.sort_by(|(one, a), (other, b)| b.requests.cmp(&a.requests).then(one.cmp(other)));
        rows
    }

    /// The rows with most requests.
    #[must_use]
    pub fn table(&self) -> Table {
        let mut table = Table::new(&[
            "METHOD",
            "ROUTE",
            "DESTINATION",
            "COUNT",
            "BEST",
            "WORST",
            "LAST",
            "SUCCESS",
        ]);
        for ((method, way, destination), count) in self.sorted().into_iter().take(ROWS_SHOWN) {
            table.row([
                method.clone(),
                way.clone(),
                if destination.is_empty() { "–".to_owned() } else { destination.clone() },
                count.requests.to_string(),
                millis(count.best_ms),
                millis(count.worst_ms),
                millis(count.last_ms),
                format!("{:.2}%", count.success() * 100.0),
            ]);
        }
        table
    }

    /// The same for programs, all of them.
    #[must_use]
    pub fn documents(&self) -> Vec<Value> {
        let one = |((method, way, destination), count): (&(String, String, String), &Count)| {
            json!({
                "method": method, "route": way, "destination": destination,
                "count": count.requests, "success": count.success(),
                "latency_ms": {
                    "best": count.best_ms, "worst": count.worst_ms, "last": count.last_ms,
                },
            })
        };
        self.sorted().into_iter().map(one).collect()
    }
}

impl Count {
    #[expect(clippy::cast_precision_loss, reason = "2^53 requests are not seen")]
    fn success(&self) -> f64 {
        self.good as f64 / self.requests.max(1) as f64
    }
}

/// A path with its ids taken out: whatever has a digit, or is longer than names are.
fn template(path: &str) -> String {
    let path = path.split('?').next().unwrap_or_default();
    let is_id = |it: &str| {
        let is_version = it.len() <= 3 && it.starts_with(['v', 'V']);
        (it.contains(|it: char| it.is_ascii_digit()) && !is_version) || it.chars().count() > 32
    };
    let segment = |it: &str| if is_id(it) { "{}".to_owned() } else { it.to_owned() };
    path.split('/').map(segment).collect::<Vec<_>>().join("/")
}

/// Shows what is called most, each second, or once.
///
/// # Errors
/// No process answers.
pub async fn top(
    admins: &Admins,
    arguments: &TopArguments,
    output: Output,
) -> Result<Exit, Failure> {
    let wanted = TapArguments {
        to: arguments.to.clone(),
        from: arguments.from.clone(),
        direction: arguments.direction,
        max_rps: TOP_EVENTS_PER_SECOND_MAX,
        ..TapArguments::default()
    };
    let mut live = Live::open(admins, &wanted).await?;
    let mut counts = Counts::default();
    if let Some(lasts) = arguments.lasts {
        watching(lasts, output);
        // The end of the time is what is waited for; the processes may end before.
        let counting = async { while count(&mut live, &mut counts).await {} };
        let _ended = timeout(lasts, counting).await;
        output.result(&counts.documents(), &counts.table());
        if counts.rows.is_empty() {
            output.remark(NOTHING);
        }
        missed(&live, &counts, output);
        return Ok(Exit::Done);
    }
    let mut ticks = interval(Duration::from_secs(1));
    while until_tick(&mut live, &mut counts, &mut ticks).await {
        if output.format != Format::Json && io::stdout().is_terminal() {
            // Home, and whatever is below is cleared.
            output.text("\u{1b}[H\u{1b}[2J");
        }
        output.result(&counts.documents(), &counts.table());
    }
    missed(&live, &counts, output);
    Err(Failure::new("unreachable", "every process of the mesh has ended").exit(Exit::Unreachable))
}

async fn count(live: &mut Live, counts: &mut Counts) -> bool {
    let event = live.next().await;
    if let Some(event) = &event {
        counts.add(event);
    }
    event.is_some()
}

/// Counts until the table is due; `false` when no process is left.
async fn until_tick(live: &mut Live, counts: &mut Counts, ticks: &mut Interval) -> bool {
    loop {
        tokio::select! {
            _ = ticks.tick() => return true,
            is_counted = count(live, counts) => if !is_counted { return false },
        }
    }
}

fn missed(live: &Live, counts: &Counts, output: Output) {
    let missed = live.dropped() + counts.beyond;
    if missed > 0 {
        output.remark(&format!("{missed} more requests were not counted"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(method: &str, path: &str, status: u16, latency_ms: f64) -> Value {
        json!({"source": "shop", "destination": "stock", "route": "", "method": method,
            "path": path, "status": status, "latency_ms": latency_ms, "bytes": 12,
            "attempts": 1, "code": null, "trace_id": null})
    }

    #[test]
    fn lines_are_whole_however_they_come() {
        let text = b"\n{\"a\":1}\n\n{\"dropped\":2}\nnonsense\n{\"a\":3}\n";
        for size in 1..text.len() {
            let mut lines = Lines::default();
            let taken: Vec<Value> = text.chunks(size).flat_map(|it| lines.take(it)).collect();
            assert_eq!(taken, [json!({"a": 1}), json!({"dropped": 2}), json!({"a": 3})], "{size}");
        }
    }

    #[test]
    fn a_line_without_an_end_is_not_kept() {
        let mut lines = Lines::default();
        assert!(lines.take(&vec![b'x'; LINE_BYTES_MAX + 1]).is_empty());
        assert!(lines.0.is_empty());
    }

    #[test]
    fn paths_that_differ_by_an_id_are_one_row() {
        let mut counts = Counts::default();
        for (path, status, latency) in [("/items/1", 200, 3.0), ("/items/22?…", 503, 1.0)] {
            counts.add(&event("GET", path, status, latency));
        }
        counts.add(&event("POST", "/v1/items", 200, 2.0));
        let expected = "\
METHOD  ROUTE      DESTINATION  COUNT  BEST    WORST   LAST    SUCCESS
GET     /items/{}  stock        2      1.00ms  3.00ms  1.00ms  50.00%
POST    /v1/items  stock        1      2.00ms  2.00ms  2.00ms  100.00%
";
        assert_eq!(counts.table().render(""), expected);
    }

    #[test]
    fn rows_of_top_are_bounded() {
        let mut counts = Counts::default();
        let letters = |number: usize| "abcdefghijklmnopqrstuvwxyz".chars().nth(number).unwrap();
        for number in 0..ROWS_MAX + 50 {
            let path = format!("/{}{}", letters(number / 26), letters(number % 26));
            counts.add(&event("GET", &path, 200, 1.0));
        }
        assert_eq!((counts.documents().len(), counts.beyond), (ROWS_MAX, 50));
    }

    #[test]
    fn a_request_is_one_line_without_control_characters() {
        let mut odd = event("GET", "/a\u{1b}[31m", 503, 1.5);
        odd["code"] = "breaker_open".into();
        odd["attempts"] = 2.into();
        let expected = "shop -> stock  GET /a\u{fffd}[31m  503 breaker_open  1.50ms  12B  tries=2";
        assert_eq!(line(&odd, false), expected);
        assert!(line(&odd, true).ends_with("route=– trace=– process=–"));
    }
}
