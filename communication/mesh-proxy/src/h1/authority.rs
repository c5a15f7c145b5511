//! `host` and `host:port`, as the Host field and absolute targets have them.

use std::net::Ipv6Addr;

use super::{
    Malformed,
    class::{self, HOST},
};

/// A host with what its port says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Authority<'a> {
    pub(crate) host: &'a [u8],
    pub(crate) port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Reads a name, an IPv4 address or an IPv6 address in brackets, with or without a port.
    ///
    /// Stricter than RFC 3986: no user, no empty host, no percent-encoding or sub-delimiters in a
    /// name (nobody routes by these), no empty port, none with leading zeros, not 0.
    pub(crate) fn read(text: &'a [u8]) -> Result<Self, Malformed> {
        let (host, port) = match text {
            [b'[', rest @ ..] => {
                let close = rest.iter().position(|byte| *byte == b']').ok_or(Malformed::Host)?;
                let address = std::str::from_utf8(&rest[..close]).map_err(|_| Malformed::Host)?;
                address.parse::<Ipv6Addr>().map_err(|_| Malformed::Host)?;
                (&text[..close + 2], &text[close + 2..])
            }
            _ => text.split_at(class::run(text, HOST)),
        };
        if host.is_empty() {
            return Err(Malformed::Host);
        }
        let port = match port {
            [] => None,
            [b':', digits @ ..] => Some(read_port(digits)?),
            _ => return Err(Malformed::Host),
        };
        Ok(Self { host, port })
    }

    /// Whether both name the same place when a missing port is `default`.
    pub(crate) fn is_same(&self, other: &Self, default: u16) -> bool {
        self.host.eq_ignore_ascii_case(other.host)
            && self.port.unwrap_or(default) == other.port.unwrap_or(default)
    }
}

fn read_port(digits: &[u8]) -> Result<u16, Malformed> {
    if digits.is_empty() || digits.len() > 5 || digits[0] == b'0' {
        return Err(Malformed::Host);
    }
    let mut port = 0_u32;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return Err(Malformed::Host);
        }
        port = port * 10 + u32::from(digit - b'0');
    }
    u16::try_from(port).map_err(|_| Malformed::Host)
}
