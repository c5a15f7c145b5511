//! Answers without an end of their own: streams of server-sent events.
//!
//! While it waits such a stream works at nothing, so it holds no place at its destination: a hundred clients
//! that listen would keep everybody else out. Whoever sends it bounds how many there are. It ends in order
//! where its door closes, and at an edge where its caller would not be let in any more: what ends between
//! two events loses none, as clients come again and name the last that they have.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use http::StatusCode;

use crate::{h1::Known, head::ResponseHead};

const MEDIA_TYPE: &str = "text/event-stream";

/// Whether an answer is one.
pub(crate) fn is_one(head: &ResponseHead) -> bool {
    let media_type = head.fields.text(Known::ContentType).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    head.status == StatusCode::OK && media_type.eq_ignore_ascii_case(MEDIA_TYPE)
}

/// What ends an answer that would go on; nothing where nobody has added any.
pub(crate) struct Ends(Vec<Pin<Box<dyn Future<Output = ()> + Send>>>);

impl Ends {
    pub(crate) const NONE: Self = Self(Vec::new());

    pub(crate) fn add(&mut self, end: impl Future<Output = ()> + Send + 'static) {
        self.0.push(Box::pin(end));
    }

    /// Ready when one of them has come. Not to be asked again then.
    pub(crate) fn poll_any(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let has_come = self.0.iter_mut().any(|it| it.as_mut().poll(context).is_ready());
        if has_come { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl fmt::Debug for Ends {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Ends({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: u16, media_type: &str, expected: bool) {
        let mut head = ResponseHead::new(StatusCode::from_u16(status).unwrap());
        head.fields.push(b"Content-Type", media_type.as_bytes());
        assert_eq!(is_one(&head), expected, "{status} {media_type}");
    }

    #[test]
    fn a_stream_of_events_is_told_by_its_media_type() {
        check(200, "text/event-stream", true);
        check(200, "Text/Event-Stream ; charset=utf-8", true);
        for other in ["text/event-streams", "text/plain", "application/json", ""] {
            check(200, other, false);
        }
        check(503, "text/event-stream", false);
    }
}
