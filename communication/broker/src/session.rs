//! Who is at the other end of a connection, from its first request to its end, and how he says so.
//!
//! One who has shown a certificate is known from the start. Others say PLAIN (RFC 4616, in the frames of
//! KIP-152): inside TLS, or in plain text from this machine where nobody is asked anyway. Until somebody
//! who is asked has said it, he may ask for nothing else, and one wrong word ends the connection. It is
//! said once: there is no re-authentication (KIP-368), a connection ends with the secret that opened it.

use std::{
    fmt,
    future::pending,
    net::{IpAddr, SocketAddr},
    pin::Pin,
};

use crate::{
    metrics::BrokerMetrics,
    rights::{Client, Judge},
    users::{User, Users},
};
use bytes::Bytes;
use identity::Place;
use kafka_wire::{
    ApiKey, ErrorCode,
    messages::sasl::{
        SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest,
        SaslHandshakeResponse, Secret,
    },
};

/// The one mechanism.
const PLAIN: &str = "PLAIN";

/// Who came, as far as the door knows.
#[derive(Debug)]
pub(crate) enum Entered {
    /// He has shown who he is, or nobody asks; he may not say it again.
    As(Client),
    /// Nobody asks. He may say who he is.
    Unasked { users: Users, from: SocketAddr },
    /// He is to say who he is before anything else. The place is one of few.
    Stranger { users: Users, judge: Judge, place: Place },
}

/// How far he has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// He has said nothing.
    New,
    /// He has chosen the mechanism.
    Chosen,
    /// He has said it, or need not.
    In,
    /// What he said was wrong, and so the connection ends.
    Out,
}

/// The end of a login.
pub(crate) type Over = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One connection's.
pub(crate) struct Session {
    client: Client,
    host: IpAddr,
    stage: Stage,
    users: Option<Users>,
    /// By whom somebody is judged once he is known; nobody judges where nobody asks.
    judge: Option<Judge>,
    /// Of a stranger, for as long as he is one.
    place: Option<Place>,
    over: Option<Over>,
    metrics: BrokerMetrics,
}

impl Session {
    pub(crate) fn new(entered: Entered, host: IpAddr, metrics: BrokerMetrics) -> Self {
        let (client, users, judge, place) = match entered {
            Entered::As(client) => (client, None, None, None),
            Entered::Unasked { users, from } => (Client::Anybody { from }, Some(users), None, None),
            Entered::Stranger { users, judge, place } => {
                (Client::Nobody, Some(users), Some(judge), Some(place))
            }
        };
        Self { client, host, stage: Stage::New, users, judge, place, over: None, metrics }
    }

    /// What he may do.
    pub(crate) const fn client(&self) -> &Client {
        &self.client
    }

    /// Where he came from.
    pub(crate) const fn host(&self) -> IpAddr {
        self.host
    }

    /// Whether he still has to say who he is.
    pub(crate) const fn is_stranger(&self) -> bool {
        self.place.is_some()
    }

    /// Waits until he has to give way to others who are to say who they are; for ever where he has said it.
    /// Cancel-safe.
    pub(crate) async fn told_to_go(&mut self) {
        match &mut self.place {
            Some(place) => place.told_to_go().await,
            None => pending().await,
        }
    }

    /// Whether the connection is to end after the last answer.
    pub(crate) fn is_refused(&self) -> bool {
        self.stage == Stage::Out
    }

    /// The end of the login that has just been made.
    pub(crate) fn take_over(&mut self) -> Option<Over> {
        self.over.take()
    }

    /// Whether he may ask that now.
    pub(crate) fn hears(&self, api: ApiKey) -> bool {
        match self.stage {
            Stage::New => match api {
                ApiKey::ApiVersions | ApiKey::SaslHandshake => true,
                ApiKey::SaslAuthenticate => false,
                _ => !self.is_stranger(),
            },
            Stage::Chosen => matches!(api, ApiKey::SaslAuthenticate | ApiKey::ApiVersions),
            // Once is enough. The answer to who says it again says so.
            Stage::In => true,
            Stage::Out => false,
        }
    }

    /// In version 0 what is said next has no frame of Kafka's. Nobody is let in that way: librdkafka before 2.1 only
    /// looks whether there is that version before it asks in another.
    pub(crate) fn choose(
        &mut self,
        asked: &SaslHandshakeRequest,
        version: i16,
    ) -> SaslHandshakeResponse {
        let is_offered = self.users.is_some() && version > 0;
        let offered = if is_offered { vec![PLAIN.to_owned()] } else { Vec::new() };
        let error = if self.stage != Stage::New {
            ErrorCode::IllegalSaslState
        } else if offered.contains(&asked.mechanism) {
            ErrorCode::None
        } else {
            ErrorCode::UnsupportedSaslMechanism
        };
        self.stage = if error == ErrorCode::None { Stage::Chosen } else { Stage::Out };
        SaslHandshakeResponse { error, mechanisms: offered }
    }

    pub(crate) fn authenticate(
        &mut self,
        said: &SaslAuthenticateRequest,
    ) -> SaslAuthenticateResponse {
        let Some(users) = self.users.clone().filter(|_| self.stage == Stage::Chosen) else {
            self.stage = Stage::Out;
            return refused(ErrorCode::IllegalSaslState, "nobody is asked for that now");
        };
        match users.log_in(&said.auth_bytes.0) {
            Ok(user) => self.enter(user, users),
            Err(error) => {
                self.metrics.logins.with(&[error.as_str()]).inc();
                self.stage = Stage::Out;
                refused(ErrorCode::SaslAuthenticationFailed, "user name or secret is wrong")
            }
        }
    }

    fn enter(&mut self, user: User, users: Users) -> SaslAuthenticateResponse {
        self.metrics.logins.with(&["done"]).inc();
        if let Some(judge) = self.judge.clone() {
            self.client = Client::Known { id: user.id.clone(), judge };
        }
        self.over = Some(Box::pin(users.over(user)));
        self.stage = Stage::In;
        self.place = None;
        SaslAuthenticateResponse::default()
    }
}

/// The words are the same whatever is wrong.
fn refused(error: ErrorCode, message: &str) -> SaslAuthenticateResponse {
    SaslAuthenticateResponse {
        error,
        message: Some(message.to_owned()),
        auth_bytes: Secret(Bytes::new()),
        session_lifetime_ms: 0,
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, stage, .. } = self;
        formatter.debug_struct("Session").field("client", client).field("stage", stage).finish()
    }
}
