//! Transactions that span services: definitions as data, a pure machine, a runner, a store.
//!
//! A saga is a row of calls to services. It ends with every step done, or with every step that was
//! done, or may have been, undone, or parked for a person: never in between and never forgotten.
//! What must be undone is data in the saga's durable state, not code in a catch block, so it
//! survives the process that would have run it. An instance owns a saga by an epoch that every
//! write is conditional on, and that every call carries.
//!
//! It refuses to know what a step does. It refuses to replay code: the engine interprets a
//! definition that is pinned by its hash. It refuses to retry what a service has decided, and to
//! undo a pivot that nobody has answered for.

mod caller;
mod config;
pub mod definition;
mod engine;
pub mod machine;
mod metrics;
pub mod outcome;
mod runner;
mod store;
mod view;

pub use crate::store::{InstanceView, ListFilter, MIGRATIONS, Signalled};
pub use caller::{Caller, Observer, OutgoingCall};
pub use config::{EngineConfig, EngineKind, EngineSettings};
pub use definition::{Call, Definition, DefinitionError, Step};
pub use engine::{Engine, EngineParts, StartError, SubmitError, Submitted};
pub use machine::{Instead, Outcome, Record, Signal, SignalKind, Start, State, Status};
pub use outcome::{CallResult, Reply};
pub use view::{HistoryRow, SagaView, StepView};
