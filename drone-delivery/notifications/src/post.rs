//! One `POST` to somebody else's server: a connection, a call, a status. Nothing of the answer but
//! its status is read.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Uri, header};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use runtime::Tasks;
use tokio::{net::TcpStream, time::timeout};

/// What is posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Post {
    /// Names in lower case.
    pub(crate) headers: Vec<(&'static str, String)>,
    /// JSON.
    pub(crate) body: Vec<u8>,
}

/// A server that takes posts.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    uri: Uri,
    host: String,
    port: u16,
}

/// Why no status came. It says nothing of what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PostError {
    /// Nobody listens there.
    #[error("it cannot be reached")]
    Unreachable,
    /// The connection ended before a status came.
    #[error("it ended the connection")]
    Lost,
    /// No status in time.
    #[error("it did not answer in time")]
    TimedOut,
    /// What is to be sent is no call.
    #[error("the call cannot be written")]
    Malformed,
}

impl Target {
    /// The server of an address; none where the address cannot be called.
    pub(crate) fn parse(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let host = uri.host()?.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().unwrap_or(80);
        (uri.scheme_str() == Some("http")).then_some(Self { uri, host, port })
    }

    /// Posts, and gives the status. Cancel-safe in the sense that dropping it closes the connection.
    pub(crate) async fn post(
        &self,
        post: &Post,
        within: Duration,
        tasks: &Tasks,
    ) -> Result<u16, PostError> {
        timeout(within, self.call(post, tasks)).await.unwrap_or(Err(PostError::TimedOut))
    }

    async fn call(&self, post: &Post, tasks: &Tasks) -> Result<u16, PostError> {
        let request = self.request(post)?;
        let stream = TcpStream::connect((self.host.as_str(), self.port));
        let stream = stream.await.map_err(|_| PostError::Unreachable)?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|_| PostError::Lost)?;
        tasks.spawn("post", |shutdown| async move {
            // It ends with the call: nobody else holds its sender.
            if let Some(Err(error)) = shutdown.or_cancel(connection).await {
                tracing::debug!(%error, "a connection ended badly");
            }
        });
        let reply = sender.send_request(request).await.map_err(|_| PostError::Lost)?;
        Ok(reply.status().as_u16())
    }

    fn request(&self, post: &Post) -> Result<Request<Full<Bytes>>, PostError> {
        let path = self.uri.path_and_query().map_or("/", |it| it.as_str());
        let authority = self.uri.authority().map_or("", |it| it.as_str());
        // A name and a password in the address are no part of what a server is called.
        let host = authority.rsplit('@').next().unwrap_or_default();
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(header::HOST, host)
            .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in &post.headers {
            request = request.header(*name, value.as_str());
        }
        request.body(Full::from(post.body.clone())).map_err(|_| PostError::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_called_is_a_target() {
        for (url, port) in [
            ("http://127.0.0.1:9093/api/v2/alerts", Some(9_093)),
            ("http://sms.example", Some(80)),
            ("http://[::1]:8/x", Some(8)),
            ("ftp://a.example/", None),
            ("/just/a/path", None),
            ("", None),
        ] {
            assert_eq!(Target::parse(url).map(|it| it.port), port, "{url}");
        }
    }
}
