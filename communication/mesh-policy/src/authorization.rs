//! Who may call what: (identity of the caller, method, route template) at the door of a service.
//!
//! Denied is whatever no rule allows, also at a service that no policy names: a door that was forgotten
//! is shut. It stands open only where nobody is asked who he is and nobody says who may come. Rules
//! only allow, so their order means nothing and one cannot undo another. What is judged is the
//! normalised path, the one that is forwarded. In audit mode the verdict is told and not enforced.

/// Rules for the door of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorization {
    /// Its name, for people.
    pub name: String,
    /// The service whose door it stands at.
    pub service: String,
    /// Whether a denial is enforced.
    pub mode: Mode,
    /// What is allowed.
    pub rules: Vec<Rule>,
}

/// What becomes of a denial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// The request is refused.
    #[default]
    Enforce,
    /// The request goes on, and the denial is told.
    Audit,
}

/// Some callers may do something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Whom it allows; none means nobody.
    pub callers: Vec<Caller>,
    /// Methods, as they are written in requests; none means every one.
    pub methods: Vec<String>,
    /// Templates of paths; none means every one.
    pub paths: Vec<Template>,
}

/// A caller that a rule allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// The one with exactly this identity.
    Identity(String),
    /// Whoever has shown an identity.
    AnyIdentity,
}

/// A path in which `{name}` stands for one element, such as `/api/orders/{id}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    text: String,
    elements: Vec<Element>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Element {
    Exact(String),
    Any,
}

/// Why a text is no template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseTemplateError {
    /// It does not begin with a slash.
    #[error("a template begins with `/`")]
    NoSlash,
    /// A brace stands elsewhere than around the name of a whole element.
    #[error("braces stand around the name of a whole element, as in `/orders/{{id}}`")]
    Brace,
    /// An element is empty, `.` or `..`, or has a letter that no normalised path has.
    #[error("an element is empty, `.` or `..`, or has a letter that no path has")]
    Element,
}

/// A request, as far as it is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked<'a> {
    /// The identity that the caller has shown.
    pub caller: Option<&'a str>,
    /// Method, in the case that it came in.
    pub method: &'a str,
    /// Normalised path ([`crate::path`]), without the query.
    pub path: &'a str,
}

/// What was decided, and by what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// No policy names the service, and its caller was not asked who he is: there is nothing to judge by.
    Unjudged,
    /// A rule allows it.
    Allowed {
        /// The policy with the rule.
        policy: &'a str,
        /// Which of its rules, from 0.
        rule: usize,
    },
    /// No rule allows it.
    Denied {
        /// How near it came.
        reason: Denial,
        /// Whether that is enforced.
        mode: Mode,
    },
}

/// How near a denied request came to being allowed; the nearest is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Denial {
    /// No policy stands at that door.
    NoPolicy,
    /// The caller has shown no identity.
    NoIdentity,
    /// No rule names the caller.
    Caller,
    /// A rule names the caller, for other paths.
    Path,
    /// A rule names caller and path, with other methods.
    Method,
}

impl Denial {
    /// The word in metrics, logs and for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoPolicy => "no_policy",
            Self::NoIdentity => "no_identity",
            Self::Caller => "caller_not_allowed",
            Self::Path => "path_not_allowed",
            Self::Method => "method_not_allowed_for_caller",
        }
    }
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// It could not match a path, or not the ones that its writer meant.
    pub fn parse(text: &str) -> Result<Self, ParseTemplateError> {
        let rest = text.strip_prefix('/').ok_or(ParseTemplateError::NoSlash)?;
        let elements = if rest.is_empty() {
            Vec::new()
        } else {
            rest.split('/').map(element).collect::<Result<_, _>>()?
        };
        Ok(Self { text: text.to_owned(), elements })
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a normalised path is one of its. A slash at the end makes another path.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let Some(rest) = path.strip_prefix('/') else { return false };
        if self.elements.is_empty() {
            return rest.is_empty();
        }
        let mut given = rest.split('/');
        let all = self.elements.iter().all(|element| match (element, given.next()) {
            (Element::Exact(exact), Some(given)) => exact == given,
            (Element::Any, Some(given)) => !given.is_empty(),
            (_, None) => false,
        });
        all && given.next().is_none()
    }
}

fn element(text: &str) -> Result<Element, ParseTemplateError> {
    if let Some(name) = text.strip_prefix('{').and_then(|it| it.strip_suffix('}')) {
        let is_name = !name.is_empty()
            && name.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_' || it == b'-');
        return if is_name { Ok(Element::Any) } else { Err(ParseTemplateError::Brace) };
    }
    if text.contains(['{', '}']) {
        return Err(ParseTemplateError::Brace);
    }
    let is_letter = |it: u8| it.is_ascii_graphic() && !b"?#\\%;*".contains(&it);
    let is_element = !matches!(text, "" | "." | "..") && text.bytes().all(is_letter);
    if is_element { Ok(Element::Exact(text.to_owned())) } else { Err(ParseTemplateError::Element) }
}

impl Rule {
    /// Whether it allows this; else how near it comes.
    fn judge(&self, asked: &Asked<'_>) -> Result<(), Denial> {
        let caller = asked.caller.ok_or(Denial::NoIdentity)?;
        let is_caller = self.callers.iter().any(|it| match it {
            Caller::Identity(identity) => identity == caller,
            Caller::AnyIdentity => true,
        });
        if !is_caller {
            return Err(Denial::Caller);
        }
        if !self.paths.is_empty() && !self.paths.iter().any(|it| it.matches(asked.path)) {
            return Err(Denial::Path);
        }
        if !self.methods.is_empty() && !self.methods.iter().any(|it| it == asked.method) {
            return Err(Denial::Method);
        }
        Ok(())
    }
}

/// Judges a request at the door of a service.
///
/// Where several policies stand at it, one rule of any of them is enough. A denial is enforced
/// unless each of them is in audit mode.
#[must_use]
pub fn judge<'a>(policies: &'a [Authorization], service: &str, asked: &Asked<'_>) -> Verdict<'a> {
    let mut nearest = Denial::NoPolicy;
    let (mut stands, mut enforced) = (false, false);
    for policy in policies.iter().filter(|it| it.service == service) {
        stands = true;
        enforced |= policy.mode == Mode::Enforce;
        // A policy without rules denies all that come.
        let without = if asked.caller.is_some() { Denial::Caller } else { Denial::NoIdentity };
        nearest = nearest.max(without);
        for (rule, index) in policy.rules.iter().zip(0..) {
            match rule.judge(asked) {
                Ok(()) => return Verdict::Allowed { policy: &policy.name, rule: index },
                Err(denial) => nearest = nearest.max(denial),
            }
        }
    }
    if !stands && asked.caller.is_none() {
        return Verdict::Unjudged;
    }
    let mode = if stands && !enforced { Mode::Audit } else { Mode::Enforce };
    Verdict::Denied { reason: nearest, mode }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CART: &str = "spiffe://m/ns/shop/svc/cart";
    const TILL: &str = "spiffe://m/ns/shop/svc/till";

    fn rule(callers: &[&str], methods: &[&str], paths: &[&str]) -> Rule {
        let caller = |it: &&str| match *it {
            "*" => Caller::AnyIdentity,
            identity => Caller::Identity(identity.to_owned()),
        };
        Rule {
            callers: callers.iter().map(caller).collect(),
            methods: methods.iter().map(|it| (*it).to_owned()).collect(),
            paths: paths.iter().map(|it| Template::parse(it).unwrap()).collect(),
        }
    }

    fn policy(mode: Mode, rules: Vec<Rule>) -> Authorization {
        let (name, service) = ("orders".to_owned(), "orders".to_owned());
        Authorization { name, service, mode, rules }
    }

    fn orders() -> Vec<Authorization> {
        let rules = vec![
            rule(&[CART], &["PUT", "DELETE"], &["/api/orders/{id}"]),
            rule(&["*"], &["GET"], &["/api/orders/{id}", "/api/orders"]),
        ];
        vec![policy(Mode::Enforce, rules)]
    }

    #[track_caller]
    fn check(asked: (Option<&str>, &str, &str), expected: Result<usize, Denial>) {
        let (caller, method, path) = asked;
        let policies = orders();
        let judged = match judge(&policies, "orders", &Asked { caller, method, path }) {
            Verdict::Allowed { rule, .. } => Ok(rule),
            Verdict::Denied { reason, mode } => {
                assert_eq!(mode, Mode::Enforce);
                Err(reason)
            }
            Verdict::Unjudged => panic!("a policy stands there"),
        };
        assert_eq!(judged, expected, "{asked:?}");
    }

    #[test]
    fn what_no_rule_allows_is_denied_and_the_nearest_rule_says_why() {
        check((Some(CART), "PUT", "/api/orders/7"), Ok(0));
        check((Some(TILL), "GET", "/api/orders/7"), Ok(1));
        check((Some(TILL), "GET", "/api/orders"), Ok(1));
        check((Some(TILL), "PUT", "/api/orders/7"), Err(Denial::Method));
        check((Some(CART), "POST", "/api/orders/7"), Err(Denial::Method));
        check((Some(CART), "put", "/api/orders/7"), Err(Denial::Method));
        check((Some(TILL), "GET", "/admin"), Err(Denial::Path));
        check((None, "GET", "/api/orders/7"), Err(Denial::NoIdentity));
    }

    /// mesh 12b: 52.
    #[test]
    fn a_path_that_only_looks_like_an_allowed_one_is_denied() {
        for path in [
            "",
            "/",
            "/api/orders/",
            "/api/orders/7/",
            "/api/orders//",
            "//api/orders/7",
            "/api/orders/7/items",
            "/api/Orders/7",
            "/api/orders;x/7",
            "api/orders/7",
            "/x/../api/orders",
            "/api/%6frders/7",
        ] {
            check((Some(TILL), "GET", path), Err(Denial::Path));
        }
    }

    #[test]
    fn a_door_without_a_policy_and_one_without_rules_are_shut() {
        let asked = Asked { caller: Some(CART), method: "GET", path: "/" };
        let denied = |reason| Verdict::Denied { reason, mode: Mode::Enforce };
        assert_eq!(judge(&orders(), "stock", &asked), denied(Denial::NoPolicy));
        assert_eq!(judge(&[], "orders", &asked), denied(Denial::NoPolicy));
        let shut = [policy(Mode::Enforce, vec![])];
        assert_eq!(judge(&shut, "orders", &asked), denied(Denial::Caller));
        let nobody = [policy(Mode::Enforce, vec![rule(&[], &[], &[])])];
        assert_eq!(judge(&nobody, "orders", &asked), denied(Denial::Caller));
    }

    #[test]
    fn only_where_nobody_is_asked_and_nobody_says_who_may_come_a_door_stands_open() {
        let asked = Asked { caller: None, method: "GET", path: "/" };
        assert_eq!(judge(&orders(), "stock", &asked), Verdict::Unjudged);
        let shut = [policy(Mode::Enforce, vec![])];
        let denied = Verdict::Denied { reason: Denial::NoIdentity, mode: Mode::Enforce };
        assert_eq!(judge(&shut, "orders", &asked), denied);
    }

    #[test]
    fn bytes_without_a_path_pass_for_whom_a_rule_allows_everything() {
        let bytes = Asked { caller: Some(CART), method: "", path: "" };
        let everything = [policy(Mode::Enforce, vec![rule(&[CART], &[], &[])])];
        let allowed = Verdict::Allowed { policy: "orders", rule: 0 };
        assert_eq!(judge(&everything, "orders", &bytes), allowed);
        let denied = |reason| Verdict::Denied { reason, mode: Mode::Enforce };
        assert_eq!(judge(&orders(), "orders", &bytes), denied(Denial::Path));
        let methods = [policy(Mode::Enforce, vec![rule(&[CART], &["GET"], &[])])];
        assert_eq!(judge(&methods, "orders", &bytes), denied(Denial::Method));
    }

    #[test]
    fn an_identity_is_compared_as_a_whole() {
        let other = format!("{CART}2");
        check((Some(&other), "PUT", "/api/orders/7"), Err(Denial::Method));
        check((Some(&CART[..CART.len() - 1]), "DELETE", "/api/orders/7"), Err(Denial::Method));
        check((Some("*"), "PUT", "/api/orders/7"), Err(Denial::Method));
        let policies = [policy(Mode::Enforce, vec![rule(&[CART], &[], &[])])];
        let asked = Asked { caller: Some(&other), method: "GET", path: "/" };
        let denied = Verdict::Denied { reason: Denial::Caller, mode: Mode::Enforce };
        assert_eq!(judge(&policies, "orders", &asked), denied);
    }

    #[test]
    fn in_audit_mode_a_denial_is_told_unless_another_policy_enforces() {
        let asked = Asked { caller: Some(TILL), method: "GET", path: "/" };
        let audit = policy(Mode::Audit, vec![rule(&[CART], &[], &[])]);
        let mode = |policies: &[Authorization]| match judge(policies, "orders", &asked) {
            Verdict::Denied { mode, .. } => mode,
            other => panic!("{other:?}"),
        };
        assert_eq!(mode(std::slice::from_ref(&audit)), Mode::Audit);
        let enforced = policy(Mode::Enforce, vec![]);
        assert_eq!(mode(&[audit.clone(), enforced.clone()]), Mode::Enforce);
        assert_eq!(mode(&[enforced, audit]), Mode::Enforce, "whichever is read last");
    }

    #[test]
    fn a_template_that_could_mean_something_else_is_refused() {
        for (text, expected) in [
            ("", ParseTemplateError::NoSlash),
            ("orders", ParseTemplateError::NoSlash),
            ("/orders/{id", ParseTemplateError::Brace),
            ("/orders/x{id}", ParseTemplateError::Brace),
            ("/orders/{}", ParseTemplateError::Brace),
            ("/orders/{a b}", ParseTemplateError::Brace),
            ("/orders//x", ParseTemplateError::Element),
            ("/orders/", ParseTemplateError::Element),
            ("/orders/../x", ParseTemplateError::Element),
            ("/orders/*", ParseTemplateError::Element),
            ("/orders?x", ParseTemplateError::Element),
            ("/orders/%2f", ParseTemplateError::Element),
        ] {
            assert_eq!(Template::parse(text), Err(expected), "{text}");
        }
        let root = Template::parse("/").unwrap();
        assert_eq!((root.matches("/"), root.matches("//"), root.matches("")), (true, false, false));
        assert_eq!(Template::parse("/a/{b}").unwrap().as_str(), "/a/{b}");
    }
}
