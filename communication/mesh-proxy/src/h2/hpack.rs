//! HPACK: header fields on the wire of HTTP/2 (RFC 7541).
//!
//! Reading knows all of it. Writing uses the static table and plain text alone: a dynamic table
//! saves bytes on links that are slow, and costs a search for each field on those that are not.

mod decode;
mod encode;
mod huffman;
mod integer;
mod table;

pub(crate) use decode::{Decoder, Invalid};
pub(crate) use encode::{
    put_authority, put_field, put_method, put_path, put_scheme, put_status, put_table_cleared,
};

/// The size of the decoder's table that a peer may count on before it is told otherwise.
pub(crate) const TABLE_BYTES: usize = 4_096;

#[cfg(test)]
mod tests;
