//! The one reading of a host: what is matched is what is forwarded.
//!
//! Like [`crate::path`], and for the same reason: a request that names two hosts, or one that two
//! readers take for two, is a way around whoever judged the other one. So userinfo, escapes and
//! whatever else a resolver or a program may cut are refused, and where a request names its host
//! twice (`Host` beside an absolute target or `:authority`) both must say the same; a refusal is
//! 400. RFC 9112 section 3.2.2 would let a proxy ignore `Host` beside an absolute target; the
//! program behind may not.

use std::borrow::Cow;

/// Host and port that a request is meant for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority<'a> {
    /// In lower case, without port; empty where a request names none (RFC 9112 section 3.2).
    pub host: Cow<'a, str>,
    /// As it is written.
    pub port: Option<u16>,
}

/// Why a host is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum BadAuthority {
    /// Something else than letters, digits, `-`, `.` and `_`, or than an IPv6 address in brackets.
    #[error("a host of other characters than letters, digits, hyphens, dots and underscores")]
    Host,
    /// A port that is no number up to 65535.
    #[error("a port that is no number up to 65535")]
    Port,
    /// Longer than a name can be (RFC 1035 section 2.3.4).
    #[error("a host of more than 255 bytes")]
    TooLong,
    /// The request names two.
    #[error("two different hosts in one request")]
    Conflict,
}

/// A name has at most so many bytes, its last dot included (RFC 1035 section 2.3.4).
const HOST_BYTES_MAX: usize = 255;

impl<'a> Authority<'a> {
    /// Reads `host[:port]`; nothing is copied where the host is in lower case already.
    ///
    /// # Errors
    ///
    /// When it can be read in two ways or in none.
    pub fn parse(text: &'a str) -> Result<Self, BadAuthority> {
        let (host, behind) = match text.strip_prefix('[') {
            Some(inner) => {
                let end = inner.find(']').ok_or(BadAuthority::Host)?;
                let (address, behind) = (&inner[..end], &inner[end + 1..]);
                address.parse::<std::net::Ipv6Addr>().map_err(|_| BadAuthority::Host)?;
                (&text[..end + 2], behind)
            }
            None => text.split_at(text.find(':').unwrap_or(text.len())),
        };
        let is_name = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'.' | b'_');
        if !host.starts_with('[') && !host.bytes().all(is_name) {
            return Err(BadAuthority::Host);
        }
        if host.len() > HOST_BYTES_MAX {
            return Err(BadAuthority::TooLong);
        }
        let port = port(behind)?;
        if host.is_empty() && !behind.is_empty() {
            return Err(BadAuthority::Host);
        }
        let is_lower = !host.bytes().any(|it| it.is_ascii_uppercase());
        let host = if is_lower { host.into() } else { host.to_ascii_lowercase().into() };
        Ok(Self { host, port })
    }

    /// The host of a request from both places that may name it: the target (absolute form or
    /// `:authority`) and the field `Host`. `default_port` is that of the scheme: `h` and `h:80`
    /// are the same over `http`.
    ///
    /// # Errors
    ///
    /// When one of them cannot be read, or both do not say the same.
    pub fn of_request(
        target: Option<&'a str>,
        host_field: Option<&'a str>,
        default_port: u16,
    ) -> Result<Self, BadAuthority> {
        let (target, field) = (target.map(Self::parse), host_field.map(Self::parse));
        match (target.transpose()?, field.transpose()?) {
            (Some(target), Some(field)) => {
                let port = |it: &Self| it.port.unwrap_or(default_port);
                let agree = target.host == field.host && port(&target) == port(&field);
                if agree { Ok(target) } else { Err(BadAuthority::Conflict) }
            }
            (Some(one), None) | (None, Some(one)) => Ok(one),
            (None, None) => Ok(Self { host: Cow::Borrowed(""), port: None }),
        }
    }
}

/// The port in what follows a host: nothing, `:` alone, which says nothing (RFC 3986 section
/// 3.2.3), or a number.
fn port(behind: &str) -> Result<Option<u16>, BadAuthority> {
    let Some(digits) = behind.strip_prefix(':') else {
        return if behind.is_empty() { Ok(None) } else { Err(BadAuthority::Host) };
    };
    if digits.is_empty() {
        return Ok(None);
    }
    // `parse` would take a sign.
    let is_number = digits.bytes().all(|it| it.is_ascii_digit());
    let port = digits.parse().ok().filter(|_| is_number);
    port.map(Some).ok_or(BadAuthority::Port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<(&str, Option<u16>), BadAuthority>) {
        let read = Authority::parse(text);
        let said = read.as_ref().map(|it| (&*it.host, it.port)).map_err(|it| *it);
        assert_eq!(said, expected, "{text}");
    }

    #[test]
    fn a_host_is_read_without_its_port_in_lower_case() {
        check("example.com", Ok(("example.com", None)));
        check("Example.COM:8080", Ok(("example.com", Some(8080))));
        check("h:", Ok(("h", None)));
        check("h:0443", Ok(("h", Some(443))));
        check("127.0.0.1:7080", Ok(("127.0.0.1", Some(7080))));
        check("[::1]", Ok(("[::1]", None)));
        check("[FE80::1]:80", Ok(("[fe80::1]", Some(80))));
        check("my_service", Ok(("my_service", None)));
        check("", Ok(("", None)));
        check(&"a".repeat(255), Ok((&"a".repeat(255), None)));
    }

    #[test]
    fn a_host_with_two_readings_is_refused() {
        for text in ["a@b", "a/b", "a b", "a,b", "a%2eb", "\u{e9}", "a\\b", "a?b", ":80", ":"] {
            check(text, Err(BadAuthority::Host));
        }
        for text in ["[::1", "[::1]x", "[::1%25lo]", "[a.com]", "[]", "::1", "]:80"] {
            assert!(Authority::parse(text).is_err(), "{text}");
        }
        for text in ["a:65536", "a:+80", "a:-1", "a:8o", "a:80:80", "a:80@b"] {
            check(text, Err(BadAuthority::Port));
        }
        check(&"a".repeat(256), Err(BadAuthority::TooLong));
    }

    #[test]
    fn two_places_must_name_one_host() {
        let of = |target, field| {
            let read = Authority::of_request(target, field, 80);
            read.map(|it| it.host.into_owned())
        };
        assert_eq!(of(Some("A.com"), Some("a.com:80")).as_deref(), Ok("a.com"));
        assert_eq!(of(None, Some("a.com")).as_deref(), Ok("a.com"));
        assert_eq!(of(Some("a.com"), None).as_deref(), Ok("a.com"));
        assert_eq!(of(None, None).as_deref(), Ok(""));
        assert_eq!(of(Some("a.com"), Some("b.com")), Err(BadAuthority::Conflict));
        assert_eq!(of(Some("a.com"), Some("a.com:81")), Err(BadAuthority::Conflict));
        assert_eq!(of(Some("a.com"), Some("")), Err(BadAuthority::Conflict));
        assert_eq!(of(Some("a.com"), Some("b@a.com")), Err(BadAuthority::Host));
    }
}
