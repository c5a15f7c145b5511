//! What the engine's task has others do, so that it never waits itself: writes, reads, calls. Each
//! tells how it ended.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use ::store::{ReadError, SqlError};
use tokio::time::sleep;
use tracing::{error, warn};

use super::{
    DueCall,
    calls::{Answer, attempt},
    shell::{Input, Polling, Renewal, Shell},
};
use crate::{
    caller::{Caller, Observer},
    machine::Moment,
    outcome::CallResult,
    store::{
        Append, Appended, Asker, Taken, ago, append, give_up, mend, poll, recover, renew_instance,
        sweep_all, take_instance,
    },
};

/// Sagas that one look into the store brings.
const CLAIMS: usize = 256;

impl<C: Caller, O: Observer> Shell<C, O> {
    pub(super) fn append(&self, appends: Vec<Arc<Append>>) {
        let parts = &self.parts;
        let (store, inputs) = (parts.store.clone(), parts.inputs.clone());
        let (definitions, observer) = (Arc::clone(&parts.definitions), Arc::clone(&parts.observer));
        let generation = self.core.generation();
        parts.tasks.spawn("saga append", |_| async move {
            let batch = appends.clone();
            let write = store.write(move |transaction| {
                let mut results = Vec::with_capacity(batch.len());
                for one in &batch {
                    // One that fails is undone alone and does not hold up the others.
                    let result =
                        transaction.nested(|part| append(part, &definitions, &*observer, one));
                    results.push(result);
                }
                Ok::<_, SqlError>(results)
            });
            let results = match write.await {
                Ok(results) => Some(results.into_iter().map(judge).collect()),
                Err(fault) => {
                    warn!(error = %fault, "records were not written; they are tried again");
                    None
                }
            };
            // A stopped engine needs no answer.
            drop(inputs.send(Input::Appended { generation, appends, results }));
        });
    }

    pub(super) fn call(&self, due: Box<DueCall>) {
        let parts = &self.parts;
        let (caller, observer) = (Arc::clone(&parts.caller), Arc::clone(&parts.observer));
        let (clock, telemetry) = (Arc::clone(&parts.clock), parts.telemetry.clone());
        let until_ms = Arc::clone(&self.lease.until_ms);
        let answer = Answer::new(due, parts.inputs.clone());
        parts.tasks.spawn("saga call", |_| async move {
            let mut answer = answer;
            if let Some(due) = answer.due.as_deref() {
                // The process may have been stopped between the order and this line.
                let late = clock.monotonic().as_millis() >= until_ms.load(Ordering::Relaxed);
                let result = if late {
                    CallResult::DeadlineExpired
                } else {
                    attempt(due, &*caller, &*observer, &telemetry).await
                };
                answer.give(result);
            }
        });
    }

    pub(super) fn poll(&mut self) {
        if self.lease.lapsed {
            return;
        }
        if self.polling != Polling::Idle {
            self.polling = Polling::Again;
            return;
        }
        self.polling = Polling::Running;
        let parts = &self.parts;
        let asker = Asker {
            instance: Arc::clone(&parts.instance),
            kind: parts.kind,
            boot_id: parts.boot_id.clone(),
            now: parts.clock.monotonic(),
        };
        let limit = self.core.room().min(CLAIMS);
        let (store, inputs) = (parts.store.clone(), parts.inputs.clone());
        let definitions = Arc::clone(&parts.definitions);
        let generation = self.core.generation();
        parts.tasks.spawn("saga poll", |_| async move {
            let read = store.read(move |reader| poll(reader, &definitions, &asker, limit));
            let polled = heard(read.await);
            drop(inputs.send(Input::Polled { generation, polled }));
        });
    }

    /// Takes what this instance owned before, piece by piece, so that the first steps are soon.
    pub(super) fn recover(&self, after: i64) {
        self.reclaim(after, CLAIMS);
    }

    /// Takes one row, when it is ours and nobody works on it.
    pub(super) fn look(&self, row: i64) {
        self.reclaim(row - 1, 1);
    }

    /// Takes up to `limit` sagas of our own behind row `after`; whole pieces go on to the end.
    fn reclaim(&self, after: i64, limit: usize) {
        let parts = &self.parts;
        let (store, inputs) = (parts.store.clone(), parts.inputs.clone());
        let (definitions, instance) = (Arc::clone(&parts.definitions), Arc::clone(&parts.instance));
        let generation = self.core.generation();
        parts.tasks.spawn("saga recovery", |_| async move {
            let read =
                store.read(move |reader| recover(reader, &definitions, &instance, after, limit));
            let (loaded, last, failed_after) = match heard(read.await) {
                Some((loaded, last)) => (loaded, last.filter(|_| limit == CLAIMS), None),
                None => {
                    sleep(Duration::from_millis(100)).await;
                    (Vec::new(), None, Some(after))
                }
            };
            drop(inputs.send(Input::Recovered { generation, loaded, last, failed_after }));
        });
    }

    pub(super) fn renew(&mut self) {
        if self.lease.renewing {
            return;
        }
        self.lease.renewing = true;
        let parts = &self.parts;
        let (store, inputs) = (parts.store.clone(), parts.inputs.clone());
        let (instance, process) = (Arc::clone(&parts.instance), Arc::clone(&parts.process));
        let (kind, lease, lapsed) = (parts.kind, parts.settings.lease(), self.lease.lapsed);
        parts.tasks.spawn("saga lease", |_| async move {
            let write = store.write(move |transaction| {
                if lapsed {
                    let taken =
                        take_instance(transaction, &instance, kind, &process, lease, false)?;
                    return Ok::<_, SqlError>(match taken {
                        Taken::Until { expires, .. } => Renewal::Until(expires),
                        Taken::Held { .. } => Renewal::Lost,
                    });
                }
                let renewed = renew_instance(transaction, &instance, &process, lease)?;
                Ok(renewed.map_or(Renewal::Lost, Renewal::Until))
            });
            let until = match write.await {
                Ok(renewal) => Some(renewal),
                Err(fault) => {
                    warn!(error = %fault, "the lease was not renewed");
                    None
                }
            };
            drop(inputs.send(Input::Renewed { until }));
        });
    }

    pub(super) fn sweep(&self) {
        let parts = &self.parts;
        let store = parts.store.clone();
        let (definitions, observer) = (Arc::clone(&parts.definitions), Arc::clone(&parts.observer));
        let unheard = parts.settings.unheard();
        parts.tasks.spawn("saga sweep", |shutdown| async move {
            let write = store.write(move |transaction| {
                let (wall, monotonic) = (transaction.now(), transaction.monotonic());
                // What is decided about a line hangs on no chance.
                let moment = Moment { wall, monotonic, draw: 0.5 };
                mend(transaction, &definitions, &*observer, moment)?;
                give_up(transaction, &*observer, ago(wall, unheard))
            });
            if let Err(fault) = write.await {
                warn!(error = %fault, "what waits in lines was not mended");
            }
            if let Err(fault) = sweep_all(&store, &shutdown).await {
                warn!(error = %fault, "old sagas were not swept");
            }
        });
    }
}

/// None when the append must be tried again.
fn judge(result: Result<Appended, SqlError>) -> Option<Appended> {
    match result {
        Ok(appended) => Some(appended),
        Err(fault) => {
            error!(error = %fault, "a record was refused; it is tried again");
            None
        }
    }
}

/// What was read; none, and a word in the log, when the store cannot be read now.
fn heard<T>(read: Result<T, ReadError>) -> Option<T> {
    match read {
        Ok(value) => Some(value),
        Err(fault) => {
            warn!(error = %fault, "the saga store was not read");
            None
        }
    }
}
