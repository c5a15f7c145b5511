//! Who may look at the page, and act on it: whoever has the link that was printed.
//!
//! The link bears a token, which is traded for a cookie at the first look and leaves the address then;
//! programs show it in a header. Pages of others never act here, whatever cookie goes with what they ask.

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
};
use base::Code;
use callers::{ApiKey, KeyDigest};
use service_kit::Problem;

/// Which page a request comes from, in a browser's own words.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// The token in an address.
const IN_ADDRESS: &str = "t=";
/// What a person reads who comes without one.
const STRANGER: &str = include_str!("../../assets/stranger.html");

/// The door of the page.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    /// What is kept of the token; nobody is asked where there is none.
    token: Option<KeyDigest>,
    cookie: String,
}

impl Door {
    /// Of the page at this port: a browser sends cookies to every port of a host.
    pub(crate) fn new(token: Option<&ApiKey>, port: u16) -> Self {
        Self { token: token.map(ApiKey::digest), cookie: format!("skein-page-{port}") }
    }

    /// An answer in the place of the page's, where it is not to be served as it is.
    pub(crate) fn stop(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<Response> {
        let is_question = matches!(*method, Method::GET | Method::HEAD);
        if !is_question && let Err(foreign) = of_own_page(headers) {
            return Some(foreign.into_response());
        }
        let token = self.token.as_ref()?;
        // By digests: the time that a look takes tells of these alone, which nobody can choose.
        let is_it = |shown: &str| shown.parse::<ApiKey>().is_ok_and(|it| it.digest() == *token);
        let mut parts = uri.query().unwrap_or_default().split('&');
        if let Some(shown) =
            parts.find_map(|it| it.strip_prefix(IN_ADDRESS)).filter(|_| is_question)
        {
            return Some(if is_it(shown) { self.traded(uri, shown) } else { stranger(uri) });
        }
        if bearer(headers).is_some_and(is_it) || self.cookies(headers).any(is_it) {
            return None;
        }
        Some(stranger(uri))
    }

    /// To the same place without the token.
    fn traded(&self, uri: &Uri, token: &str) -> Response {
        let rest = uri.query().unwrap_or_default().split('&');
        let rest: Vec<&str> = rest.filter(|it| !it.starts_with(IN_ADDRESS)).collect();
        let mark = if rest.is_empty() { "" } else { "?" };
        let to = format!("{}{mark}{}", uri.path(), rest.join("&"));
        let cookie = format!("{}={token}; HttpOnly; SameSite=Strict; Path=/", self.cookie);
        let mut response = StatusCode::SEE_OTHER.into_response();
        let fields = [
            (header::LOCATION, to.as_str()),
            (header::SET_COOKIE, cookie.as_str()),
            (header::CACHE_CONTROL, "no-store"),
            (header::REFERRER_POLICY, "no-referrer"),
        ];
        for (name, value) in fields {
            // Both are made of what came in a request line.
            if let Ok(value) = HeaderValue::from_str(value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }

    fn cookies<'a>(&'a self, headers: &'a HeaderMap) -> impl Iterator<Item = &'a str> {
        let lines = headers.get_all(header::COOKIE).iter().filter_map(|it| it.to_str().ok());
        let pairs = lines.flat_map(|it| it.split(';')).filter_map(|it| it.trim().split_once('='));
        pairs.filter(|(name, _)| *name == self.cookie).map(|(_, value)| value)
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

/// In words to a person, as a problem to a program.
fn stranger(uri: &Uri) -> Response {
    if uri.path().starts_with("/api/") {
        let detail = "the token of the page is needed: Authorization: Bearer …";
        return Problem::of(Code::Unauthenticated, detail).into_response();
    }
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'"),
    ];
    (StatusCode::UNAUTHORIZED, headers, STRANGER).into_response()
}

/// Refuses what a page of somebody else asks in a browser on this machine.
fn of_own_page(headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name: &HeaderName| headers.get(name).and_then(|it| it.to_str().ok());
    let is_own = match (text(&FETCH_SITE), text(&header::ORIGIN)) {
        (Some(site), _) if site != "same-origin" => false,
        (_, Some(origin)) => text(&header::HOST).is_some_and(|host| {
            // A name of somebody else may lead here too.
            origin.strip_prefix("http://") == Some(host) && is_loopback(host)
        }),
        // No browser.
        (_, None) => true,
    };
    if is_own {
        return Ok(());
    }
    Err(Problem::refusal(StatusCode::FORBIDDEN, "foreign_page", "another page asks for this"))
}

fn is_loopback(host: &str) -> bool {
    let authority = format!("http://{host}/").parse::<Uri>().ok();
    let name = authority.as_ref().and_then(Uri::host).unwrap_or_default();
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || address.parse::<std::net::IpAddr>().is_ok_and(|it| it.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(headers: &[(HeaderName, &str)], is_let_in: bool) {
        let headers: HeaderMap =
            headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        assert_eq!(of_own_page(&headers).is_ok(), is_let_in, "{headers:?}");
    }

    #[test]
    fn only_the_own_page_may_ask_in_a_browser() {
        let from = |site, origin, host| {
            [(FETCH_SITE, site), (header::ORIGIN, origin), (header::HOST, host)]
        };
        check(&[], true);
        check(&from("same-origin", "http://127.0.0.1:7000", "127.0.0.1:7000"), true);
        check(&from("same-origin", "http://localhost:7000", "localhost:7000"), true);
        check(&from("same-origin", "http://[::1]:7000", "[::1]:7000"), true);
        check(&from("cross-site", "http://evil.example", "127.0.0.1:7000"), false);
        check(&from("same-site", "http://localhost:8000", "localhost:7000"), false);
        check(&[(FETCH_SITE, "none")], false);
        // A name of the page's own that leads to this machine.
        check(&from("same-origin", "http://evil.example:7000", "evil.example:7000"), false);
        check(
            &[(header::ORIGIN, "http://localhost:7001"), (header::HOST, "localhost:7000")],
            false,
        );
        check(&[(header::ORIGIN, "null"), (header::HOST, "localhost:7000")], false);
    }

    fn told(
        door: &Door,
        method: &Method,
        target: &str,
        fields: &[(HeaderName, &str)],
    ) -> (u16, String) {
        let headers: HeaderMap =
            fields.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        let Some(answer) = door.stop(method, &target.parse().unwrap(), &headers) else {
            return (200, String::new());
        };
        let to = answer.headers().get(header::LOCATION).map(|it| it.to_str().unwrap().to_owned());
        (answer.status().as_u16(), to.unwrap_or_default())
    }

    #[test]
    fn the_link_is_traded_for_a_cookie_and_nothing_else_opens_the_page() {
        let (token, other) = (ApiKey::draw().unwrap(), ApiKey::draw().unwrap());
        let (good, bad) = (token.reveal(), other.reveal());
        let door = Door::new(Some(&token), 7_000);
        let get =
            |target: &str, fields: &[(HeaderName, &str)]| told(&door, &Method::GET, target, fields);
        let link = format!("/topology?a=b&t={good}&c=d");
        assert_eq!(get(&link, &[]), (303, "/topology?a=b&c=d".to_owned()));
        assert_eq!(get(&format!("/?t={good}"), &[]), (303, "/".to_owned()));
        let answer = door.stop(&Method::GET, &link.parse().unwrap(), &HeaderMap::new()).unwrap();
        let cookie = answer.headers()[header::SET_COOKIE].to_str().unwrap().to_owned();
        assert_eq!(cookie, format!("skein-page-7000={good}; HttpOnly; SameSite=Strict; Path=/"));
        let cookie = |token: &str| format!("x=y; skein-page-7000={token}");
        assert_eq!(get("/", &[(header::COOKIE, &cookie(good))]).0, 200);
        assert_eq!(
            get("/api/alerts", &[(header::AUTHORIZATION, &format!("Bearer {good}"))]).0,
            200
        );
        let half = &good[..good.len() - 1];
        for wrong in [bad, half, ""] {
            assert_eq!(get(&format!("/?t={wrong}"), &[(header::COOKIE, &cookie(good))]).0, 401);
            assert_eq!(get("/", &[(header::COOKIE, &cookie(wrong))]).0, 401, "{wrong}");
            let bearer = format!("Bearer {wrong}");
            assert_eq!(get("/api/alerts", &[(header::AUTHORIZATION, &bearer)]).0, 401, "{wrong}");
        }
        let elsewhere = format!("skein-page-7001={good}");
        assert_eq!(get("/", &[(header::COOKIE, &elsewhere)]).0, 401);
        let post = |fields: &[(HeaderName, &str)]| told(&door, &Method::POST, "/api/x", fields).0;
        assert_eq!(post(&[]), 401);
        let foreign = (FETCH_SITE, "cross-site");
        assert_eq!(post(&[(header::COOKIE, &cookie(good)), foreign]), 403);
        assert_eq!(post(&[(header::COOKIE, &cookie(good)), (FETCH_SITE, "same-origin")]), 200);
    }

    #[test]
    fn a_page_that_asks_nobody_is_still_no_other_pages() {
        let door = Door::new(None, 7_000);
        assert_eq!(told(&door, &Method::GET, "/", &[]).0, 200);
        assert_eq!(told(&door, &Method::POST, "/api/x", &[(FETCH_SITE, "cross-site")]).0, 403);
    }
}
