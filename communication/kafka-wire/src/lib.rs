//! The Kafka protocol, as far as our broker and our client speak it.
//!
//! Every read is checked against the bytes that are left before anything is allocated: a frame
//! that claims a million elements in twenty bytes is an error of twenty bytes. Only versions that
//! the tests cover are named in [`SUPPORTED`], which the broker advertises and the client asks
//! for. It knows frames and messages; it opens no connection.

mod api;
pub mod batch;
mod error;
mod field;
pub mod messages;
mod murmur;
mod reader;
mod writer;

pub use api::{
    API_VERSIONS_FLEXIBLE, ApiKey, RequestHead, SUPPORTED, Versions, asked_in, read_request_head,
    request, request_in, response,
};
pub use error::{ErrorCode, WireError};
pub use field::Field;
pub use murmur::{murmur2, partition_of};
pub use reader::{FRAME_HEAD_BYTES, Reader, frame_bytes};
pub use writer::Writer;
