//! Whether ports are free, and who has them when they are not. Linux shows it under `/proc`, to
//! the same user or to root; elsewhere only the fact is known.

use std::{
    fmt, fs, io,
    net::{Ipv4Addr, TcpListener},
    ops::RangeInclusive,
    path::PathBuf,
};

use base::Random;
use runtime::random_from_os;

use crate::sockets::listening;

/// A process that listens on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortHolder {
    /// Its id.
    pub pid: u32,
    /// Its short name.
    pub name: String,
    /// Its program file, where it may be seen.
    pub program: Option<PathBuf>,
    /// Its parent.
    pub parent: Option<u32>,
}

impl fmt::Display for PortHolder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "process {} ({})", self.pid, self.name)
    }
}

/// Who has a port that is taken, as far as it may be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// A process that listens there.
    Process(PortHolder),
    /// Somebody listens whose process is not to be seen; the kernel tells whose it is.
    User(u32),
    /// Nobody listens.
    Nobody,
    /// This machine does not tell.
    Unknown,
}

impl fmt::Display for Holder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process(it) => write!(formatter, "by {it}"),
            Self::User(uid) => write!(formatter, "by a process of the user with the number {uid}"),
            Self::Nobody => formatter.write_str(
                "although nobody listens there: maybe by a connection that ended; it passes within a minute",
            ),
            Self::Unknown => formatter.write_str("by somebody"),
        }
    }
}

/// Whether nobody listens on the port of the loopback interface.
#[must_use]
pub fn is_free(port: u16) -> bool {
    // The standard library sets SO_REUSEADDR: what lingers from closed connections is no holder.
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Draws free ports for programs that must be told theirs. Each is held until this is dropped, so
/// that none is drawn twice. None is of the range from which the kernel gives ports to connections:
/// one of those would take it before its program does, or while that is started again, and keep it
/// for hours. A program that takes a port of its own may still be first: then the one that was told
/// the port dies and is started again until the port is free.
#[derive(Debug)]
pub struct FreePorts {
    held: Vec<TcpListener>,
    kernels: RangeInclusive<u16>,
    random: Random,
}

/// The first that is drawn: below it stand programs that everybody expects there.
const FIRST: u16 = 10_000;
/// Draws before a port is taken that the kernel gives.
const DRAWS_MAX: usize = 1_000;
/// What the kernel gives to connections where it does not say (Linux, `ip_local_port_range`).
const KERNELS: RangeInclusive<u16> = 32_768..=60_999;

impl Default for FreePorts {
    fn default() -> Self {
        let said = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok();
        let kernels = said.and_then(|it| range(&it)).unwrap_or(KERNELS);
        Self { held: Vec::new(), kernels, random: random_from_os() }
    }
}

impl FreePorts {
    /// A port that is free and that nobody was given before.
    ///
    /// # Errors
    /// No port or file descriptor is left.
    pub fn draw(&mut self) -> io::Result<u16> {
        let listener = match self.apart() {
            Some(listener) => listener,
            // The kernel gives them all, as some hosts are set.
            None => TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?,
        };
        let port = listener.local_addr()?.port();
        self.held.push(listener);
        Ok(port)
    }

    /// One that no connection gets.
    fn apart(&mut self) -> Option<TcpListener> {
        let count = u64::from(u16::MAX - FIRST) + 1;
        (0..DRAWS_MAX).find_map(|_| {
            let port = FIRST + u16::try_from(self.random.below(count)).ok()?;
            let is_apart = !self.kernels.contains(&port);
            is_apart.then(|| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok())?
        })
    }
}

/// Two numbers, as the kernel writes a range of ports.
fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let mut ends = text.split_whitespace().map(str::parse);
    Some(ends.next()?.ok()?..=ends.next()?.ok()?)
}

/// Who has the port.
#[must_use]
pub fn holder(port: u16) -> Holder {
    let tables: Vec<_> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|it| fs::read_to_string(it).ok())
        .collect();
    let Some(socket) = tables.iter().find_map(|table| listening(table, port)) else {
        return if tables.is_empty() { Holder::Unknown } else { Holder::Nobody };
    };
    let wanted = format!("socket:[{}]", socket.inode);
    let mut processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = processes.by_ref().filter_map(|it| it.file_name().to_str()?.parse::<u32>().ok());
    let found = numbers.into_iter().find(|pid| has_file(*pid, &wanted));
    found.map_or(Holder::User(socket.uid), |pid| Holder::Process(describe(pid)))
}

fn describe(pid: u32) -> PortHolder {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    PortHolder {
        pid,
        name: name.trim().to_owned(),
        program: fs::read_link(format!("/proc/{pid}/exe")).ok(),
        parent: fs::read_to_string(format!("/proc/{pid}/stat")).ok().and_then(|it| parent(&it)),
    }
}

/// The program file of a process, where it may be seen.
#[must_use]
pub fn program_of(pid: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/exe")).ok()
}

/// The words that a process was started with, where they may be seen; else none.
#[must_use]
pub fn arguments_of(pid: u32) -> Vec<String> {
    let text = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = text.split(|it| *it == 0).filter(|it| !it.is_empty());
    words.map(|it| String::from_utf8_lossy(it).into_owned()).collect()
}

fn has_file(pid: u32, wanted: &str) -> bool {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    files
        .flatten()
        .filter_map(|it| fs::read_link(it.path()).ok())
        .any(|it| it.as_os_str() == wanted)
}

/// The parent in a line of `/proc/PID/stat`. The name before it may hold spaces and parentheses.
fn parent(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_port_is_found() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(!is_free(port));
        let Holder::Process(holder) = holder(port) else { panic!("{:?}", holder(port)) };
        assert_eq!(holder.pid, std::process::id());
        assert!(!holder.name.is_empty());
        assert_eq!(arguments_of(holder.pid).first(), std::env::args().next().as_ref());
        assert_eq!(holder.parent, Some(std::os::unix::process::parent_id()));
        drop(listener);
        assert!(is_free(port));
        assert_eq!(super::holder(port), Holder::Nobody);
    }

    #[test]
    fn a_holder_that_is_not_to_be_seen_is_told_by_the_number_of_its_user() {
        let said = Holder::User(1_000).to_string();
        assert_eq!(said, "by a process of the user with the number 1000");
        assert!(Holder::Nobody.to_string().contains("passes within a minute"));
    }

    #[test]
    fn a_port_is_drawn_once_and_free_when_all_are_drawn() {
        let mut ports = FreePorts::default();
        let drawn: Vec<_> = (0..50).map(|_| ports.draw().unwrap()).collect();
        let distinct: std::collections::BTreeSet<_> = drawn.iter().collect();
        assert_eq!(distinct.len(), drawn.len());
        assert!(!is_free(drawn[0]));
        let given = ports.kernels.clone();
        assert!(!drawn.iter().any(|it| given.contains(it)), "{drawn:?} of {given:?}");
        drop(ports);
        assert!(is_free(drawn[0]));
    }

    #[test]
    fn where_the_kernel_gives_all_ports_one_of_them_is_drawn() {
        let mut ports = FreePorts { kernels: 1..=u16::MAX, ..FreePorts::default() };
        let port = ports.draw().unwrap();
        assert!(!is_free(port));
        assert_eq!(range("32768\t60999\n"), Some(KERNELS));
        assert_eq!(range("any"), None);
    }

    #[test]
    fn a_name_with_parentheses_does_not_hide_the_parent() {
        assert_eq!(parent("42 (odd ) name) S 7 42 42 0 -1"), Some(7));
    }
}
