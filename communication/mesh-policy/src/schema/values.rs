//! Single values: text, numbers, durations, shares, names, addresses, dates.

use std::{fmt::Display, net::SocketAddr, str::FromStr, time::Duration};

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use regex_lite::Regex;

use super::{
    Code,
    context::Context,
    duration,
    yaml::{Node, ScalarKind, Value, kind_of_plain},
};
use crate::route::check_path;

/// Text.
pub(super) fn text<'a>(context: &Context<'_>, node: &'a Node) -> Option<&'a str> {
    match &node.value {
        Value::Scalar { text, is_quoted }
            if *is_quoted || kind_of_plain(text) == ScalarKind::Text =>
        {
            Some(text)
        }
        Value::Scalar { text, .. } => {
            let message = format!("text belongs here, this is {}", node.describe());
            let hint = format!("write \"{text}\"");
            context.error_with(node.spot, Code::WrongType, message, &hint);
            None
        }
        Value::List(_) | Value::Map(_) => {
            let message = format!("text belongs here, this is {}", node.describe());
            context.error(node.spot, Code::WrongType, message);
            None
        }
    }
}

/// Text of so many characters.
pub(super) fn text_up_to<'a>(
    max: usize,
) -> impl Fn(&'a Context<'a>, &'a Node) -> Option<String> + Copy {
    move |context, node| {
        let text = text(context, node)?;
        let length = text.chars().count();
        if (1..=max).contains(&length) {
            return Some(text.to_owned());
        }
        let message = format!("{length} characters, 1 to {max} may be");
        context.error(node.spot, Code::OutOfRange, message);
        None
    }
}

/// Text of one form; `form` says which, for the sentence.
fn formed<'a>(
    context: &Context<'_>,
    node: &'a Node,
    form: &str,
    holds: impl FnOnce(&str) -> bool,
) -> Option<&'a str> {
    let text = text(context, node)?;
    if holds(text) {
        return Some(text);
    }
    let shown: String = text.chars().take(40).collect();
    context.error(node.spot, Code::Malformed, format!("`{shown}` is no {form}"));
    None
}

/// Text that is `T` as well.
fn parsed<T: FromStr>(context: &Context<'_>, node: &Node, form: &str) -> Option<T> {
    formed(context, node, form, |it| it.parse::<T>().is_ok())?.parse().ok()
}

/// One of these words.
pub(super) fn word<'a, T: Copy>(
    words: &'a [(&'a str, T)],
) -> impl Fn(&'a Context<'a>, &'a Node) -> Option<T> + Copy {
    move |context, node| {
        let text = text(context, node)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let message = format!("`{text}` is none of {}", known.join(", "));
        context.error_near(node.spot, Code::UnknownWord, message, (text, &known));
        None
    }
}

fn plain(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Scalar { text, is_quoted: false } => Some(text),
        _ => None,
    }
}

/// A whole number from `min` to `max`.
pub(super) fn integer<'a, T: TryFrom<u64> + Display + PartialOrd + Copy>(
    min: T,
    max: T,
) -> impl Fn(&'a Context<'a>, &'a Node) -> Option<T> + Copy {
    move |context, node| {
        let digits = plain(node).filter(|it| kind_of_plain(it) == ScalarKind::Number);
        let Some(digits) = digits.filter(|it| !it.contains(['.', 'e', 'E', 'x', 'o', '+'])) else {
            let message = format!("a whole number belongs here, this is {}", node.describe());
            context.error(node.spot, Code::WrongType, message);
            return None;
        };
        let value = digits.parse::<u64>().ok().and_then(|it| T::try_from(it).ok());
        let value = value.filter(|it| (min..=max).contains(it));
        if value.is_none() {
            let message = format!("{digits} is not from {min} to {max}");
            context.error(node.spot, Code::OutOfRange, message);
        }
        value
    }
}

/// A number from 0 to `max`.
pub(super) fn number<'a>(max: f64) -> impl Fn(&'a Context<'a>, &'a Node) -> Option<f64> + Copy {
    move |context, node| {
        let digits = plain(node).filter(|it| kind_of_plain(it) == ScalarKind::Number);
        let Some(digits) = digits else {
            let message = format!("a number belongs here, this is {}", node.describe());
            context.error(node.spot, Code::WrongType, message);
            return None;
        };
        let value = digits.parse::<f64>().ok().filter(|it| (0.0..=max).contains(it));
        if value.is_none() {
            let message = format!("{digits} is not from 0 to {max}");
            context.error(node.spot, Code::OutOfRange, message);
        }
        value
    }
}

/// A share: `30%` or `0.3`.
pub(super) fn share(context: &Context<'_>, node: &Node) -> Option<f64> {
    let text = match &node.value {
        Value::Scalar { text, .. } => text.as_str(),
        Value::List(_) | Value::Map(_) => "",
    };
    let is_decimal = |it: &str| it.starts_with(|it: char| it.is_ascii_digit() || it == '.');
    let parse = |it: &str| it.parse::<f64>().ok().filter(|_| is_decimal(it));
    let value = match text.strip_suffix('%') {
        Some(percent) => parse(percent).map(|it| it / 100.0),
        None => parse(text),
    };
    let Some(value) = value else {
        let message = format!("a share such as 30% belongs here, this is {}", node.describe());
        context.error(node.spot, Code::WrongType, message);
        return None;
    };
    if (0.0..=1.0).contains(&value) {
        return Some(value);
    }
    let message = format!("{text} is not from 0% to 100%");
    context.error(node.spot, Code::OutOfRange, message);
    None
}

/// A share in thousandths.
pub(super) fn per_mille(context: &Context<'_>, node: &Node) -> Option<u16> {
    let share = share(context, node)?;
    let whole = (0..=1000_u16).find(|it| (f64::from(*it) - share * 1000.0).abs() < 1e-6);
    if whole.is_none() {
        let message = "a share in steps of 0.1% belongs here".to_owned();
        context.error(node.spot, Code::OutOfRange, message);
    }
    whole
}

/// A duration by GEP-2257.
pub(super) fn duration(context: &Context<'_>, node: &Node) -> Option<Duration> {
    let text = match &node.value {
        Value::Scalar { text, .. } => text.as_str(),
        Value::List(_) | Value::Map(_) => "",
    };
    let duration = duration::parse(text);
    if duration.is_none() {
        let message = format!("`{text}` is no duration");
        let hint = "write it like 500ms, 10s or 1h30m";
        context.error_with(node.spot, Code::Duration, message, hint);
    }
    duration
}

/// A duration that is not zero.
pub(super) fn duration_above_zero(context: &Context<'_>, node: &Node) -> Option<Duration> {
    let duration = duration(context, node)?;
    if duration.is_zero() {
        context.error(node.spot, Code::OutOfRange, "zero may not be".to_owned());
        return None;
    }
    Some(duration)
}

/// The name of a document or service: lower case letters, digits, `-` and `.` (RFC 1123).
pub(super) fn name(context: &Context<'_>, node: &Node) -> Option<String> {
    formed(context, node, "name (a-z, 0-9, - and .)", is_domain).map(str::to_owned)
}

/// `name` or `namespace/name`.
pub(super) fn qualified_name(context: &Context<'_>, node: &Node) -> Option<String> {
    let form = "name such as `orders` or `shop/orders`";
    let holds = |it: &str| it.split('/').count() <= 2 && it.split('/').all(is_domain);
    let text = formed(context, node, form, holds)?;
    Some(if text.contains('/') { text.to_owned() } else { format!("default/{text}") })
}

/// A host name as routes have it: perhaps with `*.` before it, no address.
pub(super) fn hostname(context: &Context<'_>, node: &Node) -> Option<String> {
    let holds = |it: &str| {
        let rest = it.strip_prefix("*.").unwrap_or(it);
        is_domain(rest) && rest.parse::<std::net::Ipv4Addr>().is_err()
    };
    let form = "host name such as `example.com` or `*.example.com`";
    formed(context, node, form, holds).map(str::to_owned)
}

/// A host name without wildcard.
pub(super) fn precise_hostname(context: &Context<'_>, node: &Node) -> Option<String> {
    formed(context, node, "host name such as `example.com`", is_domain).map(str::to_owned)
}

/// An identity of the one form that there is.
pub(super) fn identity(context: &Context<'_>, node: &Node) -> Option<String> {
    let holds = |it: &str| {
        let parts: Vec<&str> = it.strip_prefix("spiffe://").unwrap_or("").split('/').collect();
        // Of a trust domain so long that service and namespace still make one name with it.
        matches!(parts[..], [domain, "ns", namespace, "svc", service]
            if is_domain(domain) && domain.len() <= 120
                && [namespace, service].iter().all(|it| is_domain(it) && !it.contains('.')))
    };
    let form = "identity such as `spiffe://example.com/ns/shop/svc/stock`";
    formed(context, node, form, holds).map(str::to_owned)
}

/// A role: one label of a name.
pub(super) fn role(context: &Context<'_>, node: &Node) -> Option<String> {
    let holds = |it: &str| is_domain(it) && !it.contains('.');
    formed(context, node, "role (a-z, 0-9 and -)", holds).map(str::to_owned)
}

fn is_domain(text: &str) -> bool {
    let is_label = |label: &str| {
        let inner = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '-';
        (1..=63).contains(&label.len())
            && label.chars().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

/// A host as browsers send it, without port: a name or an address.
pub(super) fn own_host(context: &Context<'_>, node: &Node) -> Option<String> {
    let holds = |it: &str| is_domain(it) || it.parse::<std::net::IpAddr>().is_ok();
    formed(context, node, "host such as `example.com`", holds).map(str::to_owned)
}

/// A token of RFC 9110, 5.6.2.
fn is_token(text: &str) -> bool {
    let is_mark = |it: u8| b"!#$%&'*+-.^_`|~".contains(&it);
    (1..=256).contains(&text.len())
        && text.bytes().all(|it| it.is_ascii_alphanumeric() || is_mark(it))
}

/// The name of a header field, in lower case.
pub(super) fn header_name(context: &Context<'_>, node: &Node) -> Option<String> {
    formed(context, node, "name of a header field", is_token).map(str::to_ascii_lowercase)
}

/// The value of a header field: visible characters and spaces, 4096 at most.
pub(super) fn header_value(context: &Context<'_>, node: &Node) -> Option<String> {
    let is_field = |it: &str| {
        let is_visible = |it: u8| it == b'\t' || (b' '..=b'~').contains(&it);
        (1..=4096).contains(&it.len()) && it.bytes().all(is_visible) && it.trim() == it
    };
    formed(context, node, "value of a header field", is_field).map(str::to_owned)
}

/// The name of a parameter of a query or of a media type.
pub(super) fn parameter_name(context: &Context<'_>, node: &Node) -> Option<String> {
    formed(context, node, "name of a parameter", is_token).map(str::to_owned)
}

/// An address with a port.
pub(super) fn address(context: &Context<'_>, node: &Node) -> Option<SocketAddr> {
    parsed(context, node, "address such as `127.0.0.1:9000`")
}

/// An address that can be called: port 0 and the unspecified address are for listeners.
pub(super) fn address_to_call(context: &Context<'_>, node: &Node) -> Option<SocketAddr> {
    let address = address(context, node)?;
    if address.port() == 0 || address.ip().is_unspecified() {
        let message = format!("{address} can be listened at, but nobody can be called there");
        context.error(node.spot, Code::OutOfRange, message);
        return None;
    }
    Some(address)
}

/// A URL of http or https.
pub(super) fn url(context: &Context<'_>, node: &Node) -> Option<String> {
    let holds = |it: &str| {
        let rest = it.strip_prefix("http://").or_else(|| it.strip_prefix("https://"));
        // These would end the URL in a `Link` field or begin another field.
        let is_safe = |it: u8| it.is_ascii_graphic() && !b"<>\"\\^`{|}".contains(&it);
        rest.is_some_and(|it| !it.is_empty() && !it.starts_with('/')) && it.bytes().all(is_safe)
    };
    formed(context, node, "URL such as `https://example.com/x`", holds).map(str::to_owned)
}

/// A point in time by RFC 3339; a date alone is its first moment in UTC.
pub(super) fn timestamp(context: &Context<'_>, node: &Node) -> Option<Timestamp> {
    let form = "time such as `2027-01-31` or `2027-01-31T12:00:00Z`";
    let read = |it: &str| {
        let date = || it.parse::<Date>().ok()?.to_zoned(TimeZone::UTC).ok();
        it.parse::<Timestamp>().ok().or_else(|| date().map(|it| it.timestamp()))
    };
    read(formed(context, node, form, |it| read(it).is_some())?)
}

/// A regular expression over a whole value, as the tables compile it.
pub(super) fn pattern(context: &Context<'_>, node: &Node, max: usize) -> Option<String> {
    let text = text_up_to_len(context, node, max)?;
    if let Err(error) = Regex::new(&format!("^(?:{text})$")) {
        let message = format!("no regular expression: {error}");
        context.error(node.spot, Code::Pattern, message);
        return None;
    }
    Some(text.to_owned())
}

fn text_up_to_len<'a>(context: &Context<'_>, node: &'a Node, max: usize) -> Option<&'a str> {
    let text = text(context, node)?;
    if text.len() > max {
        let message = format!("{} bytes, {max} may be", text.len());
        context.error(node.spot, Code::OutOfRange, message);
        return None;
    }
    Some(text)
}

/// A path that takes the place of another; it may be empty.
pub(super) fn new_path(context: &Context<'_>, node: &Node) -> Option<String> {
    let is_path = |it: &str| {
        let is_visible = it.bytes().all(|it| it.is_ascii_graphic() && !b"?#".contains(&it));
        it.len() <= 1024 && is_visible
    };
    formed(context, node, "path", is_path).map(str::to_owned)
}

/// A path as a condition has it: the Gateway API refuses what normalizing would change, and no request
/// would have it.
pub(super) fn path(context: &Context<'_>, node: &Node) -> Option<String> {
    let is_path = |it: &str| {
        let is_visible = it.bytes().all(|it| it.is_ascii_graphic() && !b"?#".contains(&it));
        let strange = ["//", "/./", "/../", "%2f", "%2F"].iter().any(|bad| it.contains(bad));
        let ends_strangely = it.ends_with("/..") || it.ends_with("/.");
        it.starts_with('/') && it.len() <= 1024 && is_visible && !strange && !ends_strangely
    };
    let path = formed(context, node, "path such as `/orders`", is_path)?;
    if let Err(flaw) = check_path(path) {
        context.error(node.spot, Code::Malformed, flaw.to_string());
        return None;
    }
    Some(path.to_owned())
}

/// The methods of HTTP.
pub(super) const METHODS: [(&str, &str); 9] = [
    ("GET", "GET"),
    ("HEAD", "HEAD"),
    ("POST", "POST"),
    ("PUT", "PUT"),
    ("DELETE", "DELETE"),
    ("CONNECT", "CONNECT"),
    ("OPTIONS", "OPTIONS"),
    ("TRACE", "TRACE"),
    ("PATCH", "PATCH"),
];

/// A method of the Gateway API's list.
pub(super) fn method(context: &Context<'_>, node: &Node) -> Option<String> {
    text(context, node)?;
    word(&METHODS)(context, node).map(str::to_owned)
}
