//! Our log in a process of its own, as `drone-delivery` runs it: one thread beside the log's own.

use std::{io, net::SocketAddr, path::PathBuf};

use broker::{Broker, BrokerConfig, TopicConfig};
use runtime::{SystemClock, Tasks};
use telemetry::{Telemetry, TelemetryConfig};

use super::TOPIC;
use crate::until_input_ends;

/// Serves until standard input ends.
pub(crate) async fn run(listen: SocketAddr, data: PathBuf) -> io::Result<()> {
    let (clock, tasks) = (SystemClock::shared(), Tasks::new());
    let telemetry = Telemetry::new(TelemetryConfig::default(), clock.clone());
    let topic = TopicConfig {
        name: TOPIC.to_owned(),
        // As streams of the peers are: one order for all.
        partitions: 1,
        synced: true,
        retention_ms: None,
        retention_bytes: None,
    };
    let config = BrokerConfig { listen, topics: vec![topic], ..BrokerConfig::new(data) };
    let started = Broker::start(config, clock, &telemetry, &tasks).map_err(io::Error::other)?;
    until_input_ends().await?;
    started.close().await;
    Ok(())
}
