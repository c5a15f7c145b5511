//! Asks over many connections and checks each answer: status, every byte of the body, trailers.

mod h1;
mod h2;

use std::{io, net::SocketAddr, sync::Arc};

use clap::ValueEnum;
use tokio::{net::TcpStream, task::JoinSet};

use crate::{
    broken,
    exchange::Exchange,
    measuring::{self, Driving},
    say,
    tally::{Tally, Window},
    until_input_ends,
};

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Wire {
    Http1,
    /// By prior knowledge.
    Http2,
}

/// One measurement.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) target: SocketAddr,
    pub(crate) wire: Wire,
    pub(crate) exchange: Exchange,
    pub(crate) connections: usize,
    pub(crate) streams: usize,
    pub(crate) rate: Option<u64>,
    /// Requests of each connection in a closed loop, at most.
    pub(crate) requests: u64,
}

impl Load {
    /// Asks until the window ends.
    pub(crate) async fn run(self, window: Window) -> io::Result<Tally> {
        let mut asking = JoinSet::new();
        let mut driving = Driving::new();
        match self.wire {
            Wire::Http1 => {
                let request = self.exchange.http1_request();
                let request = request.ok_or_else(|| broken("gRPC is not spoken over HTTP/1.1"))?;
                let script = Arc::new(h1::Script { request, reply: self.exchange.reply() });
                let paces;
                (paces, driving) =
                    measuring::paces(self.connections, self.rate, self.requests, window);
                for pace in paces {
                    asking.spawn(h1::ask(self.target, Arc::clone(&script), pace, window));
                }
            }
            Wire::Http2 => {
                if self.rate.is_some() {
                    return Err(broken("a rate is for HTTP/1.1"));
                }
                let asker = h2::Asker {
                    exchange: self.exchange,
                    streams: self.streams,
                    requests: self.requests,
                    window,
                };
                for _ in 0..self.connections {
                    asking.spawn(h2::ask(self.target, asker));
                }
            }
        }
        measuring::collect(asking, driving, window).await
    }
}

/// A connection with Nagle's algorithm off, as every contender has it.
async fn connect(target: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(target).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Opens connections, uses each once, prints `held`, and keeps them until standard input ends.
pub(crate) async fn hold(target: SocketAddr, connections: usize) -> io::Result<()> {
    let exchange = Exchange::Small;
    let request = exchange.http1_request().ok_or_else(|| broken("no request"))?;
    let script = h1::Script { request, reply: exchange.reply() };
    let mut held = Vec::with_capacity(connections);
    for _ in 0..connections {
        let mut connection = h1::Connection::open(target).await?;
        connection.exchange(&script).await?;
        held.push(connection);
    }
    say("held");
    until_input_ends().await?;
    drop(held);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::TcpListener;

    use super::*;
    use crate::backend;

    /// Asks a backend that answers `answered` as if it answered `asked`.
    #[track_caller]
    fn check(wire: Wire, asked: Exchange, answered: Exchange, rate: Option<u64>) -> (u64, u64) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let target = listener.local_addr().unwrap();
            let mut backend = JoinSet::new();
            backend.spawn(backend::serve(listener, answered));
            let (connections, streams) = (3, 4);
            let requests = 20;
            let load = Load { target, wire, exchange: asked, connections, streams, rate, requests };
            // A closed loop ends by its count, however slow the machine is.
            let length = rate.map_or(Duration::from_secs(60), |_| Duration::from_millis(100));
            let window = Window::starting_now(Duration::ZERO, length);
            load.run(window).await.unwrap().counts()
        })
    }

    #[test]
    fn every_exchange_of_the_bench_is_verified() {
        for (wire, exchange) in [
            (Wire::Http1, Exchange::Small),
            (Wire::Http1, Exchange::Large),
            (Wire::Http2, Exchange::Small),
            (Wire::Http2, Exchange::Grpc),
        ] {
            assert_eq!(check(wire, exchange, exchange, None), (60, 0), "{wire:?} {exchange:?}");
        }
    }

    #[test]
    fn one_byte_of_the_body_that_differs_is_an_error() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let target = listener.local_addr().unwrap();
            let mut backend = JoinSet::new();
            backend.spawn(backend::serve(listener, Exchange::Large));
            let mut script = h1::Script {
                request: Exchange::Large.http1_request().unwrap(),
                reply: Exchange::Large.reply(),
            };
            let mut connection = h1::Connection::open(target).await.unwrap();
            connection.exchange(&script).await.unwrap();
            script.reply[70_000] ^= 1;
            assert!(connection.exchange(&script).await.is_err());
        });
    }

    #[test]
    fn an_open_loop_never_asks_ahead_of_its_rate() {
        let (verified, errors) = check(Wire::Http1, Exchange::Small, Exchange::Small, Some(200));
        assert!(verified <= 20, "{verified} in a tenth of a second");
        assert_eq!(errors, 0);
    }

    #[test]
    fn an_answer_of_another_length_or_kind_is_an_error() {
        for (wire, asked, answered) in [
            (Wire::Http1, Exchange::Small, Exchange::Large),
            (Wire::Http2, Exchange::Small, Exchange::Grpc),
            (Wire::Http2, Exchange::Grpc, Exchange::Small),
        ] {
            let (verified, errors) = check(wire, asked, answered, None);
            assert_eq!(verified, 0, "{wire:?} {asked:?} {answered:?}");
            assert!(errors > 0, "{wire:?} {asked:?} {answered:?}");
        }
    }
}
