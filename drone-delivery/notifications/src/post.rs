//! One `POST` to somebody else's server: a connection, a call, a status. Nothing of the answer but
//! its status is read.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Uri, header};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use identity::{PublicName, PublicTrust, PublicTrustError, Refusal};
use runtime::Tasks;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};

use crate::config::ConfigError;

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
    /// What it must prove to be, and who is believed about that; nothing in plain text.
    proof: Option<(PublicName, PublicTrust)>,
}

/// Why no status came. It says nothing of what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PostError {
    /// Nobody listens there.
    #[error("it cannot be reached")]
    Unreachable,
    /// It did not prove that it is the one that was meant: nothing was sent.
    #[error("it did not prove who it is: {0}")]
    Unproved(Refusal),
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
    /// The server of an address that is a setting. Over `https` it proves its name, by an authority of the
    /// machine's list or of this file.
    ///
    /// # Errors
    /// The address cannot be called, or nobody can be believed.
    pub(crate) fn parse(
        url: &str,
        setting: &'static str,
        authorities: Option<&Path>,
    ) -> Result<Self, ConfigError> {
        let no_address = || ConfigError::Url { setting };
        let uri: Uri = url.parse().map_err(|_| no_address())?;
        let host = uri.host().ok_or_else(no_address)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let (proof, default_port) = match uri.scheme_str() {
            Some("http") => (None, 80),
            Some("https") => {
                let name = PublicName::of_host(&host).ok_or_else(no_address)?;
                let trust = PublicTrust::load(authorities);
                let unbelieved =
                    |it: PublicTrustError| ConfigError::Unbelieved { setting, why: chain(&it) };
                (Some((name, trust.map_err(unbelieved)?)), 443)
            }
            _ => return Err(no_address()),
        };
        let port = uri.port_u16().unwrap_or(default_port);
        Ok(Self { uri, host, port, proof })
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
        let Some((name, trust)) = &self.proof else { return send(stream, request, tasks).await };
        let proved = trust.connect(stream, name).await.map_err(PostError::Unproved)?;
        send(proved, request, tasks).await
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

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
    tasks: &Tasks,
) -> Result<u16, PostError> {
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|_| PostError::Lost)?;
    tasks.spawn("post", |shutdown| async move {
        // It ends with the call: nobody else holds its sender.
        if let Some(Err(error)) = shutdown.or_cancel(connection).await {
            tracing::debug!(%error, "a connection ended badly");
        }
    });
    let reply = sender.send_request(request).await.map_err(|_| PostError::Lost)?;
    Ok(reply.status().as_u16())
}

/// An error with its causes.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |it| it.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use identity::testing::Front;

    use super::*;

    #[tokio::test]
    async fn only_what_can_be_called_is_a_target() {
        let (folder, tasks) = (tempfile::tempdir().unwrap(), Tasks::new());
        let nowhere = ([127, 0, 0, 1], 9).into();
        let front = Front::open("sms.example", nowhere, &tasks).await.unwrap();
        let authorities = folder.path().join("authorities.pem");
        std::fs::write(&authorities, front.authority()).unwrap();
        for (url, port) in [
            ("http://127.0.0.1:9093/api/v2/alerts", Some(9_093)),
            ("http://sms.example", Some(80)),
            ("http://[::1]:8/x", Some(8)),
            ("https://sms.example", Some(443)),
            ("https://[::1]:8443/x", Some(8_443)),
            ("https://a..example/", None),
            ("ftp://a.example/", None),
            ("/just/a/path", None),
            ("", None),
        ] {
            // A list of authorities, for a machine that has none.
            let target = Target::parse(url, "sms.url", Some(&authorities));
            assert_eq!(target.as_ref().ok().map(|it| it.port), port, "{url}");
            let is_proved = target.is_ok_and(|it| it.proof.is_some());
            assert_eq!(is_proved, port.is_some() && url.starts_with("https"), "{url}");
        }
    }
}
