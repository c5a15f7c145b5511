//! What a connection may keep a broker waiting for.

use kafka_wire::{ApiKey, messages::MetadataRequest, request};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::fixture::{PATIENCE, broker};

#[tokio::test]
async fn a_connection_on_which_nothing_is_asked_is_ended() {
    let fixture = broker(|it| it.idle_timeout_ms = 50);
    let mut stream = TcpStream::connect(fixture.broker.address).await.unwrap();
    // Nor may half a frame keep it.
    stream.write_all(&[0, 0]).await.unwrap();
    let read = timeout(PATIENCE, stream.read(&mut [0; 8])).await.unwrap();
    assert_eq!(read.unwrap(), 0);
}

/// Its place is another client's.
#[tokio::test]
async fn a_client_that_reads_no_answers_is_ended() {
    let fixture = broker(|it| it.write_timeout_ms = 100);
    let mut stream = TcpStream::connect(fixture.broker.address).await.unwrap();
    let question = request(ApiKey::Metadata, 1, "deaf", &MetadataRequest::default());
    let asking = async { while stream.write_all(&question).await.is_ok() {} };
    timeout(PATIENCE, asking).await.expect("the broker goes on waiting for it");
}
