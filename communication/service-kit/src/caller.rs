//! Who a request comes from: a service of ours, or somebody outside whom the edge has let in.
//!
//! A service knows whose each thing is; the edge has found out who asks and how far he reaches
//! (`skein-principal`, `skein-reach`), and takes these words off whatever comes from outside. Where callers
//! show identities, the words of the edge's identity alone are believed, every other identity is one of
//! ours, and a call of the edge that says nothing reaches nothing. Where nobody shows anything, every
//! process of this machine may call every service, and the words are believed where they are.

use std::{convert::Infallible, sync::Arc};

use axum::extract::FromRequestParts;
use base::headers;
use http::{HeaderMap, request::Parts};
use mesh_policy::edge_access::Reach;

use crate::{problem::Problem, request::text};

/// Who asks. An extractor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A service of ours, or an operator who calls as one.
    Inside,
    /// Somebody outside.
    Outside {
        /// Who, where the edge has asked.
        name: Option<Arc<str>>,
        /// How far he reaches.
        reach: Reach,
    },
}

impl Caller {
    /// Whether something of this owner is there for him.
    #[must_use]
    pub fn reaches(&self, owner: &str) -> bool {
        match self {
            Self::Inside | Self::Outside { reach: Reach::All, .. } => true,
            Self::Outside { reach: Reach::Own, name } => name.as_deref() == Some(owner),
            Self::Outside { reach: Reach::Nothing, .. } => false,
        }
    }

    /// The one owner whose things are there for him; `None` where those of everybody are.
    ///
    /// # Errors
    /// 401 for whom nothing is there.
    pub fn bound_to(&self) -> Result<Option<&str>, Problem> {
        match self {
            Self::Inside | Self::Outside { reach: Reach::All, .. } => Ok(None),
            Self::Outside { reach: Reach::Own, name: Some(name) } => Ok(Some(name)),
            Self::Outside { .. } => Err(Problem::of(
                base::Code::Unauthenticated,
                "who asks is not known, and nothing is everybody's here",
            )),
        }
    }

    /// Of a request with these fields that came over a connection on which this service was shown.
    /// `edge` is the name of the edge, where callers have to show who they are.
    pub(crate) fn of(fields: &HeaderMap, shown: Option<&str>, edge: Option<&str>) -> Self {
        // Beside a program the connection ends at its proxy, which says what was shown there.
        let told = || text(fields, headers::SKEIN_CALLER).and_then(service_of);
        let word = text(fields, headers::SKEIN_REACH);
        match (shown.or_else(told), edge) {
            (Some(service), Some(edge)) if service != edge => Self::Inside,
            (None, None) if word.is_none() => Self::Inside,
            (_, None) | (Some(_), Some(_)) => Self::outside(fields, word),
            // Nobody can have come this way in order.
            (None, Some(_)) => Self::Outside { name: None, reach: Reach::Nothing },
        }
    }

    fn outside(fields: &HeaderMap, word: Option<&str>) -> Self {
        let name = text(fields, headers::SKEIN_PRINCIPAL).map(Arc::from);
        let reach = word.and_then(Reach::parse).unwrap_or(Reach::Nothing);
        // Twice said is not said: which of the two would the next program read?
        let is_once = |name| fields.get_all(name).iter().count() <= 1;
        if is_once(headers::SKEIN_REACH) && is_once(headers::SKEIN_PRINCIPAL) {
            Self::Outside { name, reach }
        } else {
            Self::Outside { name: None, reach: Reach::Nothing }
        }
    }
}

/// The service of an identity, `spiffe://<trust domain>/ns/<namespace>/svc/<service>`.
fn service_of(identity: &str) -> Option<&str> {
    identity.strip_prefix("spiffe://")?.rsplit_once("/svc/").map(|(_, service)| service)
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        // Outside the stack, as in a test of one handler, nobody has come from anywhere.
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or(Self::Inside))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is believed of these fields over a connection that has shown this, and where edges have a name.
    fn caller(fields: &[(&'static str, &str)], shown: Option<&str>, edge: Option<&str>) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, value.parse().unwrap());
        }
        match Caller::of(&map, shown, edge) {
            Caller::Inside => "inside".to_owned(),
            Caller::Outside { name, reach } => {
                format!("{} {}", name.as_deref().unwrap_or("-"), reach.as_str())
            }
        }
    }

    const ALICE: [(&str, &str); 2] = [("skein-principal", "alice"), ("skein-reach", "own")];
    const GATE: (&str, &str) = ("skein-caller", "spiffe://m/ns/a/svc/gate");
    const STOCK: (&str, &str) = ("skein-caller", "spiffe://m/ns/a/svc/stock");

    #[test]
    fn where_callers_show_who_they_are_only_the_edge_is_believed_and_its_silence_reaches_nothing() {
        let strict = |fields: &[_], shown| caller(fields, shown, Some("gate"));
        assert_eq!(strict(&ALICE, Some("gate")), "alice own");
        assert_eq!(strict(&[], Some("gate")), "- nothing");
        assert_eq!(strict(&[("skein-reach", "all")], Some("gate")), "- all");
        assert_eq!(strict(&[("skein-reach", "everything")], Some("gate")), "- nothing");
        assert_eq!(strict(&ALICE, Some("stock")), "inside");
        assert_eq!(strict(&[], Some("stock")), "inside");
        // What a connection has shown is stronger than what is said on it.
        assert_eq!(strict(&[STOCK], Some("gate")), "- nothing");
        assert_eq!(strict(&[], None), "- nothing");
        assert_eq!(strict(&[("skein-reach", "all")], None), "- nothing");
    }

    #[test]
    fn beside_a_program_the_proxy_says_who_was_shown() {
        let strict = |fields: &[_]| caller(fields, None, Some("gate"));
        assert_eq!(strict(&[&ALICE[..], &[GATE]].concat()), "alice own");
        assert_eq!(strict(&[GATE]), "- nothing");
        assert_eq!(strict(&[STOCK]), "inside");
        assert_eq!(strict(&[("skein-caller", "stock")]), "- nothing");
    }

    #[test]
    fn where_nobody_shows_anything_the_words_are_believed_and_their_absence_is_a_call_inside() {
        assert_eq!(caller(&ALICE, None, None), "alice own");
        assert_eq!(caller(&[], None, None), "inside");
        assert_eq!(caller(&[("skein-principal", "alice")], None, None), "inside");
        assert_eq!(
            caller(&[("skein-reach", "all"), ("skein-reach", "own")], None, None),
            "- nothing"
        );
    }

    #[test]
    fn an_owner_reaches_his_own_and_nobody_without_a_name_does() {
        let outside =
            |name: Option<&str>, reach| Caller::Outside { name: name.map(Arc::from), reach };
        let alice = outside(Some("alice"), Reach::Own);
        assert!(alice.reaches("alice") && !alice.reaches("bob") && !alice.reaches(""));
        assert_eq!(alice.bound_to().unwrap(), Some("alice"));
        assert!(outside(Some("alice"), Reach::All).reaches("bob") && Caller::Inside.reaches("bob"));
        for nobody in [outside(None, Reach::Own), outside(Some("alice"), Reach::Nothing)] {
            assert!(!nobody.reaches("alice") && !nobody.reaches(""));
            assert!(nobody.bound_to().is_err());
        }
    }
}
