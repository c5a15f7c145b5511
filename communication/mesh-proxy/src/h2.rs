//! HTTP/2 (RFC 9113), both sides: frames, fields, windows, and the life of streams.
//!
//! [`Connection`] is a machine that takes bytes and gives bytes. It knows no socket and no clock;
//! what waits for it is woken. [`wire`] moves its bytes, [`handle`] is how the rest of the program
//! holds a stream. What a client may make it do for nothing is bounded by [`FrameBudget`].
//!
//! It is our own for the sake of cost (decision 9): everything that a turn of the connection causes
//! goes out in one write, fields go from block to block without a map between, and a stream costs no
//! task.

mod block;
mod budget;
mod connection;
mod frame;
mod handle;
mod hpack;
mod settings;
mod stream;
mod wire;
mod write;

pub(crate) use block::{Bounds, Request};
pub use budget::{Flood, FrameBudget};
pub(crate) use connection::{Connection, Then};
pub(crate) use frame::{PREFACE, Reason};
pub(crate) use handle::{Handle, Incoming, Shared};
pub(crate) use settings::{Fatal, Side};
pub(crate) use stream::Reset;
pub(crate) use wire::{End, Pings, Wire, poll_turn};
pub(crate) use write::{put_request, put_response};
