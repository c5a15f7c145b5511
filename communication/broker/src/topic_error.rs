//! Why something was not done to a topic, for the log and for the client.

use std::io;

use durable_log::OpenError;
use kafka_wire::ErrorCode;

use crate::catalog::CatalogError;

/// Why a topic was not opened or made.
#[derive(Debug, thiserror::Error)]
pub enum TopicError {
    /// The log cannot be used.
    #[error("the log of a topic cannot be opened")]
    Log(#[source] OpenError),
    /// The catalog cannot be written.
    #[error("the catalog of topics cannot be used")]
    Catalog(#[source] CatalogError),
    /// The files of a removed topic cannot be removed.
    #[error("the files of the topic cannot be removed")]
    Files(#[source] io::Error),
    /// It makes no topic.
    #[error("{reason}")]
    Refused {
        /// The code for the client.
        code: i16,
        /// Why.
        reason: String,
    },
}

/// The refusal of a client's wish.
pub(crate) fn refuse(code: ErrorCode, reason: impl Into<String>) -> TopicError {
    TopicError::Refused { code: code.code(), reason: reason.into() }
}

/// What a client is told.
pub(crate) fn code_of(error: &TopicError) -> ErrorCode {
    match error {
        TopicError::Refused { code, .. } => ErrorCode::of(*code),
        TopicError::Log(_) | TopicError::Catalog(_) | TopicError::Files(_) => {
            ErrorCode::KafkaStorageError
        }
    }
}
