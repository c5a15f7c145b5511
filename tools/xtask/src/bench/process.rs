//! What a process used, as the kernel counts it.

use std::{fs, ops::Add, time::Duration};

/// Ticks of `/proc/PID/stat` in a second; fixed in the kernel's interface to user space.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU and writes of one process since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Usage {
    pub(crate) cpu_ms: f64,
    pub(crate) written_bytes: f64,
}

impl Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            cpu_ms: self.cpu_ms + other.cpu_ms,
            written_bytes: self.written_bytes + other.written_bytes,
        }
    }
}

pub(crate) fn usage(pid: u64) -> Option<Usage> {
    let cpu_ms = cpu_ms(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
    // `wchar`, what was handed to write calls: `write_bytes` charges whole folios of pre-allocated files.
    let written = fs::read_to_string(format!("/proc/{pid}/io")).ok();
    let written_bytes = written.and_then(|it| field(&it, "wchar:")).unwrap_or(0.0);
    Some(Usage { cpu_ms, written_bytes })
}

/// Proportional set size in KiB.
pub(crate) fn pss_kib(pid: u64) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find(|it| it.starts_with("Pss:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// A process with its children, and theirs.
pub(crate) fn family(pid: u64) -> Vec<u64> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pairs: Vec<(u64, u64)> = all
        .filter_map(|it| {
            let pid = it.file_name().to_str()?.parse().ok()?;
            Some((pid, parent(&fs::read_to_string(it.path().join("stat")).ok()?)?))
        })
        .collect();
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(&elder) = family.get(next) {
        family.extend(pairs.iter().filter(|(_, parent)| *parent == elder).map(|(pid, _)| *pid));
        next += 1;
    }
    family
}

/// Time on a core of every thread of a process and its children, by the scheduler's own count.
pub(crate) fn on_cpu(pid: u64) -> Option<Duration> {
    let nanos = |pid: u64| -> Option<u64> {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten();
        // A thread that ended meanwhile has nothing to read.
        let read = threads.filter_map(|it| fs::read_to_string(it.path().join("schedstat")).ok());
        let nanos = read.filter_map(|it| it.split_whitespace().next()?.parse::<u64>().ok());
        Some(nanos.sum())
    };
    let own = nanos(pid).filter(|it| *it > 0)?;
    let children = family(pid).into_iter().skip(1).filter_map(nanos);
    Some(Duration::from_nanos(own + children.sum::<u64>()))
}

fn parent(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn cpu_ms(stat: &str) -> Option<f64> {
    // The name in brackets may hold spaces; the fields are counted behind it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(ticks * 1_000.0 / TICKS_PER_SECOND)
}

fn field(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|it| it.strip_prefix(name))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_read_behind_a_name_with_spaces() {
        let stat = "7 (a b) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 3 0 1 1 1";
        assert_eq!(cpu_ms(stat), Some(2_000.0));
    }

    #[test]
    fn a_grandchild_belongs_to_the_family() {
        use std::io::{BufRead, BufReader};
        let mut child = std::process::Command::new("sh")
            .args(["-c", "sh -c 'echo $$; cat'; true"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let grandchild: u64 = line.trim().parse().unwrap();
        assert_ne!(grandchild, u64::from(child.id()));
        let family = family(u64::from(std::process::id()));
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(family.contains(&grandchild), "{grandchild} in {family:?}");
    }

    #[test]
    fn a_parent_is_read_behind_a_name_with_spaces() {
        assert_eq!(parent("7 (a b) S 1 7 7 0"), Some(1));
    }

    #[test]
    fn this_process_used_something() {
        let usage = usage(u64::from(std::process::id())).unwrap();
        assert!(usage.cpu_ms >= 0.0);
        assert!(on_cpu(u64::from(std::process::id())).unwrap() > Duration::ZERO);
        assert!(pss_kib(u64::from(std::process::id())).unwrap() > 0);
    }
}
