//! Bytes both ways, for connections that are no HTTP, or no longer.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    downstream::Closing,
    stream::{ReadSide, Stream, WriteSide},
};

/// Bytes that one direction holds.
const BUFFER_BYTES: usize = 16 << 10;

/// Copies until both directions have ended, one has failed, or connections are to end. An end in one
/// direction is passed on and leaves the other open.
pub(crate) async fn both_ways(
    mut client_read: ReadSide,
    client_write: &mut WriteSide,
    server: Stream,
    mut closing: Closing,
) {
    let (mut server_read, mut server_write) = server.split();
    let up = async {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let read = client_read.read(&mut buffer).await?;
            if read == 0 {
                return server_write.shutdown().await;
            }
            server_write.write_all(&buffer[..read]).await?;
        }
    };
    let down = async {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let read = server_read.read(&mut buffer).await?;
            if read == 0 {
                return client_write.shutdown().await;
            }
            client_write.write_all(&buffer[..read]).await?;
        }
    };
    // A failure on either side ends both: there is nobody left to tell.
    tokio::select! {
        _ended = async { tokio::try_join!(up, down) } => {}
        () = closing.said() => {}
    }
}
