//! Who gets an identity: by a token once, or by the user that it runs as; by the current identity from then on.

use std::time::Duration;

use base::Timestamp;
use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use super::{
    Authority,
    signer::{RequestError, Span, read_request},
};
use crate::{
    bundle::{Bundle, Trust},
    certificate::{Leaf, Serial},
    name::{LOG_USERS, SpiffeId},
    refusal::Refusal,
    token::{Caller, JoinToken, TokenError},
    verify::{Purpose, verify},
};

/// Processes whose last identity is remembered, for those that slept past its end.
const MEMBERS_MAX: usize = 1_024;
/// What stands before a request that the current key signs, so that no other signature can pass for it.
const PROOF_CONTEXT: &[u8] = b"skein identity renewal 1\0";

/// Who has which identity.
#[derive(Debug)]
pub(crate) struct Member {
    serial: Serial,
    id: SpiffeId,
    caller: Caller,
}

/// What a process gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// Its certificate, then the issuer's.
    pub chain: Vec<CertificateDer<'static>>,
    /// Whom to trust.
    pub bundle: Bundle,
}

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The token is not good.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Whoever asks may not have the name.
    #[error("user {uid} may not be {id}")]
    NotClaimed {
        /// The user.
        uid: u32,
        /// The name.
        id: SpiffeId,
    },
    /// The name is that of somebody who logs in by a secret.
    #[error("a name in the namespace `{LOG_USERS}` is proved by a secret, never by a certificate")]
    LogUser,
    /// The request is not one.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The identity that was shown is not accepted.
    #[error("the identity that was shown is refused: {0}")]
    Refused(Refusal),
    /// The key of the identity that was shown did not sign the request.
    #[error("the key of the identity that was shown did not sign the request")]
    WrongProof,
    /// The issuer's time is over, or has not come.
    #[error("it is {now} and the issuer is valid from {not_before} to {not_after}")]
    IssuerNotValid {
        /// The moment.
        now: Timestamp,
        /// Valid from here.
        not_before: Timestamp,
        /// Valid until here.
        not_after: Timestamp,
    },
    /// The signature could not be made.
    #[error("the certificate could not be signed")]
    Sign(#[from] rcgen::Error),
}

impl Authority {
    /// A token for a service that a user is about to run; `secret` from the system's chance.
    ///
    /// # Errors
    /// The name is none, or too many tokens wait.
    pub fn draw_token(
        &mut self,
        id: SpiffeId,
        uid: u32,
        secret: &[u8; 32],
        now: Timestamp,
    ) -> Result<JoinToken, TokenError> {
        let token = JoinToken::of(secret);
        self.tokens.draw(&token, id, uid, now)?;
        Ok(token)
    }

    /// Whether a user was let in before, or may be.
    pub(crate) fn lets_in(&self, uid: u32) -> bool {
        self.claims.are_of(uid) || self.members.iter().any(|it| it.caller.uid == uid)
    }

    /// Whose the certificates are of those that it issued last.
    pub(crate) fn issued(&self) -> impl Iterator<Item = (&Serial, &SpiffeId)> {
        self.members.iter().map(|it| (&it.serial, &it.id))
    }

    /// Says which process a token is for.
    ///
    /// # Errors
    /// The token is not known, or is for another process.
    pub fn bind_token(&mut self, token: &JoinToken, pid: u32) -> Result<(), TokenError> {
        self.tokens.bind(token, pid)
    }

    /// Gives a process its first identity.
    ///
    /// # Errors
    /// The token or the request is not good, or the issuer is not.
    pub fn join(
        &mut self,
        caller: Caller,
        token: &JoinToken,
        request: &[u8],
        now: Timestamp,
    ) -> Result<Issued, IssueError> {
        self.check_issuer(now)?;
        let id = self.tokens.redeem(token, caller, request, now)?;
        self.issue(&id, caller, request, now)
    }

    /// Gives a process an identity for the user that it runs as.
    ///
    /// # Errors
    /// The user may not have that name, the request is not good, or the issuer is not.
    pub fn claim(
        &mut self,
        caller: Caller,
        id: SpiffeId,
        request: &[u8],
        now: Timestamp,
    ) -> Result<Issued, IssueError> {
        self.check_issuer(now)?;
        let is_ours = id.trust_domain() == self.state.trust_domain;
        if !is_ours || !self.claims.allow(caller, &id) {
            return Err(IssueError::NotClaimed { uid: caller.uid, id });
        }
        self.issue(&id, caller, request, now)
    }

    /// Gives a process that has an identity its next one, under the same name.
    ///
    /// One that is over is good only for the very process that it was issued to: a machine that slept
    /// longer than an identity lives wakes up with nothing else.
    ///
    /// # Errors
    /// The identity is not accepted, its key did not sign the request, or the issuer is not good.
    pub fn renew(
        &mut self,
        caller: Caller,
        chain: &[CertificateDer<'static>],
        request: &[u8],
        proof: &[u8],
        now: Timestamp,
    ) -> Result<Issued, IssueError> {
        self.check_issuer(now)?;
        let own = chain.first().ok_or(IssueError::Refused(Refusal::NoCertificate))?;
        let leaf = Leaf::read(own).map_err(IssueError::Refused)?;
        let is_member =
            self.members.iter().any(|it| it.serial == leaf.serial && it.caller == caller);
        let judged_at = if is_member { now.min(leaf.not_after) } else { now };
        let trust =
            Trust::read(self.bundle()).map_err(|_| IssueError::Refused(Refusal::UnknownIssuer))?;
        verify(chain, &trust, Purpose::Call, judged_at).map_err(IssueError::Refused)?;
        check_proof(own, request, proof)?;
        let issued = self.issue(&leaf.id, caller, request, now)?;
        self.members.retain(|it| it.serial != leaf.serial);
        Ok(issued)
    }

    fn check_issuer(&self, now: Timestamp) -> Result<(), IssueError> {
        let (not_before, not_after) = self.issuer.validity();
        if (not_before..not_after).contains(&now) {
            return Ok(());
        }
        Err(IssueError::IssuerNotValid { now, not_before, not_after })
    }

    fn issue(
        &mut self,
        id: &SpiffeId,
        caller: Caller,
        request: &[u8],
        now: Timestamp,
    ) -> Result<Issued, IssueError> {
        if id.namespace() == LOG_USERS {
            return Err(IssueError::LogUser);
        }
        let request = read_request(request, id)?;
        let life = Duration::from_secs(self.config.identity_life_s);
        // Nothing outlives its issuer.
        let until = (now + life).min(self.issuer.validity().1);
        let hosts = self.hosts.get(id).map_or(&[][..], Vec::as_slice);
        let own = self.issuer.sign(id, hosts, &request, Span { now, until })?;
        let used = self.in_use_until.entry(self.state.signs.clone()).or_insert(until);
        *used = until.max(*used);
        if let Ok(leaf) = Leaf::read(&own) {
            if self.members.len() >= MEMBERS_MAX {
                self.members.pop_front();
            }
            self.members.push_back(Member { serial: leaf.serial, id: leaf.id, caller });
        }
        Ok(Issued { chain: vec![own, self.issuer.certificate().clone()], bundle: self.bundle() })
    }
}

/// What the key of the current identity signs to ask for the next one.
pub(crate) fn proof_of(request: &[u8]) -> Vec<u8> {
    [PROOF_CONTEXT, request].concat()
}

fn check_proof(own: &CertificateDer<'_>, request: &[u8], proof: &[u8]) -> Result<(), IssueError> {
    let own = EndEntityCert::try_from(own).map_err(|_| IssueError::Refused(Refusal::Malformed))?;
    own.verify_signature(webpki::ring::ECDSA_P256_SHA256, &proof_of(request), proof)
        .map_err(|_| IssueError::WrongProof)
}
