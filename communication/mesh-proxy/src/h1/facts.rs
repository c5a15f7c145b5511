//! Field lines, and what they say about the message that they head.

use super::{
    Field, Known, Malformed, Span,
    class::{self, TOKEN, VALUE},
};

/// Options that all Connection fields of a message may list together; more is refused.
pub(crate) const CONNECTION_OPTIONS_MAX: usize = 16;
/// No body is longer than 18 digits say, and no reader's integer overflows over them.
const CONTENT_LENGTH_DIGITS_MAX: usize = 18;

/// Which message a head begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Request,
    Response,
}

/// What the fields say about framing, the connection and the host.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) host: Option<Span>,
    pub(crate) content_length: Option<u64>,
    seen: u8,
    options: usize,
}

const CHUNKED: u8 = 1;
const CLOSE: u8 = 2;
const KEEP_ALIVE: u8 = 4;
const UPGRADE_OPTION: u8 = 8;
const UPGRADE_FIELD: u8 = 16;
const CONTINUE: u8 = 32;

impl Facts {
    /// Takes in a field of `buffer`.
    #[inline]
    pub(crate) fn note(
        &mut self,
        side: Side,
        buffer: &[u8],
        field: &Field,
    ) -> Result<(), Malformed> {
        match field.known {
            Known::Host if side == Side::Request => {
                note_once(&mut self.host, field.value, Malformed::HostRepeated)?
            }
            Known::ContentLength => {
                let length = read_length(field.value.of_bytes(buffer))?;
                note_once(&mut self.content_length, length, Malformed::ContentLengthRepeated)?;
            }
            Known::TransferEncoding => {
                if self.is_chunked() {
                    return Err(Malformed::TransferEncodingRepeated);
                }
                check_coding(buffer, field)?;
                self.seen |= CHUNKED;
            }
            Known::Connection => self.note_options(field.value.of_bytes(buffer))?,
            Known::Upgrade if !field.value.is_empty() => self.seen |= UPGRADE_FIELD,
            Known::Expect if is_continue(field.value.of_bytes(buffer)) => self.seen |= CONTINUE,
            _ => {}
        }
        Ok(())
    }

    fn note_options(&mut self, value: &[u8]) -> Result<(), Malformed> {
        for option in members(value) {
            self.options += 1;
            if self.options > CONNECTION_OPTIONS_MAX || !class::all(option, TOKEN) {
                return Err(Malformed::Connection);
            }
            if option.eq_ignore_ascii_case(b"keep-alive") {
                self.seen |= KEEP_ALIVE;
            } else if option.eq_ignore_ascii_case(b"close") {
                self.seen |= CLOSE;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.seen |= UPGRADE_OPTION;
            } else if Known::of(option).is_end_to_end() {
                // Ignoring the listing would do for us. But no honest client sends it
                // (RFC 9110 7.6.1), so that whoever does is told and seen in a metric.
                return Err(Malformed::ConnectionStrips);
            }
        }
        Ok(())
    }

    /// Refuses contradictions about the length of the body.
    pub(crate) fn check_framing(&self, minor: u8) -> Result<(), Malformed> {
        match (self.is_chunked(), self.content_length) {
            (true, Some(_)) => Err(Malformed::LengthAndCoding),
            (true, None) if minor == 0 => Err(Malformed::TransferEncodingVersion),
            (true | false, _) => Ok(()),
        }
    }

    pub(crate) const fn is_chunked(&self) -> bool {
        self.seen & CHUNKED != 0
    }

    /// Whether the connection may be used again after this message.
    pub(crate) const fn persists(&self, minor: u8) -> bool {
        self.seen & CLOSE == 0 && (minor == 1 || self.seen & KEEP_ALIVE != 0)
    }

    /// Whether an upgrade is asked for. HTTP/1.0 cannot (RFC 9110 7.8).
    pub(crate) const fn upgrades(&self, minor: u8) -> bool {
        let both = UPGRADE_OPTION | UPGRADE_FIELD;
        minor == 1 && self.seen & both == both
    }

    /// Whether the sender waits for `100 Continue`. HTTP/1.0 does not (RFC 9110 10.1.1).
    pub(crate) const fn expects_continue(&self, minor: u8) -> bool {
        minor == 1 && self.seen & CONTINUE != 0
    }
}

fn note_once<T>(place: &mut Option<T>, value: T, twice: Malformed) -> Result<(), Malformed> {
    if place.replace(value).is_some() { Err(twice) } else { Ok(()) }
}

/// Reads the field lines of `head` from `at` on. `head` ends with the empty line, and its line ends
/// are known to be good.
#[inline]
pub(crate) fn read_fields(
    head: &[u8],
    mut at: usize,
    fields_max: usize,
    fields: &mut Vec<Field>,
    mut note: impl FnMut(&Field) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    loop {
        match head.get(at) {
            None | Some(b'\r') => return Ok(()),
            Some(b' ' | b'\t') => return Err(Malformed::FoldedField),
            Some(_) => {}
        }
        let (field, next) = read_field(head, at)?;
        if fields.len() >= fields_max {
            return Err(Malformed::TooManyFields);
        }
        note(&field)?;
        fields.push(field);
        at = next;
    }
}

/// Reads one line; returns the start of the next too.
#[inline]
fn read_field(head: &[u8], at: usize) -> Result<(Field, usize), Malformed> {
    let colon = at + class::run(&head[at..], TOKEN);
    if head.get(colon) != Some(&b':') {
        return Err(match head.get(colon) {
            Some(b' ' | b'\t') if colon > at => Malformed::SpaceBeforeColon,
            _ => Malformed::FieldName,
        });
    }
    if colon == at {
        return Err(Malformed::FieldNameEmpty);
    }
    let line_end = colon + 1 + class::value_run(&head[colon + 1..]);
    if head.get(line_end) != Some(&b'\r') {
        return Err(Malformed::FieldValue);
    }
    let (mut start, mut end) = (colon + 1, line_end);
    while start < end && is_blank(head[start]) {
        start += 1;
    }
    while start < end && is_blank(head[end - 1]) {
        end -= 1;
    }
    let known = Known::of(&head[at..colon]);
    let field = Field { name: Span::of(at, colon), value: Span::of(start, end), known };
    Ok((field, line_end + 2))
}

#[inline]
const fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// The members of a comma-separated list that are not empty (RFC 9110 5.6.1.2).
pub(crate) fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(trim).filter(|member| !member.is_empty())
}

fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = text {
        text = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

fn is_continue(value: &[u8]) -> bool {
    value.eq_ignore_ascii_case(b"100-continue")
}

/// One plain decimal number. Leading zeros are refused: there are readers to whom `010` is eight.
fn read_length(value: &[u8]) -> Result<u64, Malformed> {
    let zeros = value.len() > 1 && value[0] == b'0';
    if value.is_empty() || value.len() > CONTENT_LENGTH_DIGITS_MAX || zeros {
        return Err(Malformed::ContentLength);
    }
    let mut length = 0_u64;
    for digit in value {
        if !digit.is_ascii_digit() {
            return Err(Malformed::ContentLength);
        }
        length = length * 10 + u64::from(digit - b'0');
    }
    Ok(length)
}

/// Accepts `chunked` alone. A list that ends in it is for somebody who decodes the rest; whatever
/// else leaves the end of the body to a guess (RFC 9112 6.3). A tab hides the word from some
/// readers, so that it is refused although the grammar allows it.
fn check_coding(buffer: &[u8], field: &Field) -> Result<(), Malformed> {
    let line_end = field.value.end as usize
        + class::run(buffer.get(field.value.end as usize..).unwrap_or_default(), VALUE);
    let raw = buffer.get(field.name.end as usize..line_end).unwrap_or_default();
    if raw.contains(&b'\t') {
        return Err(Malformed::TransferEncoding);
    }
    let value = field.value.of_bytes(buffer);
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    let mut codings: Vec<&[u8]> = value.split(|byte| *byte == b',').map(trim).collect();
    let last = codings.pop().unwrap_or_default();
    let others = codings.iter().all(|it| class::all(it, TOKEN) && !is_chunked(it));
    if is_chunked(last) && others {
        return Err(Malformed::UnknownCoding);
    }
    Err(Malformed::TransferEncoding)
}

fn is_chunked(coding: &[u8]) -> bool {
    coding.eq_ignore_ascii_case(b"chunked")
}
