//! `mesh-cost`: what a door in front of a service costs, measured before it stands in production.
//!
//! Requests go straight to the target and through a proxy that is started for it, in turns of equal
//! size, so that whatever else the machine does falls on both. One connection each, one request at a
//! time: this is the cost of a hop, not the capacity of a door.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;

use mesh_policy::{
    Policy,
    destination::{Endpoint, EndpointSet, Protocol},
    proxy::{Outbound, Proxy},
};
use mesh_proxy::{Mesh, program::Program};
use runtime::{SystemClock, Tasks};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use telemetry::{Telemetry, TelemetryConfig};
use tokio::{
    net::{TcpStream, lookup_host},
    time::{Instant, timeout},
};

use super::arguments::CostArguments;
use crate::{Exit, Failure, Output, Table, failure, proxy};

/// Turns of each way.
const TURNS: u32 = 20;
/// Longest wait for one answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Requests before anything is measured: connections, caches, the first pages of memory.
const WARM_UP: u32 = 50;
/// Time that the door has to end.
const DRAIN: Duration = Duration::from_secs(2);

/// One way to the target.
struct Way {
    sender: SendRequest<Empty<Bytes>>,
    latencies: Vec<Duration>,
    cpu: Duration,
    failed: u32,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Cost {
    /// Requests each way.
    pub requests: u32,
    /// Straight to the target.
    pub direct: Figures,
    /// Through the door.
    pub through: Figures,
    /// Growth of the process's resident memory from before the door to the end; `None` where the
    /// system does not tell.
    pub memory_bytes: Option<i64>,
}

/// Figures of one way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    /// Half of the requests took no longer.
    pub p50: Duration,
    /// 99 of 100 took no longer.
    pub p99: Duration,
    /// Processor time of this process for one request, its client included.
    pub cpu: Duration,
    /// Requests without an answer below 500.
    pub failed: u32,
}

/// Measures and shows it; `policy` is the one that the door gets beside the files.
///
/// # Errors
/// The target is not to be used, or does not answer; the policy cannot be used.
pub async fn run(
    arguments: &CostArguments,
    policy: Policy,
    output: Output,
) -> Result<Exit, Failure> {
    let cost = measure(arguments, policy).await?;
    output.remark(&format!(
        "{} requests each way to {}, one at a time; each figure is of one request, MEMORY of the door",
        cost.requests,
        arguments.target.as_deref().unwrap_or_default(),
    ));
    output.result(&cost.to_json(), &cost.table());
    let failed = cost.direct.failed + cost.through.failed;
    if failed > 0 {
        output.remark(&format!("{failed} requests had no answer below 500"));
        return Ok(Exit::Partial);
    }
    Ok(Exit::Done)
}

/// Measures.
///
/// # Errors
/// The target is not to be used, or does not answer; the policy cannot be used.
pub async fn measure(arguments: &CostArguments, policy: Policy) -> Result<Cost, Failure> {
    let url = arguments.target.as_deref().ok_or_else(|| {
        let failure = Failure::new("bad_argument", "no target is named").exit(Exit::Usage);
        failure.next("--target http://127.0.0.1:PORT/PATH")
    })?;
    let target = Target::of(url, arguments.yes).await?;
    let tasks = Tasks::new();
    let memory = resident();
    let door = open_door(arguments, &target, policy, &tasks)?;
    let measured = take_turns(arguments, &target, &door, &tasks).await;
    let grown = memory.zip(resident()).map(|(before, after)| after.saturating_sub(before));
    // What does not end in time ends with the process.
    let _ended = tasks.drain(DRAIN).await;
    door.join();
    let (mut direct, mut through) = measured?;
    Ok(Cost {
        requests: arguments.requests,
        direct: direct.figures(),
        through: through.figures(),
        memory_bytes: grown,
    })
}

struct Target {
    address: std::net::SocketAddr,
    authority: String,
    path: String,
}

impl Target {
    async fn of(url: &str, is_sure: bool) -> Result<Self, Failure> {
        let usage = |what: &str| Failure::new("bad_argument", what).at(url).exit(Exit::Usage);
        let uri: Uri = url.parse().map_err(|_| usage("the target is no URL"))?;
        if uri.scheme_str() != Some("http") {
            return Err(usage("the target is not an http:// URL; TLS is not measured"));
        }
        let authority = uri.authority().ok_or_else(|| usage("the target names no host"))?;
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let port = authority.port_u16().unwrap_or(80);
        let found = lookup_host((host.as_str(), port)).await;
        let address = found.ok().and_then(|mut it| it.next());
        let unknown = || Failure::new("unreachable", "the target's host is not known").at(url);
        let address = address.ok_or_else(|| unknown().exit(Exit::Unreachable))?;
        if !is_loopback(address.ip()) && !is_sure {
            let refused = usage("the target is not on this machine, and this is load");
            return Err(refused.next("ask whoever runs it, then add --yes"));
        }
        let path = uri.path_and_query().map_or("/", |it| it.as_str()).to_owned();
        Ok(Self { address, authority: authority.to_string(), path })
    }
}

const fn is_loopback(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(it) => it.is_loopback(),
        IpAddr::V6(it) => it.is_loopback(),
    }
}

fn open_door(
    arguments: &CostArguments,
    target: &Target,
    mut policy: Policy,
    tasks: &Tasks,
) -> Result<Program, Failure> {
    let endpoint = Endpoint {
        address: target.address,
        instance: None,
        version: None,
        weight: 1,
        identity: None,
    };
    let set = EndpointSet { protocol: Protocol::Http1, endpoints: vec![endpoint] };
    policy.endpoints.insert(arguments.service.clone(), set);
    let telemetry = Telemetry::new(TelemetryConfig::default(), SystemClock::shared());
    let failed =
        |why: String| Failure::new("start_failed", "the door cannot be opened").because(why);
    let mesh = Mesh::new("mesh-cost", policy, &telemetry).map_err(|it| failed(it.to_string()))?;
    let outbound = Outbound {
        listen: ([127, 0, 0, 1], 0).into(),
        service: Some(arguments.service.clone()),
        protocol: Some(Protocol::Http1),
    };
    let proxy = Proxy {
        name: "mesh-cost".to_owned(),
        outbound: vec![outbound],
        workers: 1,
        ..Proxy::default()
    };
    Program::start(&proxy, &mesh, &BTreeMap::new(), proxy::limits(), &telemetry, tasks)
        .map_err(|it| failed(failure::chain(&it)))
}

async fn take_turns(
    arguments: &CostArguments,
    target: &Target,
    door: &Program,
    tasks: &Tasks,
) -> Result<(Way, Way), Failure> {
    let no_door = || Failure::new("internal", "the door listens nowhere");
    let door = *door.bound.outbound.first().ok_or_else(no_door)?;
    let mut direct = Way::open(target.address, tasks).await?;
    let mut through = Way::open(door, tasks).await?;
    for way in [&mut direct, &mut through] {
        way.turn(target, WARM_UP).await?;
        way.latencies.clear();
        (way.cpu, way.failed) = (Duration::ZERO, 0);
    }
    let mut left = arguments.requests;
    for turn in 0..TURNS {
        let count = left / (TURNS - turn);
        left -= count;
        // Each goes first as often as the other.
        let ways =
            if turn % 2 == 0 { [&mut direct, &mut through] } else { [&mut through, &mut direct] };
        for way in ways {
            way.turn(target, count).await?;
        }
    }
    Ok((direct, through))
}

impl Way {
    async fn open(address: std::net::SocketAddr, tasks: &Tasks) -> Result<Self, Failure> {
        let unreachable = |why: String| {
            let failure = Failure::new("unreachable", "the target does not answer");
            failure.at(address).because(why).exit(Exit::Unreachable)
        };
        let stream = TcpStream::connect(address).await;
        let stream = stream.map_err(|it| unreachable(it.to_string()))?;
        // Else what is measured is the wait for an acknowledgement.
        stream.set_nodelay(true).map_err(|it| unreachable(it.to_string()))?;
        let connected = handshake(TokioIo::new(stream)).await;
        let (sender, connection) = connected.map_err(|it| unreachable(failure::chain(&it)))?;
        tasks.spawn("measured connection", |shutdown| async move {
            // How it ends shows at the answer.
            let _ended = shutdown.or_cancel(connection).await;
        });
        Ok(Self { sender, latencies: Vec::new(), cpu: Duration::ZERO, failed: 0 })
    }

    async fn turn(&mut self, target: &Target, count: u32) -> Result<(), Failure> {
        let cpu = processor_time();
        for _ in 0..count {
            let began = Instant::now();
            let answered = timeout(ANSWER_WITHIN, self.ask(target)).await;
            let lost = |why: String| {
                let failure = Failure::new("unreachable", "the target does not answer any more");
                failure.at(&target.authority).because(why).exit(Exit::Unreachable)
            };
            let answered = answered.map_err(|_| lost("nothing came in time".to_owned()))?;
            let is_good = answered.map_err(|it| lost(failure::chain(&it)))?;
            self.latencies.push(began.elapsed());
            self.failed += u32::from(!is_good);
        }
        self.cpu += processor_time().saturating_sub(cpu);
        Ok(())
    }

    async fn ask(&mut self, target: &Target) -> hyper::Result<bool> {
        self.sender.ready().await?;
        let mut request = Request::new(Empty::new());
        // Both were read from a URL.
        if let (Ok(uri), Ok(host)) = (target.path.parse(), target.authority.parse()) {
            *request.uri_mut() = uri;
            request.headers_mut().insert("host", host);
        }
        let answer = self.sender.send_request(request).await?;
        let status = answer.status();
        answer.into_body().collect().await?;
        Ok(status.as_u16() < 500)
    }

    fn figures(&mut self) -> Figures {
        self.latencies.sort();
        let count = self.latencies.len();
        // Nearest rank.
        let at = |percent: usize| {
            let rank = (count * percent).div_ceil(100).max(1);
            self.latencies.get(rank - 1).copied().unwrap_or_default()
        };
        let each = u32::try_from(count).unwrap_or(u32::MAX).max(1);
        Figures { p50: at(50), p99: at(99), cpu: self.cpu / each, failed: self.failed }
    }
}

/// Processor time of all threads of this process.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Resident memory of this process in bytes; Linux alone tells it without asking for rights.
fn resident() -> Option<i64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|it| it.strip_prefix("VmRSS:"))?;
    let kib: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1_024)
}

impl Cost {
    /// The table.
    #[must_use]
    pub fn table(&self) -> Table {
        let mut table = Table::new(&["WAY", "P50", "P99", "CPU", "MEMORY", "FAILED"]);
        // One unit throughout: what is added is the difference of the lines above it.
        let micros = |it: f64| format!("{it:.1}µs");
        let time = |it: Duration| micros(it.as_secs_f64() * 1e6);
        let (direct, through) = (&self.direct, &self.through);
        for (name, way) in [("direct", direct), ("through the door", through)] {
            let cpu = time(way.cpu);
            let failed = way.failed.to_string();
            table.row([name.to_owned(), time(way.p50), time(way.p99), cpu, "–".to_owned(), failed]);
        }
        let more = |a: Duration, b: Duration| (b.as_secs_f64() - a.as_secs_f64()) * 1e6;
        let memory = self.memory_bytes.map_or_else(
            || "–".to_owned(),
            |it| format!("{}.{}MiB", it >> 20, (it.rem_euclid(1 << 20) * 10) >> 20),
        );
        table.row([
            "added".to_owned(),
            micros(more(direct.p50, through.p50)),
            micros(more(direct.p99, through.p99)),
            micros(more(direct.cpu, through.cpu)),
            memory,
            String::new(),
        ]);
        table
    }

    /// The same for programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let way = |it: &Figures| {
            json!({
                "p50_us": it.p50.as_secs_f64() * 1e6, "p99_us": it.p99.as_secs_f64() * 1e6,
                "cpu_us": it.cpu.as_secs_f64() * 1e6, "failed": it.failed,
            })
        };
        let more = |a: Duration, b: Duration| (b.as_secs_f64() - a.as_secs_f64()) * 1e6;
        json!({
            "requests": self.requests,
            "direct": way(&self.direct),
            "through": way(&self.through),
            "added": {
                "p50_us": more(self.direct.p50, self.through.p50),
                "p99_us": more(self.direct.p99, self.through.p99),
                "cpu_us": more(self.direct.cpu, self.through.cpu),
                "memory_bytes": self.memory_bytes,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_target_elsewhere_is_refused_until_somebody_is_sure() {
        let refused = Target::of("http://192.0.2.1:8080/x", false).await;
        assert_eq!(refused.err().map(|it| it.exit), Some(Exit::Usage));
        let target = Target::of("http://192.0.2.1:8080/x?y=1", true).await.ok().unwrap();
        assert_eq!((target.address.port(), target.path.as_str()), (8_080, "/x?y=1"));
        assert!(Target::of("http://127.0.0.1", false).await.is_ok());
        assert!(Target::of("http://[::1]:1/", false).await.is_ok());
        for bad in ["https://127.0.0.1/", "127.0.0.1:80", "/x", ""] {
            assert!(Target::of(bad, false).await.is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_added_is_the_difference_of_the_ways() {
        let micros = Duration::from_micros;
        let direct = Figures { p50: micros(100), p99: micros(900), cpu: micros(50), failed: 0 };
        let through = Figures { p50: micros(150), p99: micros(800), cpu: micros(90), failed: 2 };
        let cost =
            Cost { requests: 100, direct, through, memory_bytes: Some((2 << 20) + (1 << 19)) };
        let expected = "\
WAY               P50      P99       CPU     MEMORY  FAILED
direct            100.0µs  900.0µs   50.0µs  –       0
through the door  150.0µs  800.0µs   90.0µs  –       2
added             50.0µs   -100.0µs  40.0µs  2.5MiB
";
        assert_eq!(cost.table().render(""), expected);
    }
}
