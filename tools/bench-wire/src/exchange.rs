//! What is asked and what is answered: the same bytes for every contender.

use clap::ValueEnum;

/// One kind of request with its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Exchange {
    /// GET, six headers; 1 KiB of JSON.
    Small,
    /// GET, six headers; 100 KiB of JSON.
    Large,
    /// A unary gRPC call: a message of 64 bytes; one of 1,019, then trailers `grpc-status: 0`.
    Grpc,
}

/// Path of the GET requests.
pub(crate) const PATH: &str = "/api/items/8f3c2a17-5b0e-4c7e-9d51-0a6f2b9c4e11";
/// Path of the gRPC call.
pub(crate) const METHOD: &str = "/bench.Items/Get";
/// Host of every request.
pub(crate) const AUTHORITY: &str = "items.bench.internal";
/// Headers of every GET beside the host; with it they are six. The trace is one that is not sampled:
/// it is carried on, and nobody records spans.
pub(crate) const HEADERS: [(&str, &str); 5] = [
    ("user-agent", "bench-wire/0.1 (x86_64; linux)"),
    ("accept", "application/json"),
    ("accept-encoding", "gzip, deflate"),
    ("api-version", "2"),
    ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"),
];

impl Exchange {
    /// The body of the reply; for gRPC one message with its prefix of five bytes.
    pub(crate) fn reply(self) -> Vec<u8> {
        match self {
            Self::Small => json(1_024),
            Self::Large => json(100 * 1_024),
            Self::Grpc => message(1_019),
        }
    }

    /// The body of the request.
    pub(crate) fn request(self) -> Vec<u8> {
        match self {
            Self::Small | Self::Large => Vec::new(),
            Self::Grpc => message(64),
        }
    }

    /// The whole HTTP/1.1 request; gRPC has none.
    pub(crate) fn http1_request(self) -> Option<Vec<u8>> {
        if self == Self::Grpc {
            return None;
        }
        let mut text = format!("GET {PATH} HTTP/1.1\r\nhost: {AUTHORITY}\r\n");
        for (name, value) in HEADERS {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        Some((text + "\r\n").into_bytes())
    }

    /// The whole HTTP/1.1 reply; gRPC has none.
    pub(crate) fn http1_reply(self) -> Option<Vec<u8>> {
        if self == Self::Grpc {
            return None;
        }
        let body = self.reply();
        let head = format!(
            "HTTP/1.1 200 OK\r\nserver: bench-wire\r\ncontent-type: application/json\r\n\
             cache-control: no-store\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        Some([head.into_bytes(), body].concat())
    }
}

/// A JSON object of exactly so many bytes.
fn json(length: usize) -> Vec<u8> {
    let (start, end) = (b"{\"items\":\"".as_slice(), b"\"}".as_slice());
    let filling = (b'a'..=b'z').cycle().take(length - start.len() - end.len());
    start.iter().copied().chain(filling).chain(end.iter().copied()).collect()
}

/// A length-prefixed message: not compressed, four bytes of length, the bytes.
fn message(length: u32) -> Vec<u8> {
    let filling = (b'a'..=b'z').cycle().take(usize::try_from(length).unwrap_or_default());
    [0].into_iter().chain(length.to_be_bytes()).chain(filling).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_have_the_lengths_that_the_report_names() {
        assert_eq!(Exchange::Small.reply().len(), 1_024);
        assert_eq!(Exchange::Large.reply().len(), 102_400);
        assert_eq!(Exchange::Grpc.reply().len(), 1_024);
        let small: serde_json::Value = serde_json::from_slice(&Exchange::Small.reply()).unwrap();
        assert!(small.is_object());
    }

    #[test]
    fn a_get_has_six_headers_and_grpc_is_not_spoken_over_http1() {
        let request = String::from_utf8(Exchange::Small.http1_request().unwrap()).unwrap();
        assert_eq!(request.trim_end().lines().skip(1).count(), 6);
        assert!(Exchange::Grpc.http1_request().is_none());
    }
}
