//! One burst of load: what was answered, and what the contender spent meanwhile.

use std::time::Duration;

use serde_json::{Value, json};

use super::Case;
use crate::bench::{
    Failure,
    part::{Core, Part, Program},
    process,
};

/// Share of a burst that goes before it, so that connections stand when answers begin to count.
const WARM_UP_SHARE: u32 = 6;

/// What one burst showed.
#[derive(Debug, Clone)]
pub(super) struct Burst {
    /// What the load printed.
    pub(super) load: Value,
    pub(super) cpu: Duration,
}

impl Burst {
    /// What a load prints between the word that it counts from now on and its end, and what a process with its
    /// children spent meanwhile.
    pub(super) fn read(mut load: Part, pid: u64) -> Result<Self, Failure> {
        load.expect("measuring")?;
        let before = process::on_cpu(pid).ok_or("the contender is gone")?;
        let answer = load.line()?;
        let cpu = process::on_cpu(pid).ok_or("the contender is gone")?.saturating_sub(before);
        let load = serde_json::from_str(&answer).map_err(|_| format!("the load says: {answer}"))?;
        Ok(Self { load, cpu })
    }

    fn number(&self, name: &str) -> f64 {
        self.load[name].as_f64().unwrap_or(0.0)
    }

    pub(super) fn errors(&self) -> u64 {
        self.load["errors"].as_u64().unwrap_or(1)
    }

    pub(super) fn verified(&self) -> u64 {
        self.load["verified"].as_u64().unwrap_or(0)
    }

    /// A burst that could not be measured: one error, nothing verified.
    pub(super) fn lost(reason: &str) -> Self {
        Self { load: json!({"errors": 1, "firstError": reason}), cpu: Duration::ZERO }
    }

    /// Microseconds of CPU for each answer; no number where there was none.
    pub(super) fn cpu_us(&self) -> f64 {
        match self.verified() {
            0 => f64::NAN,
            _ => self.cpu.as_secs_f64() * 1e6 / self.number("verified"),
        }
    }

    pub(super) fn per_second(&self) -> f64 {
        self.number("verified") / self.number("seconds").max(1e-9)
    }

    /// Share of its core that the contender had; well below 1 means that it waited for load.
    pub(super) fn busy(&self) -> f64 {
        match self.verified() {
            0 => f64::NAN,
            _ => self.cpu.as_secs_f64() / self.number("seconds").max(1e-9),
        }
    }

    pub(super) fn latency_us(&self, quantile: &str) -> f64 {
        self.number(quantile)
    }
}

/// The program with backend, load and client.
#[derive(Debug, Clone)]
pub(super) struct Ends(pub(super) Program);

impl Ends {
    pub(super) fn command(&self, core: Core, arguments: &[&str]) -> Result<Part, Failure> {
        self.0.start(core, arguments)
    }

    /// Loads a port and counts the CPU of a process with its children.
    pub(super) fn burst(
        &self,
        case: &Case,
        port: u16,
        pid: u64,
        length: Duration,
    ) -> Result<Burst, Failure> {
        let target = format!("127.0.0.1:{port}");
        let numbers = [
            case.connections.to_string(),
            case.streams.to_string(),
            length.as_millis().to_string(),
            case.rate.unwrap_or_default().to_string(),
            (length / WARM_UP_SHARE).as_millis().to_string(),
        ];
        let [connections, streams, millis, rate, warm_up] = numbers.each_ref().map(String::as_str);
        let mut arguments = vec!["load", "--target", &target, "--wire", case.wire];
        arguments.extend(["--exchange", case.exchange, "--connections", connections]);
        arguments.extend(["--streams", streams, "--measure-ms", millis, "--warm-up-ms", warm_up]);
        if case.rate.is_some() {
            arguments.extend(["--rate", rate]);
        }
        Burst::read(self.command(Core::Ends, &arguments)?, pid)
    }

    /// Lets a client library ask; inside is why it does not run.
    pub(super) fn client(
        &self,
        kind: &str,
        ports: &[u16],
        rate: Option<u32>,
        length: Duration,
    ) -> Result<Result<Burst, String>, Failure> {
        let targets: Vec<String> = ports.iter().map(|it| format!("127.0.0.1:{it}")).collect();
        let (millis, rate) = (length.as_millis().to_string(), rate.map(|it| it.to_string()));
        let warm_up = (length / WARM_UP_SHARE).as_millis().to_string();
        let mut arguments = vec!["client", "--kind", kind, "--measure-ms", &millis];
        arguments.extend(["--warm-up-ms", &warm_up]);
        if let Some(rate) = &rate {
            arguments.extend(["--rate", rate]);
        }
        for target in &targets {
            arguments.extend(["--target", target]);
        }
        let mut client = self.command(Core::Contender, &arguments)?;
        let first = client.line()?;
        if first != "measuring" {
            return Ok(Err(first));
        }
        let before = process::on_cpu(client.pid()).ok_or("the client is gone")?;
        let answer = client.line()?;
        // It waits for the end of its input, so that it can still be read.
        let after = process::on_cpu(client.pid()).ok_or("the client is gone")?;
        let load = serde_json::from_str(&answer).map_err(|_| format!("it says: {answer}"))?;
        Ok(Ok(Burst { load, cpu: after.saturating_sub(before) }))
    }
}

/// Three backends on one thread of core 1.
pub(super) struct Backend {
    part: Part,
    ports: Vec<u16>,
}

impl Backend {
    pub(super) fn start(ends: &Ends, exchange: &str) -> Result<Self, Failure> {
        let mut part = ends.command(Core::Ends, &["backend", "--exchange", exchange])?;
        let line = part.line()?;
        let said: Value = serde_json::from_str(&line).map_err(|_| format!("a backend: {line}"))?;
        let ports = said["ports"].as_array().into_iter().flatten();
        let ports: Vec<u16> =
            ports.filter_map(|it| it.as_u64().and_then(|it| u16::try_from(it).ok())).collect();
        if ports.len() == 3 { Ok(Self { part, ports }) } else { Err(format!("ports: {line}")) }
    }

    pub(super) fn pid(&self) -> u64 {
        self.part.pid()
    }

    pub(super) fn port(&self) -> u16 {
        self.ports[0]
    }

    pub(super) fn ports(&self) -> &[u16] {
        &self.ports
    }
}
