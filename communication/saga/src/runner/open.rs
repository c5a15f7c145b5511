//! One saga in the hands of its owner.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use base::{Monotonic, OperationKey};
use tracing::{debug, warn};

use super::{APPEND_AGAIN, Desk, DueCall, Now, Order, Reply, answer};
use crate::{
    caller::OutgoingCall,
    config::EngineKind,
    definition::{Definition, StepKind},
    engine::{SubmitError, Submitted},
    machine::{
        Effect, Event, Flight, InLine, Phase, Place, PlannedCall, Record, Saga, Signal, Start,
        State, Status, Transition, accept, transition,
    },
    outcome::CallResult,
    store::{Append, Appended, Before, Loaded, input_hash, new_before},
    view::SagaView,
};

/// Whether the instance still works on a saga.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Stays,
    Gone,
}

/// One open saga.
#[derive(Debug)]
pub(super) struct Open {
    /// As the records say that are durable or being written.
    view: SagaView,
    row: Option<i64>,
    /// As the row says.
    before: Before,
    input_hash: Option<String>,
    /// What happened while an append was being written. At most one answer, one wake and the
    /// words of people.
    inbox: VecDeque<Event>,
    /// Ids of the words that came while we own it: the store may show one twice.
    heard: Vec<String>,
    writing: Option<Writing>,
    call: Option<PlannedCall>,
    wake: Option<Monotonic>,
    submitters: Vec<Reply>,
    /// Its first append takes it from somebody or nobody; losing that race is no incident.
    claiming: bool,
}

#[derive(Debug)]
struct Writing {
    append: Arc<Append>,
    /// What is due once it is durable.
    plan: Plan,
    failures: u32,
}

/// What the machine wants next.
#[derive(Debug, Default)]
struct Plan {
    call: Option<PlannedCall>,
    wake: Option<Monotonic>,
}

/// What a chain of events gave.
#[derive(Debug, Default)]
struct Gathered {
    records: Vec<Record>,
    signals: Vec<String>,
    starts: Vec<Start>,
    plan: Plan,
}

impl Gathered {
    /// Takes a transition; gives its state, or nothing when somebody else owns the saga.
    fn take(&mut self, transition: Transition) -> Option<State> {
        self.records.extend(transition.records);
        self.plan = Plan::default();
        for effect in transition.effects {
            match effect {
                Effect::Call(call) => self.plan.call = Some(call),
                Effect::WakeAt(wake) => self.plan.wake = Some(wake),
                Effect::Start(start) => self.starts.push(start),
                // It stands in the records, and the observer tells a person.
                Effect::Alert { .. } => {}
                Effect::Stop => return None,
            }
        }
        Some(transition.state)
    }
}

impl Open {
    /// A new saga; its first append is ordered.
    pub(super) fn accepted(
        desk: &mut Desk,
        start: Start,
        definition: Arc<Definition>,
        reply: Reply,
        now: Now,
    ) -> Self {
        let moment = desk.moment(now);
        let saga = Saga { id: &start.id, definition: &definition, input: &start.input };
        let accepted = accept(&saga, Place::Now, moment);
        let state = accepted.state.clone();
        let mut gathered = Gathered::default();
        // Accepting never finds another owner.
        gathered.take(accepted);
        let hash = input_hash(&start.input);
        let mut open = Self {
            row: None,
            before: new_before(),
            input_hash: Some(hash),
            view: SagaView {
                id: start.id.into(),
                definition,
                input: Arc::new(start.input),
                state: Arc::new(state.clone()),
                owner: Some(Arc::clone(&desk.instance)),
                epoch: 1,
                trace: start.trace.map(Into::into),
                subject: start.subject.map(Into::into),
                accepted_at: now.wall,
                updated_at: now.wall,
            },
            inbox: VecDeque::new(),
            heard: Vec::new(),
            writing: None,
            call: None,
            wake: None,
            submitters: vec![reply],
            claiming: false,
        };
        open.write(desk, state, gathered, now);
        open
    }

    /// A saga taken from nobody, or from an owner that is gone; its first append is ordered.
    pub(super) fn claimed(desk: &mut Desk, loaded: Loaded, now: Now) -> Self {
        let Loaded { row, mut view, signals } = loaded;
        let before = Before {
            owner: view.owner.take(),
            epoch: view.epoch,
            status: view.status(),
            in_line: view.state.in_line(),
            version: view.state.records,
        };
        view.epoch += 1;
        view.owner = Some(Arc::clone(&desk.instance));
        let was_owned = before.owner.is_some();
        let mut open = Self {
            view,
            row: Some(row),
            before,
            input_hash: None,
            inbox: VecDeque::from([Event::Claimed { was_owned }]),
            heard: Vec::new(),
            writing: None,
            call: None,
            wake: None,
            submitters: Vec::new(),
            claiming: true,
        };
        for signal in signals {
            open.hear(signal);
        }
        let standing = open.advance(desk, now);
        debug_assert!(standing == Standing::Stays, "a claim is always written");
        open
    }

    pub(super) fn id(&self) -> Arc<str> {
        Arc::clone(&self.view.id)
    }

    pub(super) fn epoch(&self) -> u64 {
        self.view.epoch
    }

    pub(super) fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    pub(super) fn push(&mut self, event: Event) {
        self.inbox.push_back(event);
    }

    pub(super) fn hear(&mut self, signal: Signal) {
        if !self.heard.contains(&signal.id) {
            self.heard.push(signal.id.clone());
            self.inbox.push_back(Event::Signalled(signal));
        }
    }

    /// The same start came again while we own the saga.
    pub(super) fn submitted_again(&mut self, start: &Start, reply: Reply) {
        if *self.view.input != start.input {
            return answer(reply, Err(SubmitError::OtherInput));
        }
        if self.row.is_none() {
            // Not durable yet: whoever asked second waits with the first.
            self.submitters.push(reply);
        } else {
            answer(reply, Ok(Submitted::Exists { status: self.view.status() }));
        }
    }

    /// Applies what is in the inbox, all of it in one append.
    pub(super) fn advance(&mut self, desk: &mut Desk, now: Now) -> Standing {
        if self.writing.is_some() || self.inbox.is_empty() {
            return Standing::Stays;
        }
        let view = self.view.clone();
        let saga = Saga { id: &view.id, definition: &view.definition, input: &view.input };
        let mut gathered = Gathered::default();
        let mut state = (*view.state).clone();
        while let Some(event) = self.inbox.pop_front().or_else(|| decision(desk, &state)) {
            if gathered.plan.call.is_some() {
                // Planned by the event before and not made: the next event plans anew.
                state.flight = None;
            }
            if let Event::Signalled(signal) = &event {
                gathered.signals.push(signal.id.clone());
            }
            let moment = desk.moment(now);
            let Some(after) = gathered.take(transition(&saga, state, event, moment)) else {
                return self.overtaken(desk);
            };
            state = after;
        }
        if gathered.records.is_empty() {
            self.view.state = Arc::new(state);
            self.execute(desk, gathered.plan);
        } else {
            self.write(desk, state, gathered, now);
        }
        Standing::Stays
    }

    /// Orders an append; its effects follow when it is durable.
    fn write(&mut self, desk: &mut Desk, mut state: State, gathered: Gathered, now: Now) {
        let Gathered { records, signals, starts, mut plan } = gathered;
        let keeps = desk.kind.runs(state.status());
        if !keeps {
            plan = Plan::default();
            state.flight = None;
        }
        self.view.state = Arc::new(state);
        self.view.owner = keeps.then(|| Arc::clone(&desk.instance));
        self.view.updated_at = now.wall;
        let append = Arc::new(Append {
            row: self.row,
            input_hash: self.input_hash.clone(),
            before: self.before.clone(),
            writer: Arc::clone(&desk.instance),
            view: self.view.clone(),
            records,
            signals,
            starts,
            waiting_max: desk.settings.waiting_max,
            moment: desk.moment(now),
        });
        desk.orders.push(Order::Append(Arc::clone(&append)));
        self.writing = Some(Writing { append, plan, failures: 0 });
    }

    pub(super) fn appended(
        &mut self,
        desk: &mut Desk,
        append: &Arc<Append>,
        result: Option<Appended>,
        now: Now,
    ) -> Standing {
        let ours = |it: &mut Writing| Arc::ptr_eq(&it.append, append);
        let Some(mut writing) = self.writing.take_if(ours) else { return Standing::Stays };
        match result {
            None => {
                desk.metrics.append_failures.inc();
                writing.failures += 1;
                self.writing = Some(writing);
                let failures = self.writing.as_ref().map_or(1, |it| it.failures);
                let wait = APPEND_AGAIN.ceiling(failures);
                self.wait(desk, Some(now.monotonic + wait));
                Standing::Stays
            }
            Some(Appended::Done { row, waiting }) => {
                self.durable(desk, &writing.append, row, waiting, writing.plan, now)
            }
            Some(Appended::LinedUp) => {
                self.reply(|| Ok(Submitted::New));
                Standing::Gone
            }
            Some(Appended::Exists { row, status }) => {
                self.reply(|| Ok(Submitted::Exists { status }));
                self.known(desk, row)
            }
            Some(Appended::OtherInput { row }) => {
                self.reply(|| Err(SubmitError::OtherInput));
                self.known(desk, row)
            }
            Some(Appended::Stale) if self.claiming => {
                self.outrun(desk);
                Standing::Gone
            }
            Some(Appended::Stale) => self.overtaken(desk),
        }
    }

    fn durable(
        &mut self,
        desk: &mut Desk,
        append: &Append,
        row: i64,
        waiting: Vec<Signal>,
        plan: Plan,
        now: Now,
    ) -> Standing {
        self.note(desk, append);
        self.row = Some(row);
        self.input_hash = None;
        self.claiming = false;
        self.before = Before {
            owner: self.view.owner.clone(),
            epoch: self.view.epoch,
            status: self.view.status(),
            in_line: self.view.state.in_line(),
            version: self.view.state.records,
        };
        self.reply(|| Ok(Submitted::New));
        if self.view.owner.is_none() {
            return Standing::Gone;
        }
        for signal in waiting {
            self.hear(signal);
        }
        if self.inbox.is_empty() {
            self.execute(desk, plan);
            return Standing::Stays;
        }
        if plan.call.is_some() {
            // Something happened meanwhile: it decides whether the call is still wanted.
            Arc::make_mut(&mut self.view.state).flight = None;
        }
        self.advance(desk, now)
    }

    /// Tells metrics and logs what is durable now.
    fn note(&self, desk: &mut Desk, append: &Append) {
        let age = append.moment.wall.saturating_since(append.view.accepted_at);
        for record in &append.records {
            desk.metrics.recorded(&append.view.definition, record, age);
            match record {
                Record::Claimed { was_owned: true } => desk.metrics.takeovers.inc(),
                Record::Alerted { reason } => {
                    warn!(saga = %append.view.id, reason, "a saga needs a person");
                }
                _ => {}
            }
        }
        // Somebody of the subject may have the turn now.
        let left = append.view.subject.is_some() && append.view.state.in_line() == InLine::Outside;
        if left || !append.starts.is_empty() {
            desk.orders.push(Order::Poll);
        }
    }

    /// Carries out what the machine wants.
    fn execute(&mut self, desk: &mut Desk, plan: Plan) {
        self.wait(desk, plan.wake);
        if let Some(call) = plan.call {
            let step = self.view.definition.steps().get(call.flight.step);
            desk.turns.plan(step.map_or("", |it| &it.service), (self.id(), self.view.epoch));
            self.call = Some(call);
        }
    }

    /// The wait is over: time to look again, or to write again what failed.
    pub(super) fn woken(&mut self, desk: &mut Desk, now: Now) -> Standing {
        self.wake = None;
        if let Some(writing) = &self.writing {
            desk.orders.push(Order::Append(Arc::clone(&writing.append)));
            return Standing::Stays;
        }
        self.inbox.push_back(Event::Woken);
        self.advance(desk, now)
    }

    /// Makes the planned call, unless its time has run out while it waited its turn.
    pub(super) fn start_call(&mut self, desk: &mut Desk, now: Now) -> Standing {
        let Some(PlannedCall { flight, request, deadline }) = self.call.take() else {
            return Standing::Stays;
        };
        if self.view.state.flight != Some(flight) {
            return Standing::Stays;
        }
        let Some(step) = self.view.definition.steps().get(flight.step) else {
            return Standing::Stays;
        };
        let left = Duration::from_millis(self.view.state.budget.left_ms(now.monotonic));
        let forward = matches!(self.view.state.phase, Phase::Running(_));
        let bounded = forward && step.kind == StepKind::Compensable;
        if bounded && left.is_zero() {
            self.inbox.push_back(Event::Answered { flight, result: CallResult::DeadlineExpired });
            return self.advance(desk, now);
        }
        let deadline = if bounded { deadline.min(left) } else { deadline };
        let call = OutgoingCall {
            service: step.service.clone(),
            method: request.method,
            path: request.path,
            body: request.body,
            deadline,
            operation: self.operation(&step.name, flight),
            epoch: self.view.epoch,
            attempt: flight.attempt,
            trace: None,
        };
        let (saga, trace) = (self.id(), self.view.trace.clone());
        let generation = desk.generation;
        desk.turns.started(&step.service);
        desk.orders.push(Order::Call(Box::new(DueCall { saga, flight, call, trace, generation })));
        Standing::Stays
    }

    fn operation(&self, step: &str, flight: Flight) -> OperationKey {
        OperationKey {
            saga: self.view.id.to_string(),
            step: step.to_owned(),
            direction: flight.direction,
            revision: 0,
        }
    }

    /// The saga that was submitted is in the store already. Where the row names us, the look of a start
    /// may have passed it over for this submission, which goes now; nobody else will look at it.
    fn known(&self, desk: &mut Desk, row: i64) -> Standing {
        debug!(saga = %self.view.id, "the saga was submitted before");
        desk.orders.push(Order::Look(row));
        Standing::Gone
    }

    /// The row is not as it was when we read it. Where it named us, the last word of our own past
    /// came late: what a process before us, or we before a reset, had handed to the store. It
    /// still names us then, and nobody else will look at it.
    fn outrun(&self, desk: &mut Desk) {
        debug!(saga = %self.view.id, "the saga was written to before it was taken");
        if let Some(row) = self.row
            && self.before.owner.as_ref() == Some(&desk.instance)
        {
            desk.orders.push(Order::Look(row));
        }
    }

    /// Somebody else owns the saga: nothing more is written or called.
    fn overtaken(&self, desk: &Desk) -> Standing {
        desk.metrics.stale.inc();
        let (saga, epoch) = (&self.view.id, self.view.epoch);
        warn!(%saga, epoch, "somebody else owns the saga; this instance stops working on it");
        Standing::Gone
    }

    fn reply(&mut self, mut result: impl FnMut() -> Result<Submitted, SubmitError>) {
        for submitter in self.submitters.drain(..) {
            answer(submitter, result());
        }
    }

    fn wait(&mut self, desk: &mut Desk, wake: Option<Monotonic>) {
        self.rest(desk);
        if let Some(wake) = wake {
            desk.wakes.insert((wake, self.id()));
            self.wake = Some(wake);
        }
    }

    /// Stops waiting.
    pub(super) fn rest(&mut self, desk: &mut Desk) {
        if let Some(wake) = self.wake.take() {
            desk.wakes.remove(&(wake, self.id()));
        }
    }
}

/// What an engine that undoes decides about a failed saga that it has taken.
fn decision(desk: &Desk, state: &State) -> Option<Event> {
    if desk.kind != EngineKind::Compensating || state.status() != Status::Aborting {
        return None;
    }
    let again = state.may_be_handed_back(desk.settings.hand_backs_max);
    Some(if again { Event::HandedBack } else { Event::UndoBegun })
}
