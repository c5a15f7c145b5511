//! Who may come in at an edge, and what he may ask for there: by route, method and role.
//!
//! Denied is whatever no rule allows. Rules only allow, so their order means nothing; where several do,
//! the one that reaches farthest counts. How far somebody reaches is said to the services behind: they
//! know whose each thing is, and no role. An edge of which no policy speaks asks nobody.

use std::{path::PathBuf, time::Duration};

/// Who may come in at one edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeAccess {
    /// Its name, for people.
    pub name: String,
    /// The edge at which it asks.
    pub gateway: String,
    /// The file of API keys.
    pub keys: Option<PathBuf>,
    /// Whose tokens are believed.
    pub tokens: Vec<TokenIssuer>,
    /// Routes, as `namespace/name`, at which nobody is asked.
    pub anonymous: Vec<String>,
    /// What is allowed to whom.
    pub rules: Vec<Rule>,
}

/// Somebody whose tokens are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenIssuer {
    /// What it calls itself in `iss`.
    pub issuer: String,
    /// What it calls us in `aud`.
    pub audience: String,
    /// Where the keys are found that sign for it, a JSON Web Key Set.
    pub keys: SignerSource,
    /// The claim that lists roles.
    pub roles_claim: String,
    /// The roles of those for whom it claims none.
    pub roles: Vec<String>,
}

/// Where the keys of an issuer are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignerSource {
    /// In a file that somebody else brings up to date.
    File(PathBuf),
    /// At an address of the issuer.
    Published(PublishedKeys),
}

/// Keys that an issuer publishes at an address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublishedKeys {
    /// `https`, or `http` of the loopback interface: in plain text anybody on the way could put in his own.
    pub url: String,
    /// Time from one good look to the next.
    pub refresh: Duration,
    /// Longest wait for one answer.
    pub timeout: Duration,
    /// So long after the last good look its keys are still believed.
    pub stale_max: Duration,
}

/// Those who have one of some roles may do something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// One of these is enough.
    pub roles: Vec<String>,
    /// Routes, as `namespace/name`; none means every one.
    pub routes: Vec<String>,
    /// Methods, as they are written in requests; none means every one.
    pub methods: Vec<String>,
    /// How far it reaches.
    pub reach: Reach,
}

/// How far somebody reaches behind the edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// To nothing that is anybody's: nobody was asked who it is.
    Nothing,
    /// To what is his own.
    Own,
    /// To what is anybody's.
    All,
}

impl Reach {
    /// The word in files and in the header.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Own => "own",
            Self::All => "all",
        }
    }

    /// The reach of a word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Nothing, Self::Own, Self::All].into_iter().find(|it| it.as_str() == word)
    }
}

/// Whom an edge asks at a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asking {
    /// Nobody: no policy speaks of the edge.
    NoPolicy,
    /// Nobody: the route is for everybody.
    Nobody,
    /// Everybody.
    Everybody,
}

/// Whom the edge of a name asks at a route.
#[must_use]
pub fn asking(policies: &[EdgeAccess], gateway: &str, route: &str) -> Asking {
    let mut of_edge = policies.iter().filter(|it| it.gateway == gateway).peekable();
    if of_edge.peek().is_none() {
        return Asking::NoPolicy;
    }
    let is_open = of_edge.any(|it| it.anonymous.iter().any(|it| it == route));
    if is_open { Asking::Nobody } else { Asking::Everybody }
}

/// How far somebody with these roles reaches by a route; `None` is denied.
#[must_use]
pub fn reach(
    policies: &[EdgeAccess],
    gateway: &str,
    asked: (&str, &str),
    roles: &[&str],
) -> Option<Reach> {
    deciding(policies, gateway, asked, roles).map(|it| it.reach)
}

/// A rule that lets somebody in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deciding<'p> {
    /// The policy that it stands in.
    pub policy: &'p str,
    /// Its place there, from 0.
    pub rule: usize,
    /// How far it reaches.
    pub reach: Reach,
}

/// The rule by which somebody with these roles reaches farthest by a route, the first of several; `None`
/// is denied.
#[must_use]
pub fn deciding<'p>(
    policies: &'p [EdgeAccess],
    gateway: &str,
    (route, method): (&str, &str),
    roles: &[&str],
) -> Option<Deciding<'p>> {
    let of_edge = policies.iter().filter(|it| it.gateway == gateway);
    let allows = |rule: &Rule| {
        (rule.routes.is_empty() || rule.routes.iter().any(|it| it == route))
            && (rule.methods.is_empty() || rule.methods.iter().any(|it| it == method))
            && rule.roles.iter().any(|it| roles.contains(&it.as_str()))
    };
    let all = of_edge
        .flat_map(|it| it.rules.iter().enumerate().map(move |(rule, told)| (it, rule, told)));
    let allowing = all.filter(|(_, _, told)| allows(told));
    let found =
        allowing.map(|(it, rule, told)| Deciding { policy: &it.name, rule, reach: told.reach });
    found.reduce(|first, next| if next.reach > first.reach { next } else { first })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(roles: &[&str], routes: &[&str], methods: &[&str], reach: Reach) -> Rule {
        let texts = |all: &[&str]| all.iter().map(|it| (*it).to_owned()).collect();
        Rule { roles: texts(roles), routes: texts(routes), methods: texts(methods), reach }
    }

    fn shop() -> Vec<EdgeAccess> {
        vec![EdgeAccess {
            name: "shop".to_owned(),
            gateway: "shop".to_owned(),
            keys: None,
            tokens: Vec::new(),
            anonymous: vec!["default/prices".to_owned()],
            rules: vec![
                rule(&["customer"], &["default/orders"], &[], Reach::Own),
                rule(&["auditor"], &[], &["GET"], Reach::All),
                rule(&["operator", "clerk"], &[], &[], Reach::All),
            ],
        }]
    }

    #[track_caller]
    fn check(roles: &str, asked: (&str, &str), expected: Option<Reach>) {
        let roles: Vec<_> = roles.split(' ').collect();
        assert_eq!(reach(&shop(), "shop", asked, &roles), expected, "{roles:?} {asked:?}");
    }

    #[test]
    fn what_no_rule_allows_is_denied_and_the_farthest_reach_counts() {
        let orders = "default/orders";
        check("customer", (orders, "PUT"), Some(Reach::Own));
        check("customer", ("default/stock", "GET"), None);
        check("auditor", (orders, "GET"), Some(Reach::All));
        check("auditor", (orders, "get"), None);
        check("auditor", (orders, "PUT"), None);
        check("customer auditor", (orders, "GET"), Some(Reach::All));
        check("customer auditor", (orders, "PUT"), Some(Reach::Own));
        check("clerk", ("default/stock", "DELETE"), Some(Reach::All));
        check("", (orders, "GET"), None);
        check("Operator", (orders, "GET"), None);
        assert_eq!(reach(&shop(), "other", (orders, "GET"), &["operator"]), None);
    }

    #[test]
    fn the_rule_that_decides_is_the_first_that_reaches_farthest() {
        let decides = |roles: &[&str]| {
            let shop = shop();
            let found = deciding(&shop, "shop", ("default/orders", "GET"), roles);
            found.map(|it| (it.policy.to_owned(), it.rule, it.reach))
        };
        let of_shop = |rule, reach| Some(("shop".to_owned(), rule, reach));
        assert_eq!(decides(&["customer"]), of_shop(0, Reach::Own));
        assert_eq!(decides(&["clerk", "customer", "auditor"]), of_shop(1, Reach::All));
        assert_eq!(decides(&["nobody"]), None);
    }

    #[test]
    fn an_edge_asks_everybody_but_at_what_is_for_everybody_and_without_a_policy() {
        assert_eq!(asking(&shop(), "shop", "default/orders"), Asking::Everybody);
        assert_eq!(asking(&shop(), "shop", "default/prices"), Asking::Nobody);
        assert_eq!(asking(&shop(), "shop", ""), Asking::Everybody);
        assert_eq!(asking(&shop(), "other", "default/orders"), Asking::NoPolicy);
    }

    #[test]
    fn a_reach_is_one_word() {
        for reach in [Reach::Nothing, Reach::Own, Reach::All] {
            assert_eq!(Reach::parse(reach.as_str()), Some(reach));
        }
        for other in ["", "All", "own,all", " own"] {
            assert_eq!(Reach::parse(other), None);
        }
    }
}
