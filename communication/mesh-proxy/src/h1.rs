//! HTTP/1 as bytes: heads and chunks read strictly, written plainly. Pure.
//!
//! Bytes go in, offsets or a refusal come out; nothing here waits, allocates per request or owns a
//! connection. Where RFC 9112 lets a recipient guess, this one refuses: of two programs in a row
//! the second may guess otherwise, and the difference is a request that nobody authorised. Whoever
//! gets a [`Malformed`] from a client answers with its status and closes the connection; from a
//! server, answers 502 and drops the connection.

mod authority;
pub mod chunk;
mod class;
mod facts;
mod field;
pub mod hop;
mod known;
mod lines;
mod malformed;
pub mod parse;
pub mod write;

pub use chunk::{Decoder, Step};
pub use field::{Field, Span};
pub use known::Known;
pub use malformed::Malformed;
pub use parse::{
    Asked, BodyLength, Limits, RequestLine, StatusLine, TargetForm, request, response,
};
