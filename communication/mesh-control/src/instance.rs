//! An instance as it announces itself, and what of that may be believed.
//!
//! Who it is stands in no announcement: that is what its certificate says.

use std::net::SocketAddr;

use mesh_policy::destination::Protocol;
use serde::{Deserialize, Serialize};

/// Bytes of a name, as of a DNS label (RFC 1035 2.3.4): a service's name is one in its identity.
const NAME_BYTES_MAX: usize = 63;
/// Bytes of any other text, as files may say them.
const TEXT_BYTES_MAX: usize = 128;
/// Greatest capacity: the greatest weight of an endpoint.
const CAPACITY_MAX: u32 = 1_000_000;

/// One instance of a service, as it says itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// The service, such as `account`.
    pub service: String,
    /// The instance, such as `account-1`; unique within its service.
    pub instance: String,
    /// Its version, such as `v2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Where it runs, such as `rack-7`. Shown; the balancer does not look at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// What it can do compared with the others: its weight.
    #[serde(default = "one")]
    pub capacity: u32,
    /// Where it takes calls.
    pub address: SocketAddr,
    /// Which start of it this is: grows from one to the next, such as its time in milliseconds since 1970.
    /// 0 is newer than none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub incarnation: u64,
    /// What it speaks there.
    #[serde(default)]
    pub protocol: Spoken,
    /// Whether it takes calls now. One that does not is known and called by nobody.
    #[serde(default = "yes")]
    pub ready: bool,
}

/// What is spoken at an address; the words are those of the kind `Endpoints`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spoken {
    /// HTTP/1.1.
    #[default]
    Http,
    /// HTTP/2 by prior knowledge.
    H2c,
    /// Bytes.
    Tcp,
}

/// What cannot be believed of an announcement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RegistrationError {
    /// The name of the service is none.
    #[error("a service is named by a-z, 0-9 and `-`, at most {NAME_BYTES_MAX} bytes")]
    Service,
    /// A text is empty, too long, or has letters that no file may have.
    #[error("instance, version and zone have 1 to {TEXT_BYTES_MAX} bytes of printable ASCII")]
    Text,
    /// Nothing can be sent there.
    #[error("the address is one that can be called: neither 0.0.0.0 nor port 0")]
    Address,
    /// More than any weight.
    #[error("a capacity is {CAPACITY_MAX} at the most")]
    Capacity,
}

const fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

const fn yes() -> bool {
    true
}

impl Registration {
    /// Whether a policy could hold it.
    ///
    /// # Errors
    /// The first thing that it could not.
    pub fn check(&self) -> Result<(), RegistrationError> {
        if !is_name(&self.service) {
            return Err(RegistrationError::Service);
        }
        let texts = [Some(&self.instance), self.version.as_ref(), self.zone.as_ref()];
        if !texts.into_iter().flatten().all(|it| is_text(it)) {
            return Err(RegistrationError::Text);
        }
        if self.address.port() == 0 || self.address.ip().to_canonical().is_unspecified() {
            return Err(RegistrationError::Address);
        }
        if self.capacity > CAPACITY_MAX { Err(RegistrationError::Capacity) } else { Ok(()) }
    }
}

fn is_name(text: &str) -> bool {
    let is_letter = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-';
    (1..=NAME_BYTES_MAX).contains(&text.len())
        && text.bytes().all(is_letter)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_text(text: &str) -> bool {
    (1..=TEXT_BYTES_MAX).contains(&text.len()) && text.bytes().all(|it| it.is_ascii_graphic())
}

impl From<Spoken> for Protocol {
    fn from(spoken: Spoken) -> Self {
        match spoken {
            Spoken::Http => Self::Http1,
            Spoken::H2c => Self::Http2,
            Spoken::Tcp => Self::Tcp,
        }
    }
}

impl From<Protocol> for Spoken {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Http1 => Self::Http,
            Protocol::Http2 => Self::H2c,
            Protocol::Tcp => Self::Tcp,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(change: impl FnOnce(&mut Registration), expected: Result<(), RegistrationError>) {
        let text = r#"{"service":"cart","instance":"cart-1","address":"127.0.0.1:7001"}"#;
        let mut told: Registration = serde_json::from_str(text).unwrap();
        assert_eq!((told.capacity, told.ready, told.protocol), (1, true, Spoken::Http));
        change(&mut told);
        assert_eq!(told.check(), expected, "{told:?}");
    }

    #[test]
    fn what_no_file_could_say_nobody_may_announce() {
        check(|_| {}, Ok(()));
        for name in ["", "Cart", "-cart", "cart-", "a.b", "a/b", &"a".repeat(64)] {
            check(|it| name.clone_into(&mut it.service), Err(RegistrationError::Service));
        }
        for text in ["", "a b", "a\nb", "ä", &"a".repeat(129)] {
            check(|it| text.clone_into(&mut it.instance), Err(RegistrationError::Text));
            check(|it| it.zone = Some(text.to_owned()), Err(RegistrationError::Text));
        }
        for address in ["0.0.0.0:7001", "[::]:7001", "[::ffff:0.0.0.0]:7001", "127.0.0.1:0"] {
            check(|it| it.address = address.parse().unwrap(), Err(RegistrationError::Address));
        }
        check(|it| it.capacity = CAPACITY_MAX + 1, Err(RegistrationError::Capacity));
    }
}
