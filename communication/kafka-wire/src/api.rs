//! Which requests there are, in which versions, and what stands before each.

use bytes::Bytes;

use crate::{error::WireError, field::Field, reader::Reader, writer::Writer};

/// The first version of `ApiVersions` whose request and answer are in the flexible form.
pub const API_VERSIONS_FLEXIBLE: i16 = 3;

macro_rules! apis {
    ($($(#[$doc:meta])* $name:ident = $key:literal, $min:literal ..= $max:literal;)*) => {
        /// A kind of request. The numbers are the protocol's.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum ApiKey {
            $($(#[$doc])* $name,)*
        }

        impl ApiKey {
            /// The number on the wire.
            #[must_use]
            pub const fn key(self) -> i16 {
                match self { $(Self::$name => $key,)* }
            }

            /// The kind of a number.
            #[must_use]
            pub const fn of(key: i16) -> Option<Self> {
                match key {
                    $($key => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The word in metrics and logs.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// The highest version that is spoken.
            #[must_use]
            pub const fn latest(self) -> i16 {
                match self { $(Self::$name => $max,)* }
            }

            /// Whether the version is spoken.
            #[must_use]
            pub const fn speaks(self, version: i16) -> bool {
                match self { $(Self::$name => $min <= version && version <= $max,)* }
            }
        }

        /// Every kind of request that is spoken, with its versions.
        pub const SUPPORTED: &[Versions] =
            &[$(Versions { api: ApiKey::$name, min: $min, max: $max }),*];
    };
}

/// The versions of one kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// The kind.
    pub api: ApiKey,
    /// Lowest version.
    pub min: i16,
    /// Highest version.
    pub max: i16,
}

// Stock clients look for certain versions to learn what a broker can do: Produce 3 and Fetch 4 for
// batches of format 2, the lowest of each group request for consumer groups.
apis! {
    /// Appends.
    Produce = 0, 3 ..= 3;
    /// Reads.
    Fetch = 1, 4 ..= 4;
    /// Finds offsets by time.
    ListOffsets = 2, 1 ..= 1;
    /// Names brokers and topics.
    Metadata = 3, 1 ..= 4;
    /// Keeps how far a group has processed.
    OffsetCommit = 8, 2 ..= 2;
    /// Says how far a group has processed.
    OffsetFetch = 9, 1 ..= 1;
    /// Names the coordinator of a group.
    FindCoordinator = 10, 0 ..= 0;
    /// Joins a group.
    JoinGroup = 11, 0 ..= 5;
    /// Says that a member is alive.
    Heartbeat = 12, 0 ..= 3;
    /// Leaves a group.
    LeaveGroup = 13, 0 ..= 3;
    /// Shares the partitions out.
    SyncGroup = 14, 0 ..= 3;
    /// Says how groups are.
    DescribeGroups = 15, 0 ..= 1;
    /// Names the groups.
    ListGroups = 16, 0 ..= 1;
    /// Chooses how the client says who it is. In version 0 what follows would be no request.
    SaslHandshake = 17, 0 ..= 1;
    /// Says what is spoken.
    ApiVersions = 18, 0 ..= 3;
    /// Makes topics.
    CreateTopics = 19, 2 ..= 2;
    /// Removes topics.
    DeleteTopics = 20, 0 ..= 1;
    /// Removes the oldest records.
    DeleteRecords = 21, 0 ..= 0;
    /// Numbers a producer.
    InitProducerId = 22, 0 ..= 0;
    /// Says the settings of topics.
    DescribeConfigs = 32, 1 ..= 1;
    /// Says who the client is, and shows it.
    SaslAuthenticate = 36, 0 ..= 1;
    /// Gives topics more partitions.
    CreatePartitions = 37, 0 ..= 1;
    /// Forgets groups.
    DeleteGroups = 42, 0 ..= 1;
    /// Changes the settings of topics.
    IncrementalAlterConfigs = 44, 0 ..= 0;
    /// Forgets what a group committed.
    OffsetDelete = 47, 0 ..= 0;
}

/// What stands before a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// The number of its kind.
    pub api_key: i16,
    /// Its version.
    pub version: i16,
    /// Comes back with the answer.
    pub correlation_id: i32,
    /// Who asks.
    pub client_id: Option<String>,
}

/// Reads what stands before a request.
///
/// # Errors
/// It is not whole.
pub fn read_request_head(reader: &mut Reader) -> Result<RequestHead, WireError> {
    let (api_key, version, correlation_id) = (reader.i16()?, reader.i16()?, reader.i32()?);
    let client_id = reader.nullable_string()?;
    Ok(RequestHead { api_key, version, correlation_id, client_id })
}

/// The version in which our client asks.
#[must_use]
pub const fn asked_in(api: ApiKey) -> i16 {
    match api {
        // Its flexible form says nothing that we want to say.
        ApiKey::ApiVersions => 0,
        // There are logs that let nobody leave by name: who has an id leaves by that.
        ApiKey::LeaveGroup => 1,
        api => api.latest(),
    }
}

/// A whole request.
#[must_use]
pub fn request<T: Field>(api: ApiKey, correlation_id: i32, client_id: &str, body: &T) -> Bytes {
    request_in(api, asked_in(api), correlation_id, client_id, body)
}

/// The same in another version; one of the flexible form brings the tags of its head itself.
#[must_use]
pub fn request_in<T: Field>(
    api: ApiKey,
    version: i16,
    correlation_id: i32,
    client_id: &str,
    body: &T,
) -> Bytes {
    let mut writer = Writer::frame();
    writer.i16(api.key());
    writer.i16(version);
    writer.i32(correlation_id);
    writer.nullable_string(Some(client_id));
    body.write(&mut writer, version);
    writer.finish()
}

/// A whole answer.
#[must_use]
pub fn response<T: Field>(correlation_id: i32, version: i16, body: &T) -> Bytes {
    let mut writer = Writer::frame();
    writer.i32(correlation_id);
    body.write(&mut writer, version);
    writer.finish()
}
