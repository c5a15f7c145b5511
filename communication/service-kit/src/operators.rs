//! Who may change something at the port of operators. To look is for whoever reaches it.
//!
//! Everybody on a machine reaches its loopback interface, and so does every page in a browser there, which
//! needs no answer to do harm: a change shows a token, as at the page.

use base::Code;
use callers::{ApiKey, KeyDigest};
use http::{HeaderMap, Method, header};

use crate::problem::Problem;

/// Who may change something at the port of operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Operators {
    /// Whoever reaches it.
    #[default]
    Anybody,
    /// Whoever shows the token of this digest, as `Authorization: Bearer …`.
    Holding(KeyDigest),
    /// Nobody: a token is asked for, and none is known.
    Nobody,
}

impl Operators {
    /// Refuses a change by whoever does not show the token.
    pub(crate) fn check(self, method: &Method, fields: &HeaderMap) -> Result<(), Problem> {
        let token = match self {
            _ if matches!(*method, Method::GET | Method::HEAD) => return Ok(()),
            Self::Anybody => return Ok(()),
            Self::Holding(token) => Some(token),
            Self::Nobody => None,
        };
        let shown = fields.get(header::AUTHORIZATION).and_then(|it| it.to_str().ok());
        let shown = shown.and_then(|it| it.strip_prefix("Bearer ")?.parse::<ApiKey>().ok());
        // By digests: the time that a look takes tells of these alone, which nobody can choose.
        if token.is_some() && shown.map(|it| it.digest()) == token {
            return Ok(());
        }
        let detail = "a change needs the token of operators: Authorization: Bearer …";
        Err(Problem::of(Code::Unauthenticated, detail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(operators: Operators, method: &Method, shown: &str, expected: bool) {
        let mut fields = HeaderMap::new();
        if !shown.is_empty() {
            fields.insert(header::AUTHORIZATION, shown.parse().unwrap());
        }
        assert_eq!(operators.check(method, &fields).is_ok(), expected, "{method}");
    }

    #[test]
    fn a_look_is_anybody_s_and_a_change_is_made_by_whoever_holds_the_token() {
        let (token, other) = (ApiKey::draw().unwrap(), ApiKey::draw().unwrap());
        let holding = Operators::Holding(token.digest());
        let bearer = |it: &ApiKey| format!("Bearer {}", it.reveal());
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
            check(holding, &method, &bearer(&token), true);
            for wrong in ["", "Bearer ", "Bearer x", token.reveal(), &bearer(&other)] {
                check(holding, &method, wrong, false);
            }
            check(Operators::Anybody, &method, "", true);
            check(Operators::Nobody, &method, &bearer(&token), false);
            check(Operators::Nobody, &method, "", false);
        }
        check(holding, &Method::GET, "", true);
        check(holding, &Method::HEAD, &bearer(&other), true);
    }
}
