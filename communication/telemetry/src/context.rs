//! W3C Trace Context (Level 1, and the random flag of Level 2): which trace a piece of work is in.
//!
//! A header that breaks the grammar is treated as absent, together with its `tracestate`: a wrong
//! parent is worse than none.

use std::{fmt, sync::Arc};

use base::Random;

/// Members of `tracestate` that the recommendation allows.
const STATE_MEMBERS_MAX: usize = 32;
/// Characters of `tracestate` that are forwarded; the recommendation asks for at least 512.
const STATE_CHARS_MAX: usize = 1_024;
/// Members longer than this go first when `tracestate` is too long (section 3.3.1.5).
const STATE_LONG_MEMBER: usize = 128;
const FLAG_SAMPLED: u8 = 0x01;
const FLAG_RANDOM: u8 = 0x02;

/// Names one trace; never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceId(u128);

/// Names one span within a trace; never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanId(u64);

impl TraceId {
    /// Reads 32 lower-case hexadecimal digits that are not all zero.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == 32 && is_lower_hex(text)).then_some(())?;
        u128::from_str_radix(text, 16).ok().filter(|it| *it != 0).map(Self)
    }
}

impl SpanId {
    /// Reads 16 lower-case hexadecimal digits that are not all zero.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == 16 && is_lower_hex(text)).then_some(())?;
        u64::from_str_radix(text, 16).ok().filter(|it| *it != 0).map(Self)
    }

    fn draw(random: &mut Random) -> Self {
        Self(random.bits().max(1))
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

/// The position of one span in a trace, as it travels in `traceparent` and `tracestate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace_id: TraceId,
    /// The span that is the parent of whatever receives this.
    pub span_id: SpanId,
    /// Whether spans of this trace are recorded; decided once, at the root.
    pub sampled: bool,
    /// Level 2: the trace id was drawn at random.
    pub random: bool,
    /// `tracestate` of other vendors, forwarded as it came.
    pub state: Option<Arc<str>>,
}

impl TraceContext {
    /// The first context of a new trace.
    #[must_use]
    pub fn root(random: &mut Random, sampled: bool) -> Self {
        let high = u128::from(random.bits()) << 64;
        let trace_id = TraceId((high | u128::from(random.bits())).max(1));
        Self { trace_id, span_id: SpanId::draw(random), sampled, random: true, state: None }
    }

    /// A new span in the same trace; the sampling decision of the parent is kept.
    #[must_use]
    pub fn child(&self, random: &mut Random) -> Self {
        Self { span_id: SpanId::draw(random), ..self.clone() }
    }

    /// Reads the two headers. A malformed `traceparent` gives `None`, and then `tracestate` must
    /// be dropped too; a malformed `tracestate` alone is dropped alone.
    #[must_use]
    pub fn parse(traceparent: &str, tracestate: Option<&str>) -> Option<Self> {
        let text = traceparent.trim_matches([' ', '\t']);
        if !text.is_ascii() || text.len() < 55 {
            return None;
        }
        let (version, flags) = (&text[0..2], &text[53..55]);
        let dashes = [2, 35, 52].iter().all(|at| text.as_bytes()[*at] == b'-');
        let hex = is_lower_hex(version) && is_lower_hex(flags);
        // A higher version may append fields, but only after another dash.
        let length = match version {
            "00" => text.len() == 55,
            _ => text.len() == 55 || text.as_bytes()[55] == b'-',
        };
        if !dashes || !hex || !length || version == "ff" {
            return None;
        }
        let flags = u8::from_str_radix(flags, 16).ok()?;
        Some(Self {
            trace_id: TraceId::parse(&text[3..35])?,
            span_id: SpanId::parse(&text[36..52])?,
            sampled: flags & FLAG_SAMPLED != 0,
            random: flags & FLAG_RANDOM != 0,
            state: tracestate.and_then(parse_state),
        })
    }

    /// Reads B3, in one header or in several: what programs say that are traced by Zipkin's libraries.
    /// `field` gives the value of a header by its name in lower case. For whoever found no
    /// `traceparent`; B3 has ids of 64 bits too, which become the lower half (b3-propagation, "TraceId").
    #[must_use]
    pub fn parse_b3<'a>(field: impl Fn(&'static str) -> Option<&'a str>) -> Option<Self> {
        let (trace_id, span_id, decision) = match field("b3") {
            Some(all) => {
                let mut parts = all.trim_matches([' ', '\t']).split('-');
                let ids = (parts.next()?, parts.next()?);
                // The parent of the parent may follow.
                let (decision, _parent, end) = (parts.next(), parts.next(), parts.next());
                if end.is_some() {
                    return None;
                }
                (ids.0, ids.1, decision)
            }
            None => {
                let decision = match field("x-b3-flags") {
                    Some("1") => Some("d"),
                    _ => field("x-b3-sampled"),
                };
                (field("x-b3-traceid")?, field("x-b3-spanid")?, decision)
            }
        };
        let sampled = match decision {
            Some("1" | "d" | "true") => true,
            // Who defers the decision gets none: this proxy is not where it is taken.
            None | Some("0" | "false") => false,
            Some(_) => return None,
        };
        let trace_id = match trace_id.len() {
            16 => TraceId::parse(&format!("{:0>32}", trace_id.to_ascii_lowercase())),
            _ => TraceId::parse(&trace_id.to_ascii_lowercase()),
        };
        Some(Self {
            trace_id: trace_id?,
            span_id: SpanId::parse(&span_id.to_ascii_lowercase())?,
            sampled,
            random: false,
            state: None,
        })
    }

    /// The `traceparent` header, always version 00.
    #[must_use]
    pub fn traceparent(&self) -> String {
        self.traceparent_bytes().map(char::from).iter().collect()
    }

    /// The same as bytes, for those who write one with each request.
    #[must_use]
    pub fn traceparent_bytes(&self) -> [u8; 55] {
        let flags = (u8::from(self.sampled) * FLAG_SAMPLED) | (u8::from(self.random) * FLAG_RANDOM);
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        put_hex(&mut text[3..35], self.trace_id.0);
        put_hex(&mut text[36..52], self.span_id.0.into());
        put_hex(&mut text[53..55], flags.into());
        text
    }

    /// The `tracestate` header, when there is one.
    #[must_use]
    pub fn tracestate(&self) -> Option<&str> {
        self.state.as_deref()
    }
}

/// Fills `text` with the low digits of a number.
fn put_hex(text: &mut [u8], mut value: u128) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for place in text.iter_mut().rev() {
        *place = DIGITS[usize::from(value.to_le_bytes()[0] & 0xf)];
        value >>= 4;
    }
}

fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'))
}

/// The list with its empty members removed and its length bounded; `None` when it is malformed.
fn parse_state(header: &str) -> Option<Arc<str>> {
    let mut members: Vec<&str> = header
        .split(',')
        .map(|it| it.trim_matches([' ', '\t']))
        .filter(|it| !it.is_empty())
        .collect();
    if members.is_empty() || members.len() > STATE_MEMBERS_MAX || !members.iter().all(is_member) {
        return None;
    }
    if joined_length(&members) > STATE_CHARS_MAX {
        members.retain(|it| it.len() <= STATE_LONG_MEMBER);
    }
    while joined_length(&members) > STATE_CHARS_MAX {
        members.pop();
    }
    (!members.is_empty()).then(|| members.join(",").into())
}

fn joined_length(members: &[&str]) -> usize {
    members.iter().map(|it| it.len() + 1).sum::<usize>().saturating_sub(1)
}

fn is_member(member: &&str) -> bool {
    let Some((key, value)) = member.split_once('=') else { return false };
    let key_holds =
        |it: u8| matches!(it, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/' | b'@');
    let key_fits = !key.is_empty() && key.len() <= 256 && key.bytes().all(key_holds);
    let value_holds = |it: u8| (b' '..=b'~').contains(&it) && it != b'=';
    key_fits && !value.is_empty() && value.len() <= 256 && value.bytes().all(value_holds)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[track_caller]
    fn check(header: &str, accepted: bool) {
        assert_eq!(TraceContext::parse(header, None).is_some(), accepted, "{header}");
    }

    #[test]
    fn the_grammar_of_traceparent_is_kept() {
        check(GOOD, true);
        check(&GOOD.to_uppercase(), false);
        check(&GOOD.replacen("00-", "ff-", 1), false);
        check(&GOOD.replacen("00-", "0g-", 1), false);
        check("00-00000000000000000000000000000000-00f067aa0ba902b7-01", false);
        check("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", false);
        check(&format!("{GOOD}-more"), false);
        check(&GOOD[..54], false);
        check("", false);
        check(&"ü".repeat(30), false);
    }

    #[test]
    fn an_unknown_higher_version_is_read_as_version_00() {
        check(&GOOD.replacen("00-", "01-", 1), true);
        check(&format!("{}-what-comes", GOOD.replacen("00-", "cc-", 1)), true);
        check(&format!("{}.what-comes", GOOD.replacen("00-", "cc-", 1)), false);
        let read = TraceContext::parse(&GOOD.replacen("00-", "cc-", 1), None).unwrap();
        assert_eq!(read.traceparent(), GOOD);
    }

    #[test]
    fn a_child_keeps_trace_decision_and_state_and_has_its_own_span() {
        let parent = TraceContext::parse(GOOD, Some("a=1, b=2")).unwrap();
        let child = parent.child(&mut Random::with_seed(1));
        assert_eq!((child.trace_id, child.sampled), (parent.trace_id, true));
        assert_ne!(child.span_id, parent.span_id);
        assert_eq!(child.tracestate(), Some("a=1,b=2"));
    }

    #[test]
    fn b3_is_read_in_one_header_and_in_several_and_what_breaks_its_grammar_is_not() {
        let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        let one = |text: &str| {
            let read = TraceContext::parse_b3(|name| (name == "b3").then_some(text));
            read.map(|it| it.traceparent())
        };
        let expected = |flags: &str| Some(format!("00-{trace}-{span}-{flags}"));
        for (decision, flags) in [("-1", "01"), ("-d", "01"), ("-0", "00"), ("", "00")] {
            assert_eq!(one(&format!("{trace}-{span}{decision}")), expected(flags), "{decision}");
        }
        assert_eq!(one(&format!("{trace}-{span}-1-05e3ac9a4f6e3b90")), expected("01"));
        let short = format!("00-{:0>32}-{span}-01", "a3ce929d0e0e4736");
        assert_eq!(one(&format!("A3CE929D0E0E4736-{span}-1")), Some(short));
        let dashes = format!("{trace}-{span}-1-05e3ac9a4f6e3b90-more");
        for wrong in ["0", "", "1-2", "x-y-1", &dashes, &format!("{trace}-{span}-2")] {
            assert_eq!(one(wrong), None, "{wrong}");
        }
        let several = |sampled: &'static str, flags: &'static str| {
            let read = TraceContext::parse_b3(|name| match name {
                "x-b3-traceid" => Some(trace),
                "x-b3-spanid" => Some(span),
                "x-b3-sampled" => Some(sampled),
                "x-b3-flags" => Some(flags),
                _ => None,
            });
            read.map(|it| it.sampled)
        };
        assert_eq!((several("1", "0"), several("0", "0")), (Some(true), Some(false)));
        assert_eq!(several("0", "1"), Some(true), "debug is a decision to record");
        assert_eq!(TraceContext::parse_b3(|_| None), None);
    }

    #[test]
    fn a_root_sets_the_random_flag() {
        let mut random = Random::with_seed(1);
        assert!(TraceContext::root(&mut random, false).traceparent().ends_with("-02"));
        let root = TraceContext::root(&mut random, true);
        assert!(root.traceparent().ends_with("-03"));
        assert_eq!(TraceContext::parse(&root.traceparent(), None), Some(root));
    }

    #[test]
    fn a_malformed_tracestate_is_dropped_alone() {
        for state in ["no-equals", "UPPER=1", "a=", "a=\u{7}", &vec!["a=1"; 33].join(",")] {
            let read = TraceContext::parse(GOOD, Some(state)).unwrap();
            assert_eq!(read.state, None, "{state}");
        }
    }

    #[test]
    fn at_least_512_characters_of_tracestate_are_forwarded_and_long_members_go_first() {
        let long = format!("long={}", "x".repeat(200));
        let short: Vec<String> = (0..30).map(|it| format!("k{it}={}", "v".repeat(30))).collect();
        let header = format!("{long},{}", short.join(","));
        let read = TraceContext::parse(GOOD, Some(&header)).unwrap();
        let kept = read.tracestate().unwrap();
        assert!(kept.len() >= 512 && kept.len() <= STATE_CHARS_MAX, "{}", kept.len());
        assert!(kept.starts_with("k0=") && !kept.contains("long="));
    }
}
