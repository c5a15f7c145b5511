//! A mail server (RFC 5321) of a few commands.

use std::{
    collections::{BTreeMap, VecDeque},
    future::pending,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use runtime::Tasks;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

/// A mail that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// Whom it is for, by the envelope.
    pub to: Vec<String>,
    /// Headers and body as they came.
    pub text: String,
}

#[derive(Debug, Default)]
struct Kept {
    taken: Vec<Mail>,
    /// Codes with which the next connections are greeted; none for those that hear nothing.
    greetings: VecDeque<Option<u16>>,
    /// Mails that are taken without a word.
    unanswered: usize,
    /// Codes for certain recipients.
    recipients: BTreeMap<String, u16>,
    connections: usize,
}

/// A mail server that keeps what it takes.
#[derive(Debug)]
pub struct Mailbox {
    address: SocketAddr,
    inner: Arc<Mutex<Kept>>,
    tasks: Tasks,
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

impl Mailbox {
    /// Opens one.
    ///
    /// # Errors
    /// No port is free.
    pub async fn open() -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (inner, tasks) = (Arc::<Mutex<Kept>>::default(), Tasks::new());
        let (kept, owner) = (Arc::clone(&inner), tasks.clone());
        tasks.spawn("mailbox", |shutdown| async move {
            while let Some(Ok((stream, _))) = shutdown.or_cancel(listener.accept()).await {
                let kept = Arc::clone(&kept);
                owner.spawn("mail session", |shutdown| async move {
                    // A client that leaves in the middle has nothing taken.
                    drop(shutdown.or_cancel(session(stream, kept)).await);
                });
            }
        });
        Ok(Self { address, inner, tasks })
    }

    /// Its port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.address.port()
    }

    /// What it took so far.
    #[must_use]
    pub fn taken(&self) -> Vec<Mail> {
        locked(&self.inner).taken.clone()
    }

    /// How many connections there were.
    #[must_use]
    pub fn connections(&self) -> usize {
        locked(&self.inner).connections
    }

    /// Greets the next connection with this code, such as 421.
    pub fn greet_next_with(&self, code: u16) {
        locked(&self.inner).greetings.push_back(Some(code));
    }

    /// Takes the next connection and says nothing on it.
    pub fn hang_next(&self) {
        locked(&self.inner).greetings.push_back(None);
    }

    /// Takes the next mail and does not say so.
    pub fn lose_next_answer(&self) {
        locked(&self.inner).unanswered += 1;
    }

    /// Answers this recipient with this code, such as 550.
    pub fn refuse(&self, recipient: &str, code: u16) {
        locked(&self.inner).recipients.insert(recipient.to_owned(), code);
    }
}

fn locked(inner: &Mutex<Kept>) -> std::sync::MutexGuard<'_, Kept> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps a mail. Says whether its answer gets lost.
fn take(kept: &Mutex<Kept>, mail: Mail) -> bool {
    let mut inner = locked(kept);
    inner.taken.push(mail);
    let is_lost = inner.unanswered > 0;
    inner.unanswered -= usize::from(is_lost);
    is_lost
}

async fn session(stream: TcpStream, kept: Arc<Mutex<Kept>>) -> std::io::Result<()> {
    let greeting = {
        let mut inner = locked(&kept);
        inner.connections += 1;
        inner.greetings.pop_front().unwrap_or(Some(220))
    };
    let Some(greeting) = greeting else { return pending().await };
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    writer.write_all(format!("{greeting} mailbox\r\n").as_bytes()).await?;
    if greeting != 220 {
        return Ok(());
    }
    let mut to = Vec::new();
    while let Some(line) = lines.next_line().await? {
        let word = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        let answer = match word.as_str() {
            "EHLO" | "HELO" => "250 mailbox\r\n".to_owned(),
            "MAIL" | "RSET" => {
                to.clear();
                "250 ok\r\n".to_owned()
            }
            "RCPT" => {
                let address = line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
                let code = locked(&kept).recipients.get(&address).copied().unwrap_or(250);
                let answer = format!("{code} <{address}>\r\n");
                if code == 250 {
                    to.push(address);
                }
                answer
            }
            "DATA" => {
                writer.write_all(b"354 go on\r\n").await?;
                let mut text = String::new();
                while let Some(line) = lines.next_line().await? {
                    if line == "." {
                        break;
                    }
                    text.push_str(line.strip_prefix("..").map_or(line.as_str(), |_| &line[1..]));
                    text.push('\n');
                }
                let mail = Mail { to: std::mem::take(&mut to), text };
                if take(&kept, mail) {
                    return pending().await;
                }
                "250 taken\r\n".to_owned()
            }
            "QUIT" => {
                writer.write_all(b"221 bye\r\n").await?;
                return Ok(());
            }
            _ => "502 no\r\n".to_owned(),
        };
        writer.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}
