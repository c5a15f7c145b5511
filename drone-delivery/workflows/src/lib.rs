//! What the workflows of a delivery are called, and what is said about them.
//!
//! Scheduler and Supervisor work on the same sagas; whichever of the two writes a record tells of
//! it, and both say the same. It refuses to know the steps of a workflow: those are the Scheduler's.

mod announcer;
mod answers;
mod names;

pub use announcer::Announcer;
pub use answers::{answer_of, answer_of_dropped, template_of};
pub use names::{
    CANCEL, CANCEL_CARRIER, CREATE, HAND_OVER, RESCHEDULE, RESCHEDULE_CARRIER, cancel_id,
    create_id, delivery_of, hand_over_id, operation_id, operation_of, reschedule_id,
};
