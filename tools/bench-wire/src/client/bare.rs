//! A bare connection of hyper: what a call costs with nothing around it.

use std::{io, net::SocketAddr};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, StatusCode, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet};

use crate::{
    broken,
    exchange::{AUTHORITY, HEADERS, PATH},
};

/// One connection; what moves it ends with it.
#[derive(Debug)]
pub(super) struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    _driving: JoinSet<hyper::Result<()>>,
}

impl Connection {
    pub(super) async fn open(target: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(target).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        let mut driving = JoinSet::new();
        driving.spawn(connection);
        Ok(Self { sender, _driving: driving })
    }

    pub(super) async fn exchange(&mut self, expected: &[u8]) -> io::Result<()> {
        let mut request = Request::get(PATH).header("host", AUTHORITY);
        for (name, value) in HEADERS {
            request = request.header(name, value);
        }
        let request = request.body(Empty::new()).map_err(io::Error::other)?;
        self.sender.ready().await.map_err(io::Error::other)?;
        let response = self.sender.send_request(request).await.map_err(io::Error::other)?;
        if response.status() != StatusCode::OK {
            return Err(broken(format!("answered {}", response.status())));
        }
        let body = response.into_body().collect().await.map_err(io::Error::other)?;
        if body.to_bytes() != expected {
            return Err(broken("another body"));
        }
        Ok(())
    }
}
