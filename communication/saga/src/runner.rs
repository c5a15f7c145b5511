//! The sagas that one instance owns: what happened to each becomes appends and calls.
//!
//! No clock, no I/O: the shell tells what happened and when, and carries out the [`Order`]s. For
//! each saga at most one append is being written; what happens meanwhile waits in its inbox. No
//! effect of a record is carried out before the record is durable. A saga that this kind of engine
//! does not work on is let go in the append that says so.

mod calls;
mod errands;
mod open;
mod shell;
#[cfg(test)]
mod simulation;
mod turns;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use base::{Monotonic, Random, Timestamp};
use tokio::sync::oneshot;

use crate::{
    caller::OutgoingCall,
    config::{EngineKind, EngineSettings},
    engine::{SubmitError, Submitted},
    machine::{Event, Flight, Moment, Signal, Start},
    metrics::Metrics,
    outcome::CallResult,
    store::{Append, Appended, Definitions, Loaded},
};
use open::{Open, Standing};
pub(crate) use shell::{Input, Shell, ShellParts};
use turns::Turns;

/// Who gets to know what became of a submission.
pub(crate) type Reply = oneshot::Sender<Result<Submitted, SubmitError>>;

/// Waits before an append that failed is tried again.
const APPEND_AGAIN: base::Backoff =
    base::Backoff { initial: Duration::from_millis(50), factor: 2, cap: Duration::from_secs(1) };

/// Wall time and time since boot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub(crate) wall: Timestamp,
    pub(crate) monotonic: Monotonic,
}

/// What the shell must do.
#[derive(Debug)]
pub(crate) enum Order {
    /// Make these records durable and tell.
    Append(Arc<Append>),
    /// Make this call and tell.
    Call(Box<DueCall>),
    /// Look into the store soon: there is something to take.
    Poll,
    /// Look at this row: it may be ours there, and is not in memory.
    Look(i64),
}

/// A call that is to be made now.
#[derive(Debug)]
pub(crate) struct DueCall {
    pub(crate) saga: Arc<str>,
    pub(crate) flight: Flight,
    pub(crate) call: OutgoingCall,
    /// `traceparent` of the saga.
    pub(crate) trace: Option<Arc<str>>,
    /// Counts resets: an answer from before one is nobody's.
    pub(crate) generation: u64,
}

/// Every saga that the instance owns.
#[derive(Debug)]
pub(crate) struct Core {
    /// Only looked up, never walked through.
    open: HashMap<Arc<str>, Open>,
    desk: Desk,
}

/// What the sagas share.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) instance: Arc<str>,
    pub(crate) kind: EngineKind,
    pub(crate) settings: EngineSettings,
    pub(crate) definitions: Arc<Definitions>,
    pub(crate) metrics: Metrics,
    pub(crate) random: Random,
    /// When to look at which saga again.
    wakes: BTreeSet<(Monotonic, Arc<str>)>,
    /// Planned calls. An entry whose saga has gone on is skipped.
    turns: Turns,
    orders: Vec<Order>,
    generation: u64,
}

impl Core {
    pub(crate) fn new(
        instance: Arc<str>,
        kind: EngineKind,
        settings: EngineSettings,
        definitions: Arc<Definitions>,
        metrics: Metrics,
        random: Random,
    ) -> Self {
        let desk = Desk {
            instance,
            kind,
            settings,
            definitions,
            metrics,
            random,
            wakes: BTreeSet::new(),
            turns: Turns::default(),
            orders: Vec::new(),
            generation: 0,
        };
        Self { open: HashMap::new(), desk }
    }

    pub(crate) fn take_orders(&mut self) -> Vec<Order> {
        std::mem::take(&mut self.desk.orders)
    }

    pub(crate) fn open_count(&self) -> usize {
        self.open.len()
    }

    /// How many more sagas may be taken.
    pub(crate) fn room(&self) -> usize {
        self.desk.settings.open_sagas_max.saturating_sub(self.open.len())
    }

    pub(crate) fn generation(&self) -> u64 {
        self.desk.generation
    }

    /// Whether a call or an append is under way.
    pub(crate) fn is_busy(&self) -> bool {
        self.desk.turns.in_flight() > 0 || self.open.values().any(Open::is_writing)
    }

    pub(crate) fn next_wake(&self) -> Option<Monotonic> {
        self.desk.wakes.first().map(|(wake, _)| *wake)
    }

    /// Takes a new saga, or finds that it is known.
    pub(crate) fn submit(&mut self, start: Start, reply: Reply, now: Now) {
        let Some(definition) = self.desk.definitions.offered(&start.definition) else {
            let name = start.definition;
            return answer(reply, Err(SubmitError::UnknownDefinition { name }));
        };
        if let Some(known) = self.open.get_mut(start.id.as_str()) {
            return known.submitted_again(&start, reply);
        }
        if self.room() == 0 {
            let open_max = self.desk.settings.open_sagas_max;
            return answer(reply, Err(SubmitError::Overloaded { open_max }));
        }
        let open = Open::accepted(&mut self.desk, start, definition, reply, now);
        self.open.insert(open.id(), open);
    }

    /// Takes sagas that nobody works on. `within` is false for those that were ours before: they
    /// fitted once.
    pub(crate) fn claim(&mut self, loaded: Vec<Loaded>, within: bool, now: Now) {
        for saga in loaded {
            let taken = self.open.contains_key(&saga.view.id);
            if taken || (within && self.room() == 0) {
                continue;
            }
            let open = Open::claimed(&mut self.desk, saga, now);
            self.open.insert(open.id(), open);
        }
    }

    /// A word to a saga that we own.
    pub(crate) fn signalled(&mut self, saga: &str, signal: Signal, now: Now) {
        self.with(saga, |open, desk| {
            open.hear(signal);
            open.advance(desk, now)
        });
    }

    /// A call ended.
    pub(crate) fn answered(&mut self, due: &DueCall, result: CallResult, took: Duration, now: Now) {
        if due.generation != self.desk.generation {
            return;
        }
        self.desk.turns.ended(&due.call.service);
        let flight = due.flight;
        self.desk.metrics.called(&due.call.operation.step, flight.direction, took);
        self.with(&due.saga, |open, desk| {
            if open.epoch() == due.call.epoch {
                open.push(Event::Answered { flight, result });
            }
            open.advance(desk, now)
        });
    }

    /// An append was written, refused, or failed (`None`) and must be tried again.
    pub(crate) fn appended(&mut self, append: &Arc<Append>, result: Option<Appended>, now: Now) {
        let id = Arc::clone(&append.view.id);
        self.with(&id, |open, desk| open.appended(desk, append, result, now));
    }

    /// An append that was ordered before the last reset ended after it. What it made ours came
    /// too late for the look that followed the reset.
    pub(crate) fn appended_before_reset(&mut self, append: &Append, result: Option<&Appended>) {
        if let Some(Appended::Done { row, .. }) = result
            && append.view.owner.is_some()
        {
            self.desk.orders.push(Order::Look(*row));
        }
    }

    /// Looks at the sagas whose wait is over.
    pub(crate) fn wake(&mut self, now: Now) {
        while let Some((wake, id)) = self.desk.wakes.first().cloned() {
            if wake > now.monotonic {
                return;
            }
            self.desk.wakes.pop_first();
            self.with(&id, |open, desk| open.woken(desk, now));
        }
    }

    /// Orders the planned calls as far as there is room for calls in flight.
    pub(crate) fn start_calls(&mut self, now: Now) {
        let EngineSettings { calls_max, calls_per_service_max, .. } = self.desk.settings;
        while let Some((id, epoch)) = self.desk.turns.next(calls_max, calls_per_service_max) {
            self.with(&id, |open, desk| {
                if open.epoch() == epoch { open.start_call(desk, now) } else { Standing::Stays }
            });
        }
    }

    /// Forgets every saga: the lease has run out, and whoever owns them now is in the store.
    pub(crate) fn reset(&mut self) {
        self.open.clear();
        self.desk.wakes.clear();
        self.desk.turns.clear();
        self.desk.orders.clear();
        self.desk.generation += 1;
    }

    fn with(&mut self, id: &str, act: impl FnOnce(&mut Open, &mut Desk) -> Standing) {
        let Some(open) = self.open.get_mut(id) else { return };
        match act(open, &mut self.desk) {
            Standing::Stays => {}
            Standing::Gone => {
                if let Some(mut gone) = self.open.remove(id) {
                    gone.rest(&mut self.desk);
                }
            }
        }
    }
}

impl Desk {
    fn moment(&mut self, now: Now) -> Moment {
        Moment { wall: now.wall, monotonic: now.monotonic, draw: self.random.unit() }
    }
}

fn answer(reply: Reply, result: Result<Submitted, SubmitError>) {
    // Whoever asked may have gone; the saga goes on without.
    drop(reply.send(result));
}
