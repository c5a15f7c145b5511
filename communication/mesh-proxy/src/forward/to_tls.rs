//! What a plain port answers beside one that is meant.
//!
//! A question that shows nothing is sent on, as people type addresses without a scheme. What bears a
//! credential is refused in words: sent on, it would work, and be sent in the clear again each time.

use base::Code;
use http::{Method, StatusCode};
use mesh_policy::route::RequestView as _;
use telemetry::{CounterFamily, Telemetry};

use crate::{
    h1::Known,
    head::{RequestHead, ResponseHead},
    outbound::parent_of,
    refusal::Refusal,
    reply::Reply,
};

/// Sends people on to the port that speaks TLS.
#[derive(Debug, Clone)]
pub struct ToTls {
    port: u16,
    answered: CounterFamily,
}

impl ToTls {
    /// To this port of the same host.
    #[must_use]
    pub fn port(port: u16, telemetry: &Telemetry) -> Self {
        let answered = telemetry.metrics().counter(
            "mesh_plain_requests_total",
            "Requests without TLS at an edge that answers over TLS alone, by what became of them.",
            &["outcome"],
        );
        Self { port, answered }
    }

    /// Sends a question on that shows nothing, refuses all else.
    pub(crate) fn answer(&self, head: &RequestHead) -> Reply {
        let (host, port) = (head.host(), self.port);
        if is_question(&head.method) && !shows_something(head) {
            self.answered.with(&["sent_on"]).inc();
            let mut reply = ResponseHead::new(StatusCode::PERMANENT_REDIRECT);
            let to = [format!("https://{host}:{port}").as_bytes(), head.target()].concat();
            reply.fields.push(b"location", &to);
            return Reply::whole(reply, bytes::Bytes::new());
        }
        self.answered.with(&["refused"]).inc();
        let detail = format!(
            "this is answered over TLS alone, at https://{host}:{port}; a credential that was shown here \
             is not secret any more"
        );
        let trace_id = parent_of(head).map(|it| it.trace_id.to_string());
        Refusal::new(Code::TlsRequired, detail).reply(trace_id.as_deref())
    }
}

fn is_question(method: &Method) -> bool {
    *method == Method::GET || *method == Method::HEAD
}

fn shows_something(head: &RequestHead) -> bool {
    let is_credential = |known: Known, name: &[u8]| {
        known == Known::Authorization || name.eq_ignore_ascii_case(b"cookie")
    };
    head.fields.iter().any(|(known, name, _)| is_credential(known, name))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::head::Version;

    #[track_caller]
    fn check(method: &str, fields: &[(&str, &str)], status: u16, location: Option<&str>) {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let target = Bytes::from("/api/x%20y?a=b");
        let mut head = RequestHead::new(method, Version::Http11, "Localhost:7080".into(), target);
        for (name, value) in fields {
            head.fields.push(name.as_bytes(), value.as_bytes());
        }
        let reply = ToTls::port(7_443, &Telemetry::disabled()).answer(&head);
        let to = reply.head.fields.named("location").map(String::from_utf8_lossy);
        assert_eq!((reply.head.status.as_u16(), to.as_deref()), (status, location), "{fields:?}");
    }

    #[test]
    fn a_question_is_sent_on_and_what_bears_a_credential_is_refused() {
        let there = Some("https://localhost:7443/api/x%20y?a=b");
        check("GET", &[], 308, there);
        check("HEAD", &[("accept", "*/*")], 308, there);
        for credential in ["Authorization", "authorization", "Cookie", "cookie"] {
            check("GET", &[(credential, "x")], 403, None);
        }
        for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            check(method, &[], 403, None);
        }
    }
}
