//! Logs under measurement: publishers that wait for every acknowledgement, subscribers that check the
//! order and the length of what comes, and the disk alone as the floor below both.
//!
//! What each log speaks is spoken by hand, bytes in and bytes out, so that what a client costs is small
//! beside any log. One connection carries all publishers of a process, as in a service: then every log
//! has the best chance to let messages share a sync. Our own client takes part beside the lean one.

mod amqp;
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
    Span, broken,
    tally::{Tally, Window},
};

pub(crate) use broker::run as broker;
pub(crate) use floor::{Space, run as floor};

/// What is published to, by every log's own word for it.
const TOPIC: &str = "bench";

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Wire {
    /// AMQP 0-9-1 by hand, to quorum queues.
    Amqp,
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
    /// Messages that each subscriber acknowledges at a time; without, it acknowledges none.
    pub(crate) settle: Option<u16>,
}

/// Messages that can be acknowledged at a time, by any of them.
pub(crate) const SETTLE_MAX: u16 = amqp::PREFETCH / 2;

impl Target {
    /// So many publishers until the window ends.
    pub(crate) async fn publish(self, publishers: usize, window: Window) -> io::Result<Tally> {
        match self.wire {
            Wire::Amqp => {
                publish::run(self.target, amqp::Publisher::to_queue(), publishers, window).await
            }
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
        let settle = publishing.settle;
        match wire {
            Wire::Nats | Wire::Redis if settle.is_some() => {
                Err(broken("its subscribers acknowledge nothing"))
            }
            Wire::Amqp => {
                let subscriber = |number| amqp::Subscriber::new(number, settle);
                let make = (amqp::Publisher::to_subscribers, subscriber);
                deliver::run(target, make, subscribers, publishing, span).await
            }
            Wire::Kafka => {
                let make = (kafka::Publisher::new, |_| kafka::Subscriber::new(settle));
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
