//! Who calls at the edge: people and their programs, by an API key or by a token of an issuer.
//!
//! Inside, processes show certificates (`identity`); outside nobody has one. A key is ours: drawn here,
//! shown once, kept as a digest. A token (JWT, RFC 7519) is another's: believed where a key of that
//! issuer signed it, for us, for now. What operators change is told to a witness.
//!
//! It refuses to say what a caller may do (that is policy), to read a file or a clock (texts and times
//! come in), and to tell a stranger why he is refused: reasons are for metrics.

mod base64url;
mod callers;
mod issuer;
mod key;
mod key_file;
mod principal;
mod refused;
mod signers;
mod token;
mod witness;

pub use callers::Callers;
pub use issuer::Issuer;
pub use key::{ApiKey, DrawKeyError, KeyDigest};
pub use key_file::{
    Drawn, Grant, KEYS_MAX, KeyEntry, KeyFile, ReadKeysError, RevokeError, Revoked,
    TooManyKeysError,
};
pub use principal::{Name, NameError, Principal, Role};
pub use refused::Refused;
pub use signers::{ReadSignersError, SIGNERS_MAX, Signers};
pub use token::{SKEW, TOKEN_BYTES_MAX};
pub use witness::{Actor, Deed, Heard, Undecided, Witness};
