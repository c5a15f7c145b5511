//! Answers every request with the same prepared bytes. One thread, a buffer for each connection.

mod h2;

use std::{io, net::Ipv4Addr};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::{broken, exchange::Exchange, frames::PREFACE, say, until_input_ends};

/// Longest request head; more closes the connection.
const HEAD_MAX: usize = 16_384;

/// Serves until standard input ends; prints its ports first.
pub(crate) async fn run(port: u16, listeners: u16, exchange: Exchange) -> io::Result<()> {
    let mut serving = JoinSet::new();
    let mut ports = Vec::new();
    for index in 0..listeners {
        let port = if port == 0 { 0 } else { port.saturating_add(index) };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        ports.push(listener.local_addr()?.port());
        serving.spawn(serve(listener, exchange));
    }
    say(&json!({"ports": ports}).to_string());
    until_input_ends().await
}

/// Serves one listener; ends only when it breaks. Connections end with it.
pub(crate) async fn serve(listener: TcpListener, exchange: Exchange) -> io::Result<()> {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        connections.spawn(connection(stream, exchange));
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(mut stream: TcpStream, exchange: Exchange) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(HEAD_MAX);
    // Enough to tell the two protocols apart: no method of HTTP/1.1 starts with `PRI `.
    while buffer.len() < 4 {
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
    if buffer.starts_with(&PREFACE[..4]) {
        return h2::serve(stream, buffer, exchange).await;
    }
    let reply = exchange.http1_reply().ok_or_else(|| broken("gRPC is not spoken over HTTP/1.1"))?;
    let mut out = Vec::with_capacity(reply.len());
    loop {
        let mut start = 0;
        while let Some(end) = head_end(&buffer[start..]) {
            if !buffer[start..].starts_with(b"GET ") {
                stream.write_all(b"HTTP/1.1 405 Method Not Allowed\r\n\r\n").await?;
                return Ok(());
            }
            start += end;
            out.extend_from_slice(&reply);
        }
        buffer.drain(..start);
        if !out.is_empty() {
            stream.write_all(&out).await?;
            out.clear();
        }
        if buffer.len() >= HEAD_MAX || stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

/// Length of a message's head with its empty line.
pub(crate) fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|it| it == b"\r\n\r\n").map(|it| it + 4)
}
