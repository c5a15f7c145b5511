//! Who a process is, who vouches for it, and whom it lets in.
//!
//! An authority of our own signs short-lived X.509 identities (`spiffe://…/ns/…/svc/…`); a process
//! makes its key itself, keeps it in memory and renews in time; a connection is TLS 1.3 with a
//! certificate on both sides. It is closed by default: without an identity nobody is let in and
//! nobody is called.
//!
//! It refuses to decide what a peer may do: that is policy. It refuses to write a service's key.

mod authority;
mod bounds;
mod bundle;
mod bytes;
mod certificate;
mod claims;
mod credentials;
mod crowd;
mod files;
mod handshake;
mod judge;
mod keeper;
mod metrics;
mod name;
mod office;
mod order;
mod ordering;
mod pem;
mod presented;
mod public;
mod read_ahead;
mod refusal;
mod renewal;
mod rotation;
mod standing;
pub mod testing;
mod token;
mod verify;
mod wire;

pub use authority::{
    Authority, AuthorityConfig, BRANCH_LIFE, BRANCHES_MAX, BranchError, BranchFileError,
    BranchMade, Change, FoundError, Given, IssueError, Issued, NotFirst, ReadStateError,
    RequestError, RotateError, SelfMade, SignError,
};
pub use bounds::HandshakeConfig;
pub use bundle::{
    ANCHORS_MAX, AnchorId, Bundle, BundleError, CarriedError, REVOKED_MAX, SignedBundle, Trust,
    anchor_id,
};
pub use certificate::{Leaf, Serial};
pub use claims::Claims;
pub use credentials::{Credentials, Entrance, Identity, IdentityError, Protocol};
pub use crowd::{Place, Room};
pub use files::{FileError, read_state, write_state};
pub use handshake::{Current, Handshakes, Known, Visitor};
pub use keeper::{Grounds, KeeperConfig, Membership, keep};
pub use name::{LOG_USERS, ParseSpiffeIdError, SpiffeId};
pub use office::{ChangeError, DrawError, Office, OpenError, OrderError, Standing};
pub use order::Order;
pub use ordering::SendOrderError;
pub use presented::{Presented, PublicCertificate, PublicCertificateError, PublicHandshakes};
pub use public::{PublicName, PublicTrust, PublicTrustError};
pub use read_ahead::{ReadAhead, TlsStream};
pub use refusal::Refusal;
pub use renewal::{Renewal, RenewalConfig, RenewalStep};
pub use rotation::{AnchorUse, KeepAnchor, RotationStep, may_drop, next_step};
pub use standing::Over;
pub use token::{Caller, JoinToken, TOKEN_LIFE, TOKENS_MAX, TokenError};
pub use verify::{PeerIdentity, Purpose, SKEW, verify};
