//! Calls of a saga over HTTP: one attempt each, with an honest end.

use std::{borrow::Cow, time::Duration};

use http::Method;
use saga::{CallResult, Caller, OutgoingCall, Reply};

use crate::{
    client::{Call, CallError, CallReply, Client},
    deadline::Deadline,
};

/// Makes a saga's calls with a service's client.
#[derive(Debug, Clone)]
pub struct SagaCaller(Client);

impl SagaCaller {
    /// Over that client.
    #[must_use]
    pub const fn new(client: Client) -> Self {
        Self(client)
    }
}

impl Caller for SagaCaller {
    async fn call(&self, call: OutgoingCall) -> CallResult {
        // A definition holds only methods that exist.
        let method = Method::from_bytes(call.method.as_bytes()).unwrap_or(Method::GET);
        let mut request = Call::new(Cow::Owned(call.service), method, call.path)
            .within(Deadline::after(call.deadline))
            .operation(call.operation, Some(call.epoch));
        request.timeout = Some(call.deadline);
        request.attempt = call.attempt.saturating_sub(1);
        request.trace = call.trace;
        if let Some(body) = &call.body {
            request = request.json(body);
        }
        match self.0.call(request).await {
            Ok(reply) => CallResult::Replied(replied(&reply)),
            Err(error @ (CallError::NotSent(_) | CallError::UnknownService { .. })) => {
                CallResult::Refused { code: error.code() }
            }
            Err(CallError::DeadlineExpired) => CallResult::DeadlineExpired,
            Err(CallError::TimedOut { .. }) => CallResult::TimedOut,
            Err(CallError::ConnectionLost(_)) => CallResult::ConnectionLost { sent: true },
            Err(error @ CallError::Malformed(_)) => {
                tracing::error!(%error, "a call of a saga is no HTTP");
                CallResult::problem(400, "invalid_request", false)
            }
        }
    }
}

fn replied(reply: &CallReply) -> Reply {
    let problem = reply.problem();
    // A plain text answer, such as a bare id, is a JSON string.
    let body = reply.json().or_else(|| String::from_utf8(reply.body.to_vec()).ok().map(Into::into));
    Reply {
        status: reply.status.as_u16(),
        retry_after: reply.retry_after().map(|it| it.min(Duration::from_secs(30))),
        code: problem.as_ref().map(|it| it.code.clone().into_owned()),
        retryable: problem.is_some_and(|it| it.retryable),
        body: body.filter(|_| !reply.body.is_empty()).unwrap_or_default(),
    }
}
