//! Users of the log: programs of others, which show no certificate and say a name and a secret.
//!
//! What is known of them is a file of digests (`callers`), watched by whoever starts the broker. A user has
//! an identity like any service, in a namespace of its own, so that one policy judges both.

use std::{fmt, sync::Arc, time::Duration};

use base::{SharedClock, Timestamp};
use callers::{ApiKey, KeyDigest, KeyFile};
use identity::{LOG_USERS, ParseSpiffeIdError, SpiffeId};
use tokio::{sync::watch, time::sleep};

/// Everybody who may log in, now and from now on; a cheap handle.
#[derive(Clone)]
pub struct Users {
    keys: watch::Receiver<Arc<KeyFile>>,
    trust_domain: Arc<str>,
    clock: SharedClock,
}

/// Somebody who has logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) id: SpiffeId,
    secret: KeyDigest,
    expires_at: Option<Timestamp>,
}

/// Why somebody is not let in. For metrics: he is told nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LoginError {
    /// What was said is not of the mechanism's form.
    Malformed,
    /// There is no such user, or the secret is not his.
    Unknown,
    /// It was taken back.
    Revoked,
    /// Its time is over.
    Expired,
}

impl LoginError {
    /// The word in metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Unknown => "unknown",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
        }
    }
}

/// The identity of a user in a trust domain.
///
/// # Errors
/// The name is none that a user may have: `a-z`, `0-9` and `-`, 63 at the most.
pub fn user_id(trust_domain: &str, name: &str) -> Result<SpiffeId, ParseSpiffeIdError> {
    SpiffeId::new(trust_domain, LOG_USERS, name)
}

impl Users {
    /// Those of a file, as it is now and becomes.
    #[must_use]
    pub fn new(
        keys: watch::Receiver<Arc<KeyFile>>,
        trust_domain: &str,
        clock: SharedClock,
    ) -> Self {
        Self { keys, trust_domain: trust_domain.into(), clock }
    }

    /// Whether there is nobody, and so no reason to listen to strangers.
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.borrow().keys().iter().all(|it| it.revoked_at.is_some())
    }

    /// Who says `authorization NUL name NUL secret` (PLAIN, RFC 4616). Nobody may act as another.
    pub(crate) fn log_in(&self, said: &[u8]) -> Result<User, LoginError> {
        let text = str::from_utf8(said).map_err(|_| LoginError::Malformed)?;
        let parts: Vec<&str> = text.split('\0').collect();
        let [acts_as, name, secret] = parts[..] else { return Err(LoginError::Malformed) };
        if !acts_as.is_empty() && acts_as != name {
            return Err(LoginError::Malformed);
        }
        let secret: ApiKey = secret.parse().map_err(|_| LoginError::Unknown)?;
        // Found by its digest, which nobody can choose: the time that it takes tells nothing.
        let keys = self.keys.borrow();
        let entry = keys.find(&secret).filter(|it| it.principal.as_str() == name);
        let entry = entry.ok_or(LoginError::Unknown)?;
        if entry.revoked_at.is_some() {
            return Err(LoginError::Revoked);
        }
        if !entry.is_good(self.clock.now()) {
            return Err(LoginError::Expired);
        }
        let id = user_id(&self.trust_domain, name).map_err(|_| LoginError::Unknown)?;
        Ok(User { id, secret: entry.sha256, expires_at: entry.expires_at })
    }

    /// Waits until a user's secret is good no longer: taken back, not in the file any more, or over.
    /// Cancel-safe.
    pub(crate) async fn over(self, user: User) {
        let Self { mut keys, clock, .. } = self;
        let left = user.expires_at.map(|it| it.saturating_since(clock.now()));
        let taken_back = async {
            let is_good = |it: &Arc<KeyFile>| {
                it.keys().iter().any(|it| it.sha256 == user.secret && it.is_good(clock.now()))
            };
            // Nobody is left to say otherwise where this fails: time alone decides.
            if keys.wait_for(|it| !is_good(it)).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = taken_back => {}
            () = expiry(left) => {}
        }
    }
}

async fn expiry(left: Option<Duration>) {
    match left {
        Some(left) => sleep(left).await,
        None => std::future::pending().await,
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Users").field("domain", &self.trust_domain).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use callers::Grant;
    use runtime::SystemClock;

    use super::*;

    fn grant(name: &str, expires_at: Option<Timestamp>) -> Grant {
        Grant { principal: name.parse().unwrap(), roles: Vec::new(), expires_at }
    }

    #[test]
    fn a_user_is_let_in_by_his_own_secret_while_it_is_good_and_tells_no_other_name() {
        let clock = SystemClock::shared();
        let (now, mut file) = (clock.now(), KeyFile::default());
        let mut draw = |name, expires_at| file.create(grant(name, expires_at), now).unwrap();
        let (ann, bob) = (draw("ann", None), draw("bob", None));
        let (old, odd) = (draw("cy", Some(now)), draw("no/service", None));
        file.revoke(&bob.entry.sha256.id(), now).unwrap();
        let users = Users::new(watch::channel(Arc::new(file)).1, "mesh", clock);
        let said = |acts_as: &str, name: &str, secret: &str| {
            let said = users.log_in(format!("{acts_as}\0{name}\0{secret}").as_bytes());
            said.map(|it| it.id.to_string())
        };
        let is_ann = Ok("spiffe://mesh/ns/log-users/svc/ann".to_owned());
        assert_eq!(said("", "ann", ann.key.reveal()), is_ann);
        assert_eq!(said("ann", "ann", ann.key.reveal()), is_ann);
        for (acts_as, name, secret, expected) in [
            ("bob", "ann", ann.key.reveal(), LoginError::Malformed),
            ("", "bob", ann.key.reveal(), LoginError::Unknown),
            ("", "ann", bob.key.reveal(), LoginError::Unknown),
            ("", "ann", "", LoginError::Unknown),
            ("", "ann", "guess", LoginError::Unknown),
            ("", "bob", bob.key.reveal(), LoginError::Revoked),
            ("", "cy", old.key.reveal(), LoginError::Expired),
            ("", "no/service", odd.key.reveal(), LoginError::Unknown),
        ] {
            assert_eq!(said(acts_as, name, secret), Err(expected), "{acts_as} {name}");
        }
        for said in [&b""[..], b"ann", b"\0ann", b"\0a\0b\0c", b"\0\xff\0b"] {
            assert_eq!(users.log_in(said), Err(LoginError::Malformed), "{said:?}");
        }
    }
}
