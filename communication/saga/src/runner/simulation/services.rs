//! The services that the sagas call, and what goes wrong with calls to them.

use std::collections::{BTreeMap, VecDeque};

use base::{Direction, OperationKey};
use serde_json::{Value, json};

use crate::{caller::OutgoingCall, outcome::CallResult};

/// What goes wrong with one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Busy,
    Refused,
    /// An exception before the effect.
    Exception,
    /// An exception after the effect.
    Halfway,
    LostReply,
    LostRequest,
    /// Nobody listens: it never leaves.
    Unsent,
    /// No answer in time; the request is carried out much later.
    Late,
}

use Fault::{Busy, Exception, Halfway, Late, LostReply, LostRequest, Refused, Unsent};

/// Some calls of one step go wrong.
#[derive(Debug, Clone, Copy)]
pub(super) struct Planned {
    pub(super) step: usize,
    pub(super) direction: Direction,
    pub(super) fault: Fault,
    pub(super) times: u32,
}

/// What a service keeps for one operation.
#[derive(Debug, Clone, Default)]
pub(super) struct Kept {
    pub(super) epoch: u64,
    pub(super) done: bool,
    pub(super) undone: bool,
    pub(super) effects: u32,
    pub(super) undos: u32,
}

/// The services, as one table of operations, as the participant kit of a service keeps it.
#[derive(Debug, Default)]
pub(super) struct Services {
    pub(super) kept: BTreeMap<(String, String), Kept>,
    pub(super) undo_order: Vec<(String, String)>,
    pub(super) late: VecDeque<OutgoingCall>,
    pub(super) calls: u64,
    /// Whose call came when.
    pub(super) callers: Vec<String>,
}

impl Services {
    pub(super) fn work(&mut self, operation: &OperationKey, epoch: u64) -> CallResult {
        let subject = (operation.saga.clone(), operation.step.clone());
        let kept = self.kept.entry(subject.clone()).or_default();
        if epoch < kept.epoch {
            return CallResult::problem(409, "stale_epoch", false);
        }
        kept.epoch = epoch;
        match operation.direction {
            Direction::Do if kept.undone => return CallResult::problem(409, "undone", false),
            Direction::Do => {
                kept.effects += u32::from(!kept.done);
                kept.done = true;
            }
            Direction::Undo => {
                if kept.done && !kept.undone {
                    kept.undos += 1;
                    self.undo_order.push(subject);
                }
                kept.undone = true;
            }
        }
        CallResult::replied(200, json!({"ok": true}))
    }

    pub(super) fn serve(&mut self, call: &OutgoingCall, fault: Option<Fault>) -> CallResult {
        self.calls += 1;
        self.callers.push(call.operation.saga.clone());
        match fault {
            None => self.work(&call.operation, call.epoch),
            Some(Busy) => CallResult::replied(503, Value::Null),
            Some(Refused) => CallResult::problem(409, "taken", false),
            Some(Exception) => CallResult::replied(500, Value::Null),
            Some(Halfway) => {
                self.work(&call.operation, call.epoch);
                CallResult::replied(500, Value::Null)
            }
            Some(LostReply) => {
                self.work(&call.operation, call.epoch);
                CallResult::ConnectionLost { sent: true }
            }
            Some(LostRequest) => CallResult::TimedOut,
            Some(Unsent) => CallResult::REFUSED,
            Some(Late) => {
                self.late.push_back(call.clone());
                CallResult::TimedOut
            }
        }
    }

    /// What was under way for long arrives after all.
    pub(super) fn deliver_late(&mut self) {
        while let Some(call) = self.late.pop_front() {
            self.work(&call.operation, call.epoch);
        }
    }
}
