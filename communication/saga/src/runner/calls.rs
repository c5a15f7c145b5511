//! One call under way: made once, under its own span, and answered whatever happens.

use std::time::Duration;

use telemetry::{SpanKind, Telemetry, TraceContext};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};

use super::{DueCall, shell::Input};
use crate::{
    caller::{Caller, Observer},
    outcome::CallResult,
};

/// How much longer than its deadline a call is waited for: the caller's own verdict says more.
const VERDICT_GRACE: Duration = Duration::from_millis(250);

/// An answer that is owed. A call that panics, or is dropped, may have been made: that is what
/// its answer says then, so that the saga never waits for it in vain.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) due: Option<Box<DueCall>>,
    inputs: mpsc::UnboundedSender<Input>,
    began: Instant,
}

impl Answer {
    pub(super) fn new(due: Box<DueCall>, inputs: mpsc::UnboundedSender<Input>) -> Self {
        Self { due: Some(due), inputs, began: Instant::now() }
    }

    pub(super) fn give(&mut self, result: CallResult) {
        let Some(due) = self.due.take() else { return };
        // A stopped engine needs no answer.
        drop(self.inputs.send(Input::Answered { due, result, took: self.began.elapsed() }));
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.give(CallResult::ConnectionLost { sent: true });
    }
}

/// Makes one call under a span of its own.
pub(super) async fn attempt<C: Caller, O: Observer>(
    due: &DueCall,
    caller: &C,
    observer: &O,
    telemetry: &Telemetry,
) -> CallResult {
    let DueCall { saga, flight, call, trace, .. } = due;
    let parent = trace.as_deref().and_then(|it| TraceContext::parse(it, None));
    let name = format!("{} {}", flight.direction.as_str(), call.operation.step);
    let mut span = telemetry.span(name, SpanKind::Internal, parent.as_ref());
    if span.is_recording() {
        span.attribute("saga.id", &**saga);
        span.attribute("saga.step", call.operation.step.as_str());
        span.attribute("saga.attempt", call.attempt);
        span.attribute("saga.epoch", i64::try_from(call.epoch).unwrap_or(i64::MAX));
        for (name, value) in observer.attributes(saga) {
            span.attribute(name, value);
        }
    }
    let mut call = call.clone();
    call.trace = Some(span.context());
    let wait = call.deadline + VERDICT_GRACE;
    let result = timeout(wait, caller.call(call)).await.unwrap_or(CallResult::TimedOut);
    if let Some(reason) = failure(&result) {
        span.fail(reason);
    }
    result
}

/// Why the span of an attempt is marked; a refusal is the service's right.
fn failure(result: &CallResult) -> Option<String> {
    match result {
        CallResult::Replied(reply) if reply.status < 500 => None,
        CallResult::Replied(reply) => {
            Some(reply.code.clone().unwrap_or_else(|| format!("http_{}", reply.status)))
        }
        CallResult::Refused { code } => Some(code.as_str().to_owned()),
        CallResult::TimedOut => Some("timed_out".to_owned()),
        CallResult::ConnectionLost { .. } => Some("connection_lost".to_owned()),
        CallResult::DeadlineExpired => Some("deadline_expired".to_owned()),
    }
}
