//! Tokens: JWT in the compact form of a JWS (RFC 7519, RFC 7515), by the advice of RFC 8725.
//!
//! Nothing of a token is believed before its signature holds but the name of its issuer and of its
//! signer, and these only choose among what we know. It does not choose the algorithm: that is the
//! signer's. Addresses in it (`jku`, `x5u`) and keys in it (`jwk`, `x5c`) are never looked at.

use std::time::Duration;

use base::Timestamp;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::{
    base64url,
    issuer::Issuer,
    principal::{Principal, Role},
    refused::Refused,
};

#[cfg(test)]
mod tests;

/// A longer token is refused unread.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// How far clocks of issuers may differ from ours; as between our own processes.
pub const SKEW: Duration = Duration::from_secs(60);
/// Roles of a token that are taken in; one with more is refused.
const ROLES_MAX: usize = 32;
/// What may sign. `none` and symmetric algorithms are not among them: with these, whoever knows a public
/// key could sign.
const ALGORITHMS: [&str; 3] = ["RS256", "ES256", "EdDSA"];

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
    /// A token that is compressed or not encoded is another thing (RFC 7797).
    b64: Option<Value>,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: Option<String>,
    aud: Option<Audience>,
    exp: Option<f64>,
    nbf: Option<f64>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

/// Whom a token names, where one of these issuers says so now, and to us.
pub(crate) fn verify(
    token: &str,
    issuers: &[Issuer],
    now: Timestamp,
) -> Result<Principal, Refused> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(Refused::Malformed);
    }
    let (message, signature) = token.rsplit_once('.').ok_or(Refused::Malformed)?;
    let (header, claims) = message.split_once('.').ok_or(Refused::Malformed)?;
    let header: Header = part(header)?;
    if !ALGORITHMS.contains(&&*header.alg) {
        return Err(Refused::Algorithm);
    }
    if header.crit.is_some() || header.b64.is_some() {
        return Err(Refused::Extension);
    }
    let claims: Claims = part(claims)?;
    let issuer = issuers.iter().find(|it| it.name == claims.iss).ok_or(Refused::Issuer)?;
    let signer = header.kid.and_then(|it| issuer.signers.find(&it)).ok_or(Refused::Signer)?;
    if signer.algorithm() != header.alg {
        return Err(Refused::Algorithm);
    }
    let signature = base64url::decode(signature).ok_or(Refused::Malformed)?;
    if !signer.has_signed(message.as_bytes(), &signature) {
        return Err(Refused::Signature);
    }
    // From here on the issuer speaks.
    claims.judge(issuer, now)
}

/// A part of a token: one JSON object. A member that is there twice is no JSON that two would read alike.
fn part<T: DeserializeOwned>(text: &str) -> Result<T, Refused> {
    let bytes = base64url::decode(text).ok_or(Refused::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| Refused::Malformed)
}

impl Claims {
    fn judge(self, issuer: &Issuer, now: Timestamp) -> Result<Principal, Refused> {
        let is_for_us = match &self.aud {
            Some(Audience::One(one)) => *one == issuer.audience,
            Some(Audience::Many(many)) => many.contains(&issuer.audience),
            None => false,
        };
        if !is_for_us {
            return Err(Refused::Audience);
        }
        let skew = SKEW.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "years until a millisecond is lost")]
        let now = now.as_millis() as f64 / 1_000.0;
        // A token that is good for ever is none.
        if self.exp.is_none_or(|it| now >= it + skew) {
            return Err(Refused::Expired);
        }
        if self.nbf.is_some_and(|it| now < it - skew) {
            return Err(Refused::NotYet);
        }
        let name = self.sub.and_then(|it| it.parse().ok()).ok_or(Refused::Subject)?;
        let roles = match self.others.get(&issuer.roles_claim) {
            None | Some(Value::Null) => issuer.roles.clone(),
            Some(claimed) => roles(claimed)?,
        };
        Ok(Principal { name, roles })
    }
}

/// Roles as issuers write them: a list, or words with spaces between them. One that could be no role of
/// ours is another program's and passed over.
fn roles(claimed: &Value) -> Result<Vec<Role>, Refused> {
    let words: Vec<&str> = match claimed {
        Value::String(text) => text.split(' ').collect(),
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        _ => return Err(Refused::Subject),
    };
    if words.len() > ROLES_MAX {
        return Err(Refused::Subject);
    }
    Ok(words.into_iter().filter_map(|it| it.parse().ok()).collect())
}
