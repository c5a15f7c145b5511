//! Where a redirect leads.

use std::fmt::Write;

use super::{Redirect, path_change::with_query};

/// How a request came in, as far as a redirect asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival<'a> {
    /// `http` or `https`.
    pub scheme: &'a str,
    /// Host without port; empty where the request names none.
    pub host: &'a str,
    /// Port of the listener, which the Gateway API wants here, not the port of the Host field.
    pub listener_port: u16,
    /// Normalised path.
    pub path: &'a str,
    /// Query without the question mark.
    pub query: Option<&'a str>,
}

impl Redirect {
    /// The value of `Location`. The query stays; `prefix` is as in [`super::PathChange::apply`].
    ///
    /// The port is the redirect's; else, where it names a scheme, the one that belongs to that
    /// scheme; else the listener's. It is left out where it belongs to the scheme (Gateway API,
    /// `HTTPRequestRedirectFilter`). Where no host is known, which only HTTP/1.0 can bring about,
    /// the location is a path.
    #[must_use]
    pub fn location(&self, arrival: &Arrival<'_>, prefix: &str) -> String {
        let scheme = self.scheme.as_deref().unwrap_or(arrival.scheme);
        let host = self.hostname.as_deref().unwrap_or(arrival.host);
        let mut location = String::new();
        if !host.is_empty() {
            location = format!("{scheme}://{host}");
            let port = self.port(arrival);
            if well_known_port(scheme) != Some(port) {
                // Writing to a String cannot fail.
                write!(location, ":{port}").unwrap_or_default();
            }
        }
        match &self.path {
            Some(change) => location.push_str(&change.apply(arrival.path, prefix)),
            None => location.push_str(arrival.path),
        }
        with_query(location, arrival.query)
    }

    fn port(&self, arrival: &Arrival<'_>) -> u16 {
        let of_scheme = || self.scheme.as_deref().and_then(well_known_port);
        self.port.or_else(of_scheme).unwrap_or(arrival.listener_port)
    }
}

fn well_known_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}
