//! What is wrong with a frame, and the codes by which the two sides tell each other why not.

/// A frame that cannot be read. The connection that it came on is of no use any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// It claims more than it holds.
    #[error("the frame ends before what it claims")]
    Short,
    /// It holds more than it claims.
    #[error("{0} bytes are left after the message")]
    Left(usize),
    /// A length that is none.
    #[error("a length is negative")]
    Negative,
    /// Text that is not UTF-8.
    #[error("a text is not UTF-8")]
    Text,
    /// A request that is not spoken.
    #[error("request {api_key} in version {version} is not spoken")]
    Unspoken {
        /// The number of its kind.
        api_key: i16,
        /// Its version.
        version: i16,
    },
    /// Longer than the other side may be.
    #[error("a frame of {bytes} bytes, at most {bytes_max} are taken")]
    TooLong {
        /// What it claims.
        bytes: i64,
        /// The bound.
        bytes_max: usize,
    },
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal),* $(,)?) => {
        /// Why a request, or a part of one, was not served. The numbers are the protocol's.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub enum ErrorCode {
            $($(#[$doc])* $name,)*
            /// Any other number.
            Other(i16),
        }

        impl ErrorCode {
            /// The number on the wire.
            #[must_use]
            pub const fn code(self) -> i16 {
                match self {
                    $(Self::$name => $code,)*
                    Self::Other(code) => code,
                }
            }

            /// The error of a number.
            #[must_use]
            pub const fn of(code: i16) -> Self {
                match code {
                    $($code => Self::$name,)*
                    other => Self::Other(other),
                }
            }
        }
    };
}

codes! {
    /// None.
    #[default]
    None = 0,
    /// The offset is not kept.
    OffsetOutOfRange = 1,
    /// A checksum does not fit.
    CorruptMessage = 2,
    /// There is no such topic or partition.
    UnknownTopicOrPartition = 3,
    /// Somebody else leads the partition.
    NotLeaderOrFollower = 6,
    /// No answer in time.
    RequestTimedOut = 7,
    /// A batch is too large.
    MessageTooLarge = 10,
    /// The words of a commit are too long.
    OffsetMetadataTooLarge = 12,
    /// The coordinator is starting.
    CoordinatorLoadInProgress = 14,
    /// The coordinator cannot work.
    CoordinatorNotAvailable = 15,
    /// Somebody else coordinates the group.
    NotCoordinator = 16,
    /// A name that no topic may have.
    InvalidTopicException = 17,
    /// Acknowledgements other than 0, 1 and -1.
    InvalidRequiredAcks = 21,
    /// The group has gone on to another generation.
    IllegalGeneration = 22,
    /// The members speak no common protocol.
    InconsistentGroupProtocol = 23,
    /// A name that no group may have.
    InvalidGroupId = 24,
    /// The group does not know the member.
    UnknownMemberId = 25,
    /// A time that a session cannot have.
    InvalidSessionTimeout = 26,
    /// The group is gathering its members anew.
    RebalanceInProgress = 27,
    /// The client may not do that with the topic.
    TopicAuthorizationFailed = 29,
    /// The client may not take part in the group.
    GroupAuthorizationFailed = 30,
    /// Nobody can say in this way who he is.
    UnsupportedSaslMechanism = 33,
    /// Who the client is cannot be said here, or not now.
    IllegalSaslState = 34,
    /// The version is not spoken.
    UnsupportedVersion = 35,
    /// The topic is there already.
    TopicAlreadyExists = 36,
    /// A number of partitions that no topic may have.
    InvalidPartitions = 37,
    /// A number of copies that is not kept.
    InvalidReplicationFactor = 38,
    /// Copies on brokers that are none.
    InvalidReplicaAssignment = 39,
    /// A setting that no topic may have.
    InvalidConfig = 40,
    /// The request makes no sense.
    InvalidRequest = 42,
    /// Batches of another format.
    UnsupportedForMessageFormat = 43,
    /// A batch is missing before this one.
    OutOfOrderSequenceNumber = 45,
    /// The batch was written already, too long ago to say where.
    DuplicateSequenceNumber = 46,
    /// A later life of the producer was here.
    InvalidProducerEpoch = 47,
    /// The disk of the log failed or is full.
    KafkaStorageError = 56,
    /// Who the client says it is, it is not.
    SaslAuthenticationFailed = 58,
    /// Nothing is known of the producer any more.
    UnknownProducerId = 59,
    /// The group has members.
    NonEmptyGroup = 68,
    /// There is no such group.
    GroupIdNotFound = 69,
    /// A compression that is not spoken.
    UnsupportedCompressionType = 76,
    /// The member must come again with the id that it was given.
    MemberIdRequired = 79,
    /// Another member has the instance id now.
    FencedInstanceId = 82,
    /// A member of the group reads the topic.
    GroupSubscribedToTopic = 86,
    /// The batch is malformed.
    InvalidRecord = 87,
    /// Too much at a time.
    ThrottlingQuotaExceeded = 89,
    /// Nobody knows.
    UnknownServerError = -1,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_leads_to_its_error_and_back() {
        for code in -2..100 {
            assert_eq!(ErrorCode::of(code).code(), code);
        }
        assert_eq!(ErrorCode::of(3), ErrorCode::UnknownTopicOrPartition);
    }
}
