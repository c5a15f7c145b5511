//! Processes of `skein`, what they log, and what answers at their doors.

use std::{net::SocketAddr, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStderr, Command},
    time::timeout,
};

/// Longest wait for what must come.
pub(crate) const WITHIN: Duration = Duration::from_secs(30);

/// A process of `skein`, and what it logs.
pub(crate) struct Process {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
}

impl Process {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::of(Command::new(env!("CARGO_BIN_EXE_skein")), arguments)
    }

    /// One that may have so many descriptors.
    pub(crate) fn with_descriptors(most: u32, arguments: &[&str]) -> Self {
        let mut shell = Command::new("sh");
        let script = format!("ulimit -n {most} && exec \"$0\" \"$@\"");
        shell.args(["-c", &script, env!("CARGO_BIN_EXE_skein")]);
        Self::of(shell, arguments)
    }

    fn of(mut command: Command, arguments: &[&str]) -> Self {
        command.args(arguments).kill_on_drop(true).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, log }
    }

    /// The next line with these words.
    pub(crate) async fn until(&mut self, words: &str) -> String {
        let found = async {
            while let Some(line) = self.log.next_line().await.unwrap() {
                if line.contains(words) {
                    return line;
                }
            }
            panic!("the log ended without `{words}`");
        };
        timeout(WITHIN, found).await.unwrap_or_else(|_| panic!("no `{words}` in the log"))
    }

    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

/// The first address behind a word of a line.
pub(crate) fn address(line: &str, word: &str) -> SocketAddr {
    let (_, rest) = line.split_once(word).unwrap();
    let from = rest.find("127.0.0.1:").unwrap();
    let text: String =
        rest[from..].chars().take_while(|it| it.is_ascii_digit() || ".:".contains(*it)).collect();
    text.parse().unwrap()
}

/// The status of an answer at a door, if one came.
pub(crate) async fn status(door: SocketAddr) -> Option<u16> {
    let mut stream = TcpStream::connect(door).await.ok()?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: stock\r\nconnection: close\r\n\r\n").await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}
