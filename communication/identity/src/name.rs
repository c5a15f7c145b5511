//! Who somebody is: a SPIFFE id of the one form `spiffe://<trust domain>/ns/<namespace>/svc/<service>`.
//!
//! Any other form is refused, also what SPIFFE itself would allow: a name that can be written in one
//! way only can be compared as text. Source: SPIFFE-ID 1.0, section 2.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A DNS label is at most as long (RFC 1035 2.3.4); a peer's name travels as one in the handshake.
const LABEL_BYTES_MAX: usize = 63;
/// Leaves room for namespace and service within the 253 bytes of a DNS name.
const TRUST_DOMAIN_BYTES_MAX: usize = 120;

/// The namespace of the log's users: programs of others that log in by a secret. They show no certificate,
/// and no authority of ours gives one a name there.
pub const LOG_USERS: &str = "log-users";

/// The identity of a service.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SpiffeId {
    trust_domain: String,
    namespace: String,
    service: String,
}

/// Why a text is no identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseSpiffeIdError {
    /// It does not begin with `spiffe://`.
    #[error("an identity begins with `spiffe://`")]
    Scheme,
    /// The path is another one than `/ns/<namespace>/svc/<service>`.
    #[error("the path of an identity is `/ns/<namespace>/svc/<service>`")]
    Path,
    /// The trust domain is empty, too long, or has other letters than `a-z`, `0-9`, `-` and `.`.
    #[error("a trust domain is made of labels of a-z, 0-9 and `-`, at most 120 bytes together")]
    TrustDomain,
    /// Namespace or service is empty, too long, or has other letters than `a-z`, `0-9` and `-`.
    #[error("namespace and service are made of a-z, 0-9 and `-`, at most 63 bytes each")]
    Label,
}

impl SpiffeId {
    /// The identity of a service.
    ///
    /// # Errors
    /// A part has letters that it may not have, or is empty or too long.
    pub fn new(
        trust_domain: &str,
        namespace: &str,
        service: &str,
    ) -> Result<Self, ParseSpiffeIdError> {
        let is_domain =
            trust_domain.len() <= TRUST_DOMAIN_BYTES_MAX && trust_domain.split('.').all(is_label);
        if !is_domain {
            return Err(ParseSpiffeIdError::TrustDomain);
        }
        if !is_label(namespace) || !is_label(service) {
            return Err(ParseSpiffeIdError::Label);
        }
        Ok(Self {
            trust_domain: trust_domain.to_owned(),
            namespace: namespace.to_owned(),
            service: service.to_owned(),
        })
    }

    /// Whose authority vouches for it.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// The namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The service.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.service
    }

    /// The same as a DNS name, `<service>.<namespace>.<trust domain>`: what a client asks for in the
    /// handshake. Neither service nor namespace has a dot, so two identities never share one.
    #[must_use]
    pub fn server_name(&self) -> String {
        format!("{}.{}.{}", self.service, self.namespace, self.trust_domain)
    }
}

/// A label of a DNS name, lower case.
fn is_label(text: &str) -> bool {
    let is_letter = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-';
    (1..=LABEL_BYTES_MAX).contains(&text.len())
        && text.bytes().all(is_letter)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

impl FromStr for SpiffeId {
    type Err = ParseSpiffeIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text.strip_prefix("spiffe://").ok_or(ParseSpiffeIdError::Scheme)?;
        let mut parts = rest.split('/');
        let trust_domain = parts.next().unwrap_or_default();
        let [Some("ns"), Some(namespace), Some("svc"), Some(service), None] =
            std::array::from_fn(|_| parts.next())
        else {
            return Err(ParseSpiffeIdError::Path);
        };
        Self::new(trust_domain, namespace, service)
    }
}

impl TryFrom<String> for SpiffeId {
    type Error = ParseSpiffeIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<SpiffeId> for String {
    fn from(id: SpiffeId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trust_domain, namespace, service } = self;
        write!(formatter, "spiffe://{trust_domain}/ns/{namespace}/svc/{service}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, ParseSpiffeIdError>) {
        let read = text.parse::<SpiffeId>();
        let name = read.as_ref().map(SpiffeId::server_name).map_err(|it| *it);
        assert_eq!(name, expected.map(str::to_owned), "{text}");
        if let Ok(read) = read {
            assert_eq!(read.to_string(), text, "there is one way to write it");
        }
    }

    #[test]
    fn one_form_is_read_and_every_other_one_refused() {
        check("spiffe://mesh.local/ns/shop/svc/cart", Ok("cart.shop.mesh.local"));
        check("spiffe://m/ns/a-1/svc/0", Ok("0.a-1.m"));
        for other in ["", "cart", "https://mesh.local/ns/shop/svc/cart", "SPIFFE://m/ns/a/svc/b"] {
            check(other, Err(ParseSpiffeIdError::Scheme));
        }
        for path in
            ["", "/", "/ns/a", "/ns/a/svc/b/", "/ns/a/svc/b/c", "/ns/a/sa/b", "//ns/a/svc/b"]
        {
            check(&format!("spiffe://mesh.local{path}"), Err(ParseSpiffeIdError::Path));
        }
        for domain in ["", ".", "a..b", "Mesh", "mesh:80", "u@mesh", "-a", &"a.".repeat(61)] {
            check(&format!("spiffe://{domain}/ns/a/svc/b"), Err(ParseSpiffeIdError::TrustDomain));
        }
        for label in ["", "..", "%2e", "A", "a.b", "a_b", "a b", "ä", "a?x", "a#x", &"a".repeat(64)]
        {
            check(&format!("spiffe://m/ns/a/svc/{label}"), Err(ParseSpiffeIdError::Label));
            check(&format!("spiffe://m/ns/{label}/svc/a"), Err(ParseSpiffeIdError::Label));
        }
    }
}
