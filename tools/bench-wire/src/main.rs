//! The two ends of a wire under measurement: a backend that answers, a load that asks, and an
//! in-process client; for logs a publisher, subscribers and the disk alone. Built by
//! `cargo xtask bench mesh` and `bench messaging`, for every contender the same.
//!
//! Backend and load speak HTTP by hand, publisher and subscribers what each log speaks: prepared bytes out, the least reading in. What they cost
//! must stay small beside the cheapest proxy, or the figures would be theirs. They are no servers
//! for anything else: whatever the bench does not send is an error here.

mod backend;
mod client;
mod exchange;
mod frames;
mod histogram;
mod hpack;
mod load;
mod log;
mod measuring;
mod pace;
mod tally;

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::{Parser, Subcommand};

use client::Calls;
use exchange::Exchange;
use load::{Load, Wire};
use tally::Window;

// The allocator of the programs whose parts are measured here, for every library the same.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
#[command(about = "The two ends of `cargo xtask bench mesh` and `bench messaging`")]
struct Arguments {
    #[command(subcommand)]
    part: Part,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Answers HTTP/1.1 and HTTP/2 without TLS until standard input ends.
    Backend {
        /// Port of the first listener; 0 takes free ones for all.
        #[arg(long, default_value_t = 0)]
        port: u16,
        /// Listeners; all are served by one thread.
        #[arg(long, default_value_t = 3)]
        listeners: u16,
        #[arg(long, value_enum)]
        exchange: Exchange,
    },
    /// Asks, checks each answer, and prints what it counted as JSON.
    Load {
        #[arg(long)]
        target: SocketAddr,
        #[arg(long, value_enum, default_value = "http1")]
        wire: Wire,
        #[arg(long, value_enum)]
        exchange: Exchange,
        #[arg(long, default_value_t = 64)]
        connections: usize,
        /// Requests under way on each HTTP/2 connection.
        #[arg(long, default_value_t = 1)]
        streams: usize,
        /// Requests in a second, due at fixed times (open loop, HTTP/1.1); else a closed loop.
        #[arg(long)]
        rate: Option<u64>,
        /// Requests of each connection in a closed loop, at most: for counts of system calls.
        #[arg(long, default_value_t = u64::MAX)]
        requests: u64,
        #[command(flatten)]
        span: Span,
    },
    /// Asks through a client library inside this process: HTTP/1.1, 1 KiB.
    Client {
        #[arg(long, value_enum)]
        kind: client::Kind,
        /// Where the service is found; connections are spread over all.
        #[arg(long, required = true)]
        target: Vec<SocketAddr>,
        /// Callers, each with one call at a time.
        #[arg(long, default_value_t = 64)]
        callers: usize,
        /// Calls in a second, due at fixed times (open loop); else a closed loop.
        #[arg(long)]
        rate: Option<u64>,
        #[command(flatten)]
        span: Span,
    },
    /// Publishes to a log and waits for every acknowledgement: messages of 1 KiB, a closed loop.
    Publish {
        #[command(flatten)]
        log: log::Target,
        /// Publishers, each with one message under way; they share a connection.
        #[arg(long, default_value_t = 1)]
        publishers: usize,
        #[command(flatten)]
        span: Span,
    },
    /// Publishes to a log and counts what subscribers get, in its order and whole.
    Deliver {
        #[command(flatten)]
        log: log::Target,
        /// Subscribers, each with a connection of its own.
        #[arg(long, default_value_t = 1)]
        subscribers: usize,
        /// Messages in a second, due at fixed times; else as many as are acknowledged.
        #[arg(long)]
        rate: Option<u64>,
        /// Messages that are not acknowledged yet, at the most, without a rate.
        #[arg(long, default_value_t = 64)]
        publishers: usize,
        /// Messages that a subscriber acknowledges at a time, as a worker that must lose none; a queue
        /// forgets them, a stream notes how far its group is. Without, nothing is acknowledged.
        #[arg(long, value_parser = clap::value_parser!(u16).range(1..=i64::from(log::SETTLE_MAX)))]
        settle: Option<u16>,
        #[command(flatten)]
        span: Span,
    },
    /// Writes so many messages at a time to a file and syncs it: what the disk alone takes.
    Floor {
        /// The file; it is made, and stays.
        #[arg(long)]
        file: PathBuf,
        #[arg(long, value_enum, default_value = "prewritten")]
        space: log::Space,
        /// Messages of 1 KiB that share a sync.
        #[arg(long, default_value_t = 1)]
        messages: usize,
        /// Syncs in a second, due at fixed times; else one after the other.
        #[arg(long)]
        rate: Option<u64>,
        #[command(flatten)]
        span: Span,
    },
    /// Our log, until standard input ends.
    Broker {
        #[arg(long)]
        listen: SocketAddr,
        /// Its directory.
        #[arg(long)]
        data: PathBuf,
    },
    /// Opens connections, sends one request on each, and holds them until standard input ends.
    Hold {
        #[arg(long)]
        target: SocketAddr,
        #[arg(long)]
        connections: usize,
    },
}

/// How long to ask.
#[derive(Debug, Clone, Copy, clap::Args)]
struct Span {
    /// Milliseconds before anything counts.
    #[arg(long, default_value_t = 200)]
    warm_up_ms: u64,
    /// Milliseconds that count.
    #[arg(long, default_value_t = 1_200)]
    measure_ms: u64,
}

impl Span {
    fn window(self) -> Window {
        Window::starting_now(
            Duration::from_millis(self.warm_up_ms),
            Duration::from_millis(self.measure_ms),
        )
    }
}

fn main() -> ExitCode {
    match run(Arguments::parse().part) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            say(&format!("failed: {reason}"));
            ExitCode::FAILURE
        }
    }
}

fn run(part: Part) -> io::Result<()> {
    // One thread: the CPU of each part is the CPU of one core, and pinning is exact.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match part {
            Part::Backend { port, listeners, exchange } => {
                backend::run(port, listeners, exchange).await
            }
            Part::Load { target, wire, exchange, connections, streams, rate, requests, span } => {
                let load = Load { target, wire, exchange, connections, streams, rate, requests };
                say(&load.run(span.window()).await?.to_string());
                Ok(())
            }
            Part::Client { kind, target, callers, rate, span } => {
                let calls = Calls { kind, targets: target, callers, rate, requests: u64::MAX };
                say(&calls.run(span.window()).await?.to_string());
                // Whoever counts our CPU reads it now.
                until_input_ends().await
            }
            Part::Publish { log, publishers, span } => {
                say(&log.publish(publishers, span.window()).await?.to_string());
                until_input_ends().await
            }
            Part::Deliver { log, subscribers, rate, publishers, settle, span } => {
                let publishing = log::Publishing { rate, publishers, settle };
                say(&log.deliver(subscribers, publishing, span).await?.to_string());
                until_input_ends().await
            }
            Part::Floor { file, space, messages, rate, span } => {
                say(&log::floor(file, space, messages, rate, span).await?.to_string());
                until_input_ends().await
            }
            Part::Broker { listen, data } => log::broker(listen, data).await,
            Part::Hold { target, connections } => load::hold(target, connections).await,
        }
    })
}

/// Whoever started this holds the other end; when it is gone nobody asks any more.
async fn until_input_ends() -> io::Result<()> {
    tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await.map(|_| ())
}

/// A line for the program that started this one.
fn say(line: &str) {
    // Nobody reads: then there is nobody to tell.
    writeln!(io::stdout(), "{line}").ok();
    io::stdout().flush().ok();
}

fn broken(reason: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.into())
}
