//! What every crate may use: time, back-off, failure classes, error codes, operation keys, header names.
//!
//! It refuses to wait, to read a clock, to touch a disk or a socket: time and randomness come in
//! as arguments, so that everything built on it can be replayed from a seed. There is no async
//! runtime below this line.
//!
//! ```
//! use base::{Backoff, Random};
//! use std::time::Duration;
//!
//! let backoff = Backoff { initial: Duration::from_millis(100), factor: 4, cap: Duration::from_secs(2) };
//! let mut random = Random::with_seed(41);
//! assert!(backoff.delay(1, random.unit()) <= Duration::from_millis(100));
//! ```

mod backoff;
mod clock;
mod code;
mod failure;
pub mod headers;
mod id;
mod operation_key;
mod printable;
mod random;
mod simulated_clock;
mod time;

/// Bytes of body and further headers that a message holds at the most. Whoever keeps a message for
/// later refuses a longer one at once: nobody would take it from him.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;

pub use backoff::Backoff;
pub use clock::{Clock, ManualClock, SharedClock};
pub use code::Code;
pub use failure::FailureClass;
pub use id::{ID_CHARS_MAX, NotAnId, is_id};
pub use operation_key::{Direction, OperationKey, ParseOperationKeyError};
pub use printable::is_printable;
pub use random::Random;
pub use simulated_clock::SimulatedClock;
pub use time::{Monotonic, Timestamp};
