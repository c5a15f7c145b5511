//! What an engine needs from whoever embeds it: somebody who makes calls, somebody who listens.

use std::{future::Future, time::Duration};

use base::OperationKey;
use serde_json::Value;
use store::{SqlError, Transaction};
use telemetry::TraceContext;

use crate::{
    machine::{Record, Signal},
    outcome::CallResult,
    view::SagaView,
};

/// One call of a saga, ready to be sent.
#[derive(Debug, Clone, PartialEq)]
pub struct OutgoingCall {
    /// Logical name of the service.
    pub service: String,
    /// HTTP method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// JSON body.
    pub body: Option<Value>,
    /// How long it may take in all.
    pub deadline: Duration,
    /// The key under which the service knows a repetition.
    pub operation: OperationKey,
    /// The epoch of the owner who calls.
    pub epoch: u64,
    /// Which attempt of the step this is; the first is 1.
    pub attempt: u32,
    /// The span of the attempt, when the saga is traced.
    pub trace: Option<TraceContext>,
}

/// Makes calls. It makes each once: the saga repeats what must be repeated.
pub trait Caller: Send + Sync + 'static {
    /// Makes one call and tells honestly how it ended.
    fn call(&self, call: OutgoingCall) -> impl Future<Output = CallResult> + Send;
}

/// Hears of every record in the transaction that makes it durable.
pub trait Observer: Send + Sync + 'static {
    /// Takes note of a record; what it writes is kept exactly when the record is. The view is the
    /// saga after all records of the same transaction.
    ///
    /// # Errors
    /// The database refused; then the record is not kept either, and both are tried again.
    fn recorded(
        &self,
        transaction: &mut Transaction<'_>,
        saga: &SagaView,
        record: &Record,
    ) -> Result<(), SqlError>;

    /// Takes note that a word is given up: the saga that it was meant for never came.
    ///
    /// # Errors
    /// The database refused; then the word waits on, and is given up later.
    fn unheard(
        &self,
        transaction: &mut Transaction<'_>,
        saga_id: &str,
        word: &Signal,
    ) -> Result<(), SqlError> {
        let _ = (transaction, saga_id, word);
        Ok(())
    }

    /// What to add to the spans of a saga's steps, beside `saga.id`.
    fn attributes(&self, saga_id: &str) -> Vec<(&'static str, String)> {
        let _ = saga_id;
        Vec::new()
    }
}

/// Nobody listens.
impl Observer for () {
    fn recorded(&self, _: &mut Transaction<'_>, _: &SagaView, _: &Record) -> Result<(), SqlError> {
        Ok(())
    }
}
