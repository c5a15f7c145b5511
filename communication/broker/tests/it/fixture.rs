//! A broker on a free port, in a directory of its own.

use std::time::Duration;

use broker::{BoundBroker, Broker, BrokerConfig};
use kafka_wire::{ApiKey, Field, Reader, Writer};
use runtime::{SystemClock, Tasks};
use telemetry::Telemetry;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Fixture {
    pub(crate) broker: BoundBroker,
    tasks: Tasks,
    directory: TempDir,
}

pub(crate) fn broker(set: impl FnOnce(&mut BrokerConfig)) -> Fixture {
    start(TempDir::new().unwrap(), set)
}

fn start(directory: TempDir, set: impl FnOnce(&mut BrokerConfig)) -> Fixture {
    let mut config = BrokerConfig::new(directory.path());
    set(&mut config);
    let tasks = Tasks::new();
    let clock = SystemClock::shared();
    let broker = Broker::start(config, clock, &Telemetry::disabled(), &tasks).unwrap();
    Fixture { broker, tasks, directory }
}

impl Fixture {
    /// Another broker on the same files.
    pub(crate) async fn restarted(self) -> Self {
        let Self { broker, tasks, directory } = self;
        broker.close().await;
        tasks.drain(PATIENCE).await;
        drop(broker);
        start(directory, |_| {})
    }

    pub(crate) async fn client(&self) -> Client {
        Client(TcpStream::connect(self.broker.address).await.unwrap())
    }
}

/// A client that asks one question after the other.
pub(crate) struct Client(TcpStream);

impl Client {
    /// Asks in the latest version.
    pub(crate) async fn ask<A: Field>(&mut self, api: ApiKey, question: &impl Field) -> A {
        self.ask_in(api, api.latest(), question).await
    }

    pub(crate) async fn ask_in<A: Field>(
        &mut self,
        api: ApiKey,
        version: i16,
        question: &impl Field,
    ) -> A {
        let mut writer = Writer::frame();
        writer.i16(api.key());
        writer.i16(version);
        writer.i32(7);
        writer.nullable_string(Some("test"));
        question.write(&mut writer, version);
        self.0.write_all(&writer.finish()).await.unwrap();
        let length = usize::try_from(self.0.read_i32().await.unwrap()).unwrap();
        let mut frame = vec![0; length];
        self.0.read_exact(&mut frame).await.unwrap();
        let mut reader = Reader::new(frame.into());
        assert_eq!(reader.i32(), Ok(7));
        let answer = A::read(&mut reader, version).unwrap();
        reader.end().unwrap();
        answer
    }
}
