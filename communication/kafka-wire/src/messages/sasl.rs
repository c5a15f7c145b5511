//! How a client says who it is, where it shows no certificate (KIP-43, KIP-152; RFC 4422).

use std::fmt;

use bytes::Bytes;

use crate::{
    error::{ErrorCode, WireError},
    field::{Field, message},
    reader::Reader,
    writer::Writer,
};

/// Bytes that are nobody else's business: they never get into a log.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(pub Bytes);

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret")
    }
}

impl Field for Secret {
    const BYTES_MIN: usize = Bytes::BYTES_MIN;

    fn read(reader: &mut Reader, version: i16) -> Result<Self, WireError> {
        Bytes::read(reader, version).map(Self)
    }

    fn write(&self, writer: &mut Writer, version: i16) {
        self.0.write(writer, version);
    }
}

message! {
    /// Chooses a mechanism.
    SaslHandshakeRequest {
        /// Its name, such as `PLAIN`.
        mechanism: String;
    }

    /// Whether it may be used.
    SaslHandshakeResponse {
        /// Why not.
        error: ErrorCode;
        /// Those that may be.
        mechanisms: Vec<String>;
    }

    /// What the mechanism has the client say.
    SaslAuthenticateRequest {
        /// In the mechanism's own form.
        auth_bytes: Secret;
    }

    /// Whether that was enough.
    SaslAuthenticateResponse {
        /// Why not.
        error: ErrorCode;
        /// The same in words.
        message: Option<String>;
        /// What the mechanism has the broker say.
        auth_bytes: Secret;
        /// Milliseconds after which it must be said again; 0 for never.
        session_lifetime_ms: i64, since 1;
    }
}
