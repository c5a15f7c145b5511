//! Join tokens: how a process that has nothing yet shows which service it is.
//!
//! Whoever starts a process draws a token for it, hands it over, and says which process it became. A
//! token is good once, for that service, user and process, for a short time; who the caller is, the
//! kernel says. Kept is only a digest: what reads this memory cannot join with it.

use std::{collections::BTreeMap, fmt, time::Duration};

use base::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::name::SpiffeId;

/// A process that does not join in so long does not get to.
pub const TOKEN_LIFE: Duration = Duration::from_secs(120);
/// Tokens that may wait at once; the next one is refused.
pub const TOKENS_MAX: usize = 1_024;

/// Bytes of a token.
const TOKEN_BYTES: usize = 32;

/// A secret that lets one process join once. It is written nowhere.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JoinToken(String);

/// Who asks, as the kernel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// Its user.
    pub uid: u32,
    /// Its process.
    pub pid: u32,
}

/// Why a token is not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It was never drawn, or is over long since.
    #[error("the token is not known")]
    Unknown,
    /// It was used.
    #[error("the token was used before")]
    Used,
    /// Its time is over.
    #[error("the token's time is over")]
    Expired,
    /// Whoever drew it has not said yet which process it is for.
    #[error("it is not said yet which process the token is for")]
    Unbound,
    /// Another user or process than it was drawn for.
    #[error("the token was drawn for another user or process")]
    WrongCaller,
    /// So many tokens wait already.
    #[error("more than {TOKENS_MAX} tokens wait")]
    Full,
}

type TokenDigest = [u8; 32];

#[derive(Debug)]
struct Grant {
    id: SpiffeId,
    uid: u32,
    pid: Option<u32>,
    expires: Timestamp,
    /// Digest of the request that it was used for: the same one may come again when its answer was lost.
    used_for: Option<TokenDigest>,
}

/// The tokens that were drawn.
#[derive(Debug, Default)]
pub(crate) struct Tokens(BTreeMap<TokenDigest, Grant>);

impl JoinToken {
    /// From random bytes.
    pub(crate) fn of(bytes: &[u8; TOKEN_BYTES]) -> Self {
        Self(bytes.iter().map(|it| format!("{it:02x}")).collect())
    }

    /// Reads what [`reveal`](Self::reveal) gives.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_token =
            text.len() == 2 * TOKEN_BYTES && text.bytes().all(|it| it.is_ascii_hexdigit());
        is_token.then(|| Self(text.to_owned()))
    }

    /// The secret itself, to be handed to the process and to nobody else.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    fn digest(&self) -> TokenDigest {
        Sha256::digest(self.0.as_bytes()).into()
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JoinToken(…)")
    }
}

impl Tokens {
    /// Keeps a token for a service that a user will run.
    pub(crate) fn draw(
        &mut self,
        token: &JoinToken,
        id: SpiffeId,
        uid: u32,
        now: Timestamp,
    ) -> Result<(), TokenError> {
        self.0.retain(|_, it| now < it.expires);
        if self.0.len() >= TOKENS_MAX {
            return Err(TokenError::Full);
        }
        let grant = Grant { id, uid, pid: None, expires: now + TOKEN_LIFE, used_for: None };
        self.0.insert(token.digest(), grant);
        Ok(())
    }

    /// Says which process a token is for. Said once.
    pub(crate) fn bind(&mut self, token: &JoinToken, pid: u32) -> Result<(), TokenError> {
        let grant = self.0.get_mut(&token.digest()).ok_or(TokenError::Unknown)?;
        match grant.pid {
            Some(bound) if bound != pid => Err(TokenError::Used),
            _ => {
                grant.pid = Some(pid);
                Ok(())
            }
        }
    }

    /// Uses a token up. The same request again gets the same answer.
    pub(crate) fn redeem(
        &mut self,
        token: &JoinToken,
        caller: Caller,
        request: &[u8],
        now: Timestamp,
    ) -> Result<SpiffeId, TokenError> {
        let grant = self.0.get_mut(&token.digest()).ok_or(TokenError::Unknown)?;
        if now >= grant.expires {
            return Err(TokenError::Expired);
        }
        let pid = grant.pid.ok_or(TokenError::Unbound)?;
        if (Caller { uid: grant.uid, pid }) != caller {
            return Err(TokenError::WrongCaller);
        }
        let request: TokenDigest = Sha256::digest(request).into();
        if grant.used_for.is_some_and(|it| it != request) {
            return Err(TokenError::Used);
        }
        grant.used_for = Some(request);
        Ok(grant.id.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: Caller = Caller { uid: 1_000, pid: 7 };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn drawn() -> (Tokens, JoinToken) {
        let (mut tokens, token) = (Tokens::default(), JoinToken::of(&[1; 32]));
        tokens.draw(&token, "spiffe://m/ns/a/svc/b".parse().unwrap(), ME.uid, at(0)).unwrap();
        (tokens, token)
    }

    #[test]
    fn a_token_is_good_once_and_its_lost_answer_may_be_asked_for_again() {
        let (mut tokens, token) = drawn();
        tokens.bind(&token, ME.pid).unwrap();
        let id = tokens.redeem(&token, ME, b"one", at(1)).unwrap();
        assert_eq!(id.service(), "b");
        assert_eq!(tokens.redeem(&token, ME, b"one", at(2)), Ok(id));
        assert_eq!(tokens.redeem(&token, ME, b"two", at(2)), Err(TokenError::Used));
    }

    #[test]
    fn a_token_is_bound_to_user_process_and_time() {
        let (mut tokens, token) = drawn();
        assert_eq!(tokens.redeem(&token, ME, b"", at(1)), Err(TokenError::Unbound));
        tokens.bind(&token, ME.pid).unwrap();
        assert_eq!(tokens.bind(&token, 8), Err(TokenError::Used), "a thief cannot bind it anew");
        for other in [Caller { uid: 0, ..ME }, Caller { pid: 8, ..ME }] {
            let refused = tokens.redeem(&token, other, b"", at(1));
            assert_eq!(refused, Err(TokenError::WrongCaller), "{other:?}");
        }
        let stranger = JoinToken::of(&[2; 32]);
        assert_eq!(tokens.redeem(&stranger, ME, b"", at(1)), Err(TokenError::Unknown));
        assert_eq!(tokens.redeem(&token, ME, b"", at(120)), Err(TokenError::Expired));
        // Others' tries have not used it up.
        assert!(tokens.redeem(&token, ME, b"", at(119)).is_ok());
    }

    #[test]
    fn the_table_has_a_bound_and_forgets_what_is_over() {
        let mut tokens = Tokens::default();
        let id: SpiffeId = "spiffe://m/ns/a/svc/b".parse().unwrap();
        let token = |number: usize| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            JoinToken::of(&bytes)
        };
        for number in 0..TOKENS_MAX {
            tokens.draw(&token(number), id.clone(), 0, at(0)).unwrap();
        }
        let more = token(TOKENS_MAX);
        assert_eq!(tokens.draw(&more, id.clone(), 0, at(119)), Err(TokenError::Full));
        assert_eq!(tokens.draw(&more, id, 0, at(120)), Ok(()));
        assert_eq!(tokens.0.len(), 1);
    }

    #[test]
    fn a_token_is_shown_nowhere_and_read_back_as_it_was() {
        let token = JoinToken::of(&[0xab; 32]);
        assert_eq!(format!("{token:?}"), "JoinToken(…)");
        assert_eq!(JoinToken::parse(token.reveal()), Some(token));
        assert_eq!(JoinToken::parse("ab"), None);
        assert_eq!(JoinToken::parse(&"g".repeat(64)), None);
    }
}
