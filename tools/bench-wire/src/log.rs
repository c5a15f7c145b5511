//! Logs under measurement: publishers that wait for every acknowledgement, subscribers that check the
//! order and the length of what comes, and the disk alone as the floor below both.
//!
//! What each log speaks is spoken by hand, bytes in and bytes out, so that what a client costs is small
//! beside any log. One connection carries all publishers of a process, as in a service: then every log
//! has the best chance to let messages share a sync. Our own client takes part beside the lean one.

mod body;
mod broker;
mod deliver;
mod floor;
mod kafka;
mod lean;
mod nats;
mod publish;
mod redis;
mod skein;

use std::{io, net::SocketAddr};

use clap::{Args, ValueEnum};

use crate::{
    Span,
    tally::{Tally, Window},
};

pub(crate) use broker::run as broker;
pub(crate) use floor::{Space, run as floor};

/// What is published to, by every log's own word for it.
const TOPIC: &str = "bench";

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Wire {
    /// Kafka's protocol by hand, one batch under way.
    Kafka,
    /// NATS by hand, to a stream of JetStream.
    Nats,
    /// Redis by hand, to a stream.
    Redis,
    /// The client that our services have.
    Skein,
}

/// A log, and how it is spoken to.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Target {
    #[arg(long)]
    target: SocketAddr,
    #[arg(long, value_enum)]
    wire: Wire,
}

/// How messages come to be published while subscribers count.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Publishing {
    pub(crate) rate: Option<u64>,
    pub(crate) publishers: usize,
}

impl Target {
    /// So many publishers until the window ends.
    pub(crate) async fn publish(self, publishers: usize, window: Window) -> io::Result<Tally> {
        match self.wire {
            Wire::Kafka => {
                publish::run(self.target, kafka::Publisher::new(), publishers, window).await
            }
            Wire::Nats => {
                publish::run(self.target, nats::Publisher::new(), publishers, window).await
            }
            Wire::Redis => {
                publish::run(self.target, redis::Publisher::new(), publishers, window).await
            }
            Wire::Skein => skein::publish(self.target, publishers, window).await,
        }
    }

    /// So many subscribers, until the window ends that opens when all stand ready.
    pub(crate) async fn deliver(
        self,
        subscribers: usize,
        publishing: Publishing,
        span: Span,
    ) -> io::Result<Tally> {
        let Self { target, wire } = self;
        match wire {
            Wire::Kafka => {
                let make = (kafka::Publisher::new, kafka::Subscriber::new);
                deliver::run(target, make, subscribers, publishing, span).await
            }
            Wire::Nats => {
                let make = (nats::Publisher::new, nats::Subscriber::new);
                deliver::run(target, make, subscribers, publishing, span).await
            }
            Wire::Redis => {
                let make = (redis::Publisher::new, redis::Subscriber::new);
                deliver::run(target, make, subscribers, publishing, span).await
            }
            Wire::Skein => skein::deliver(target, subscribers, publishing, span).await,
        }
    }
}
