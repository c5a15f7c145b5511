//! The life of a delivery as a pure state machine: (delivery, change, now) gives what it becomes
//! and which stages it reached on the way.
//!
//! ```text
//! Created ─▶ Rescheduled ─▶ HeadedToPickup ─▶ HeadedToDropoff ─▶ Completed
//!    └────────────┴────────────────┴──▶ Cancelled      └──▶ Failed
//! ```
//! Nothing leaves an end. A stage that a report skipped is reached on the way to the next, so that
//! subscribers see each stage once and in order. At the doorstep a delivery waits for the
//! confirmation that its sender asked for.

mod overdue;
mod view;

use base::Timestamp;
use contracts::{ConfirmationType, DeliveryStage, Location};
use serde::{Deserialize, Serialize};

pub(crate) use overdue::{Overdue, Patience, overdue};
pub(crate) use view::{DeliveryBody, DeliveryView, OwnerView, StatusView};

/// Who ships.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Owner {
    /// The person or program that asked.
    pub(crate) user_id: String,
    /// The account that ships.
    pub(crate) account_id: String,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) owner: Owner,
    pub(crate) pickup: Location,
    pub(crate) dropoff: Location,
    /// Not before then.
    pub(crate) pickup_time: Option<Timestamp>,
    /// Free text of the client.
    pub(crate) deadline: String,
    pub(crate) expedited: bool,
    pub(crate) confirmation_required: ConfirmationType,
    pub(crate) package_id: Option<String>,
    /// Absent when a carrier serves it.
    pub(crate) drone_id: Option<String>,
}

/// A delivery and how far it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Delivery {
    pub(crate) id: String,
    pub(crate) order: Order,
    pub(crate) stage: DeliveryStage,
    /// Stages reached so far; numbers the events.
    pub(crate) sequence: u64,
    /// The newest report that was used: of one drone or carrier, they are numbered.
    pub(crate) report_sequence: u64,
    /// The newest word about who flies: those of one delivery are numbered.
    #[serde(default)]
    pub(crate) assignment_turn: u64,
    /// The carrier that reported last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) carrier: Option<String>,
    /// Whether no drone flies any more, and a carrier is being asked.
    #[serde(default)]
    pub(crate) awaits_carrier: bool,
    /// Whether the package is at the doorstep.
    pub(crate) dropped_off: bool,
    /// What the recipient gave.
    pub(crate) confirmation: Option<ConfirmationType>,
    /// With what, when and where.
    #[serde(default)]
    pub(crate) evidence: Option<Evidence>,
    /// Since when the package is at the doorstep.
    #[serde(default)]
    pub(crate) dropped_off_at: Option<Timestamp>,
    /// Where it was last, by a report of a phase.
    pub(crate) location: Option<Location>,
    pub(crate) pickup_eta: Option<Timestamp>,
    pub(crate) delivery_eta: Option<Timestamp>,
    /// Why it failed or was called off.
    pub(crate) reason: Option<String>,
    /// Of the newest move that whoever serves it had agreed to.
    #[serde(default)]
    pub(crate) revision: u64,
}

/// What stays of a confirmation, to be shown when it is doubted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Evidence {
    pub(crate) kind: ConfirmationType,
    /// When it came in.
    pub(crate) at: Timestamp,
    /// Where it was given, as whoever gave it says.
    pub(crate) place: Option<Location>,
    /// SHA-256 of the picture, the print or the recording, in hexadecimal; the thing itself is not kept.
    pub(crate) hash: Option<String>,
}

/// What a report of a drone or a carrier means for the delivery that it serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Milestone {
    /// It will come; nothing moved yet.
    Assigned,
    /// On the way to fetch the package.
    HeadedToPickup,
    /// It has the package.
    HeadedToDropoff,
    /// The package is at the doorstep.
    DroppedOff,
    /// It will not come.
    Lost,
}

/// A report, translated.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Report {
    /// The drone that reports; none for a carrier.
    pub(crate) drone_id: Option<String>,
    /// The carrier that does.
    pub(crate) carrier: Option<String>,
    pub(crate) milestone: Milestone,
    pub(crate) sequence: u64,
    /// When it was so, in wall time.
    pub(crate) at: Timestamp,
    pub(crate) location: Location,
    pub(crate) pickup_eta: Option<Timestamp>,
    pub(crate) delivery_eta: Option<Timestamp>,
}

/// Who flies from now on, translated.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Assignment {
    /// None when nobody does any more.
    pub(crate) drone_id: Option<String>,
    /// Grows with each of a delivery.
    pub(crate) turn: u64,
    pub(crate) pickup_eta: Option<Timestamp>,
    pub(crate) delivery_eta: Option<Timestamp>,
    pub(crate) reason: Option<String>,
}

/// Where a delivery is moved to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reschedule {
    pub(crate) pickup: Option<Location>,
    pub(crate) dropoff: Option<Location>,
    pub(crate) deadline: Option<String>,
    pub(crate) pickup_time: Option<Timestamp>,
    /// Set when whoever serves it has agreed: counts its moves.
    pub(crate) revision: Option<u64>,
}

/// How a delivery is called off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Somebody changed their mind.
    Cancelled,
    /// The workflow that made it failed and is being undone.
    Failed,
}

/// Stages that a change reached, oldest first.
pub(crate) type Reached = Vec<DeliveryStage>;

/// Why a change was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChangeError {
    /// It is over.
    #[error("the delivery is over: {}", contracts::Words::word(*stage))]
    Ended {
        /// How it ended.
        stage: DeliveryStage,
    },
    /// The package is on its way.
    #[error("the package has been picked up")]
    PickedUp,
    /// The package is not on its way yet.
    #[error("the package is not on its way yet")]
    TooEarly,
    /// The recipient gave something else than was asked for.
    #[error("{} is required", contracts::Words::word(*required))]
    OtherConfirmation {
        /// What was asked for.
        required: ConfirmationType,
    },
}

impl Delivery {
    /// A new delivery; it reached Created.
    pub(crate) fn create(id: String, order: Order) -> Self {
        Self {
            id,
            pickup_eta: order.pickup_time,
            order,
            stage: DeliveryStage::Created,
            sequence: 1,
            report_sequence: 0,
            assignment_turn: 0,
            carrier: None,
            awaits_carrier: false,
            dropped_off: false,
            confirmation: None,
            evidence: None,
            dropped_off_at: None,
            location: None,
            delivery_eta: None,
            reason: None,
            revision: 0,
        }
    }

    /// Replaces what was asked for, without moving the stage.
    pub(crate) fn replace(&mut self, order: Order) -> Result<(), ChangeError> {
        self.refuse_end()?;
        self.order = order;
        Ok(())
    }

    /// Moves it. Somebody's wish is refused once the package is picked up. A move that whoever
    /// serves the delivery has agreed to is followed, however far the reports of its flight have
    /// come: the door that it flies to is the one that is shown. A lower revision, or one that
    /// comes after the end, changes nothing.
    pub(crate) fn reschedule(&mut self, change: Reschedule) -> Result<Reached, ChangeError> {
        match change.revision {
            None => {
                self.refuse_end()?;
                self.refuse_picked_up()?;
            }
            Some(revision) if revision <= self.revision => return Ok(Vec::new()),
            Some(revision) => {
                if matches!(self.stage, DeliveryStage::Cancelled | DeliveryStage::Failed) {
                    return Ok(Vec::new());
                }
                self.revision = revision;
            }
        }
        self.order.pickup = change.pickup.unwrap_or(self.order.pickup);
        self.order.dropoff = change.dropoff.unwrap_or(self.order.dropoff);
        self.order.deadline = change.deadline.unwrap_or_else(|| self.order.deadline.clone());
        if change.pickup_time.is_some() {
            self.order.pickup_time = change.pickup_time;
            self.pickup_eta = change.pickup_time;
        }
        // A stage is no way back: from the pick-up on the move shows in the places alone.
        let approaching = self.stage < DeliveryStage::HeadedToDropoff;
        Ok(if approaching { vec![self.reach(DeliveryStage::Rescheduled)] } else { Vec::new() })
    }

    /// Calls it off. Possible until the package is picked up; again is the same as once.
    pub(crate) fn call_off(
        &mut self,
        ending: Ending,
        reason: Option<String>,
    ) -> Result<Reached, ChangeError> {
        match self.stage {
            DeliveryStage::Cancelled | DeliveryStage::Failed => return Ok(Vec::new()),
            DeliveryStage::Completed => return Err(ChangeError::Ended { stage: self.stage }),
            DeliveryStage::HeadedToDropoff => return Err(ChangeError::PickedUp),
            DeliveryStage::Created | DeliveryStage::Rescheduled | DeliveryStage::HeadedToPickup => {
            }
        }
        self.reason = reason;
        Ok(vec![self.reach(match ending {
            Ending::Cancelled => DeliveryStage::Cancelled,
            Ending::Failed => DeliveryStage::Failed,
        })])
    }

    /// Takes a report in. One that is no newer than the newest, or comes after the end, changes
    /// nothing.
    pub(crate) fn report(&mut self, report: &Report) -> Reached {
        if report.sequence <= self.report_sequence || self.stage.is_end() {
            return Vec::new();
        }
        // Each drone has numbers of its own; one that was replaced has nothing more to say.
        if report.drone_id.is_some() && report.drone_id != self.order.drone_id {
            return Vec::new();
        }
        self.report_sequence = report.sequence;
        self.carrier = report.carrier.clone().or_else(|| self.carrier.take());
        self.location = Some(report.location);
        self.pickup_eta = report.pickup_eta.or(self.pickup_eta);
        self.delivery_eta = report.delivery_eta.or(self.delivery_eta);
        match report.milestone {
            Milestone::Assigned => Vec::new(),
            Milestone::HeadedToPickup => self.advance_to(DeliveryStage::HeadedToPickup),
            Milestone::HeadedToDropoff => self.advance_to(DeliveryStage::HeadedToDropoff),
            Milestone::DroppedOff => {
                self.dropped_off = true;
                self.dropped_off_at = Some(report.at);
                let mut reached = self.advance_to(DeliveryStage::HeadedToDropoff);
                reached.extend(self.complete_if_confirmed());
                reached
            }
            Milestone::Lost => {
                self.reason = Some("whoever carried it cannot go on".to_owned());
                vec![self.reach(DeliveryStage::Failed)]
            }
        }
    }

    /// Takes in who flies from now on; when nobody does, a carrier is to be asked. An older word, or
    /// one after the end, changes nothing. Gives whether another serves it than before.
    pub(crate) fn assign(&mut self, assignment: Assignment) -> bool {
        if assignment.turn <= self.assignment_turn || self.stage.is_end() {
            return false;
        }
        self.assignment_turn = assignment.turn;
        let changes = assignment.drone_id != self.order.drone_id;
        if changes {
            self.order.drone_id = assignment.drone_id;
            self.report_sequence = 0;
        }
        if self.order.drone_id.is_none() {
            self.awaits_carrier = true;
            self.reason = assignment.reason;
            // What a drone had promised.
            (self.pickup_eta, self.delivery_eta) = (None, None);
        }
        self.pickup_eta = assignment.pickup_eta.or(self.pickup_eta);
        self.delivery_eta = assignment.delivery_eta.or(self.delivery_eta);
        changes
    }

    /// What was found when no drone flies any more: a carrier, or nobody, which is the end of it.
    /// Asked again, and after the end, it changes nothing.
    pub(crate) fn hand_over(&mut self, carrier_booked: bool) -> Reached {
        if self.stage.is_end() || !std::mem::take(&mut self.awaits_carrier) {
            return Vec::new();
        }
        if carrier_booked {
            self.reason = None;
            return Vec::new();
        }
        let why = self.reason.take().unwrap_or_else(|| "no drone can fly it".to_owned());
        self.reason = Some(format!("{why}; no carrier takes it either"));
        vec![self.reach(DeliveryStage::Failed)]
    }

    /// The recipient confirms: what is asked for, and not before the package is on its way to them.
    /// What is given then counts at the doorstep; given again, the first stays.
    pub(crate) fn confirm(&mut self, evidence: Evidence) -> Result<Reached, ChangeError> {
        self.refuse_end()?;
        if self.stage != DeliveryStage::HeadedToDropoff {
            return Err(ChangeError::TooEarly);
        }
        let given = evidence.kind;
        let required = self.order.confirmation_required;
        if required != ConfirmationType::None && given != required {
            return Err(ChangeError::OtherConfirmation { required });
        }
        self.confirmation = Some(given);
        self.evidence.get_or_insert(evidence);
        Ok(self.complete_if_confirmed().into_iter().collect())
    }

    /// Whether it is at the doorstep and only the recipient is missing.
    pub(crate) fn awaits_confirmation(&self) -> bool {
        self.dropped_off && self.lacks_confirmation()
    }

    /// Whether a confirmation is asked for and was not given yet.
    pub(crate) fn lacks_confirmation(&self) -> bool {
        !self.stage.is_end() && !self.is_confirmed()
    }

    fn is_confirmed(&self) -> bool {
        let required = self.order.confirmation_required;
        required == ConfirmationType::None || self.confirmation == Some(required)
    }

    fn complete_if_confirmed(&mut self) -> Option<DeliveryStage> {
        (self.dropped_off && self.is_confirmed()).then(|| self.reach(DeliveryStage::Completed))
    }

    /// Reaches the stage, and the one before it if that was skipped.
    fn advance_to(&mut self, stage: DeliveryStage) -> Reached {
        let path = [DeliveryStage::HeadedToPickup, DeliveryStage::HeadedToDropoff];
        let ahead = path.into_iter().filter(|it| *it > self.stage && *it <= stage);
        let ahead: Vec<_> = ahead.collect();
        ahead.into_iter().map(|it| self.reach(it)).collect()
    }

    fn reach(&mut self, stage: DeliveryStage) -> DeliveryStage {
        self.stage = stage;
        self.sequence += 1;
        stage
    }

    const fn refuse_end(&self) -> Result<(), ChangeError> {
        if self.stage.is_end() { Err(ChangeError::Ended { stage: self.stage }) } else { Ok(()) }
    }

    fn refuse_picked_up(&self) -> Result<(), ChangeError> {
        if self.stage == DeliveryStage::HeadedToDropoff {
            Err(ChangeError::PickedUp)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
