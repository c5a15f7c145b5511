//! Segment files that keep what was acknowledged: bytes in, offsets out.
//!
//! One [`Log`] is one topic: its partitions are interleaved in one sequence of segments, so that a
//! group commit costs one sync however many partitions it touches. Appends that wait together are
//! written with one write and one sync; there is no timer. A record is acknowledged, and shown to
//! readers, when it is on stable storage; a file whose sync failed is never acknowledged again.
//!
//! It knows no protocol and does not look into a body. It refuses to start empty where files stand
//! that it cannot read, and to serve bytes whose checksum does not fit. Damage is told from a write
//! that was cut off, and served around: a read of what is lost says which offsets, and what stands
//! before and behind them is served. Nothing is overwritten without a copy beside it.
//!
//! ```
//! # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
//! # runtime.block_on(async {
//! use durable_log::{Append, Log, LogConfig};
//!
//! let directory = tempfile::tempdir().unwrap();
//! let clock = runtime::SystemClock::shared();
//! let (log, _recovery) = Log::open(directory.path(), LogConfig::default(), clock).unwrap();
//! let append = Append { partition: 3, records: 1, time: base::Timestamp::default(), body: "a".into() };
//! let appended = log.append(append).await.unwrap();
//! assert_eq!(log.read(3, appended.base_offset, 1024).unwrap()[0].body, "a");
//! # });
//! ```

mod append;
mod committer;
mod config;
mod disk;
mod error;
mod frame;
mod header;
mod index;
mod log;
mod open;
mod rebuild;
mod repair;
mod retention;
mod scan;
mod segment;
mod stats;
mod verify;
mod view;

pub use append::{Append, Appended, Frame, Pending};
pub use config::{Durability, LogConfig};
pub use error::{AppendError, OpenError, ReadError};
pub use log::Log;
pub use open::Recovery;
pub use repair::{Repaired, repair};
pub use stats::LogStats;
pub use verify::{HeaderReport, Report, SegmentReport, verify};
