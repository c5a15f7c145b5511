//! No spelling of a path gets around a rule on it (P6).

use std::borrow::Cow;

use base::Random;
use mesh_policy::{
    path::{normalise, normalise_inside},
    route::{Backend, Match, Parent, PathMatch, Route, RouteKind, Rule, Table},
};

use crate::routing_request::Request;

fn rows() -> impl Iterator<Item = (&'static str, &'static str)> {
    let table = include_str!("../../data/paths.tsv").lines().filter(|it| !it.starts_with('#'));
    table.map(|it| it.rsplit_once('\t').expect("two columns"))
}

#[test]
fn each_spelling_has_one_reading_or_none() {
    let mut count = 0;
    for (raw, expected) in rows() {
        let said = match normalise(raw.as_bytes()) {
            Ok(normal) => normal.into_owned(),
            Err(reason) => format!("{reason:?}"),
        };
        assert_eq!(said, expected, "{raw}");
        count += 1;
    }
    assert!(count >= 80, "{count} rows");
}

#[test]
fn bytes_that_no_table_can_hold_are_refused() {
    for byte in (0..=b' ').chain(0x7F..=0xFF).chain(*b"\\?#") {
        let raw = [b'/', b'a', byte, b'b'];
        assert!(normalise(&raw).is_err(), "{byte:#x}");
    }
    for byte in (0..b' ').chain([0x7F]).chain(*b"/\\") {
        assert!(normalise(format!("/a%{byte:02x}b").as_bytes()).is_err(), "{byte:#x}");
        assert!(normalise(format!("/a%25{byte:02X}b").as_bytes()).is_err(), "{byte:#x} twice");
    }
}

#[test]
fn a_path_that_is_normal_is_not_copied() {
    for path in ["/", "/a", "/a/", "/a/b.c/d..e", "/api/deliveries/0190;x=1/status"] {
        assert!(
            matches!(normalise(path.as_bytes()), Ok(Cow::Borrowed(it)) if it == path),
            "{path}"
        );
    }
}

/// Pieces that make trouble together.
const PIECES: [&str; 30] = [
    "/", "/", "/", ".", "..", "a", "admin", "admin", "%2e", "%2E%2e", "%2f", "%5c", "\\", ";",
    "%3b", "%25", "%2525", "2e", "2f", "61", "%61", "%c3%a9", "%c0%af", "%00", "?", "#", "%", "//",
    "%3f", "%23",
];

fn random_path(random: &mut Random) -> String {
    let mut path = String::from(if random.below(2) == 0 { "/" } else { "/admin" });
    for _ in 0..1 + random.below(5) {
        let piece = random.below(PIECES.len() as u64);
        path.push_str(PIECES[usize::try_from(piece).unwrap()]);
    }
    path
}

/// How the program behind may read what it is given.
#[derive(Debug, Clone, Copy)]
struct Reader {
    decodings: usize,
    turns_backslashes: bool,
    merges_slashes: bool,
    drops_dot_parameters: bool,
    cuts_at: &'static [u8],
}

impl Reader {
    /// The elements that it sees.
    fn read(self, path: &str) -> Vec<String> {
        let mut bytes = path.as_bytes().to_vec();
        for _ in 0..self.decodings {
            bytes = decoded_once(&bytes);
        }
        if let Some(end) = bytes.iter().position(|it| self.cuts_at.contains(it)) {
            bytes.truncate(end);
        }
        let text: String = bytes.iter().map(|it| char::from(*it)).collect();
        let text = if self.turns_backslashes { text.replace('\\', "/") } else { text };
        let mut elements: Vec<String> = Vec::new();
        for element in text.split('/').skip(1) {
            let bare = element.split([';', '?', '#']).next().unwrap_or_default();
            let is_dots = matches!(bare, "." | "..");
            match if self.drops_dot_parameters && is_dots { bare } else { element } {
                "." => {}
                "" if self.merges_slashes => {}
                ".." => drop(elements.pop()),
                element => elements.push(element.to_owned()),
            }
        }
        elements
    }
}

fn decoded_once(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while let [first, behind @ ..] = rest {
        let digits = behind.first_chunk::<2>().and_then(|it| std::str::from_utf8(it).ok());
        let escaped = digits.filter(|it| it.bytes().all(|it| it.is_ascii_hexdigit()));
        match escaped.filter(|_| *first == b'%') {
            Some(digits) => {
                out.push(u8::from_str_radix(digits, 16).unwrap());
                rest = &behind[2..];
            }
            None => {
                out.push(*first);
                rest = behind;
            }
        }
    }
    out
}

/// Readers from the strictest, who sees what is written, to the most generous.
fn readers() -> Vec<Reader> {
    let mut readers = Vec::new();
    for decodings in 0..5 {
        for bits in 0..8 {
            readers.push(Reader {
                decodings,
                turns_backslashes: bits & 1 > 0,
                merges_slashes: bits & 2 > 0,
                drops_dot_parameters: bits & 4 > 0,
                cuts_at: if decodings == 0 { b"?#\0" } else { b"\0" },
            });
        }
    }
    readers
}

/// Whether the path is or is under `/admin` to this reader.
fn is_admin(elements: &[String]) -> bool {
    elements.first().is_some_and(|it| it == "admin")
}

/// A rule on `/admin` that leads nowhere, and one that takes all else.
fn guarded() -> Table {
    let parent = Parent::Gateway { name: "edge".into(), section: None };
    let to = Backend { service: "open".into(), port: None, weight: 1, filters: Vec::new() };
    let admin = Match { path: Some(PathMatch::Prefix("/admin".into())), ..Match::default() };
    let deny = Rule { matches: vec![admin], ..Rule::default() };
    let allow = Rule { backends: vec![to], ..Rule::default() };
    let route = Route {
        name: "n/r".into(),
        kind: RouteKind::Http,
        created: None,
        parents: vec![parent.clone()],
        hostnames: Vec::new(),
        rules: vec![allow, deny],
    };
    Table::compile(&[route], &parent).unwrap()
}

/// Whether the rule on `/admin` takes the path; `None` where it is refused before.
#[track_caller]
fn check(table: &Table, raw: &str) -> Option<bool> {
    let normal = normalise(raw.as_bytes()).ok()?.into_owned();
    assert!(normal.len() <= raw.len(), "{raw} grew to {normal}");
    assert_eq!(normalise(normal.as_bytes()).as_deref(), Ok(normal.as_str()), "{raw} twice");
    let request = Request { path: normal.clone(), ..Request::default() };
    let is_denied = table.find(&request).unwrap().rule.backends.is_empty();
    for reader in readers() {
        let seen = reader.read(&normal);
        assert_eq!(is_denied, is_admin(&seen), "{raw} is {normal}, and {seen:?} to {reader:?}");
    }
    Some(is_denied)
}

#[test]
fn no_reader_sees_a_path_that_was_not_judged() {
    let table = guarded();
    for (raw, _) in rows() {
        check(&table, raw);
    }
    let (mut denied, mut allowed, mut refused) = (0, 0, 0);
    for seed in 0..40_000 {
        match check(&table, &random_path(&mut Random::with_seed(seed))) {
            Some(true) => denied += 1,
            Some(false) => allowed += 1,
            None => refused += 1,
        }
    }
    let counts = [denied, allowed, refused];
    assert!(counts.iter().all(|it| *it > 1_000), "{counts:?} says too little");
}

#[test]
fn random_bytes_are_normal_after_one_pass_or_refused() {
    for seed in 0..20_000 {
        let mut random = Random::with_seed(seed);
        let mut raw = vec![b'/'];
        raw.extend((0..random.below(24)).map(|_| match random.below(4) {
            0 => *b"/.%;25eEfF".get(usize::try_from(random.below(10)).unwrap()).unwrap(),
            1 => u8::try_from(random.below(256)).unwrap(),
            _ => b'a' + u8::try_from(random.below(26)).unwrap(),
        }));
        let Ok(normal) = normalise(&raw) else { continue };
        assert_eq!(normalise(normal.as_bytes()).as_deref(), Ok(&*normal), "seed {seed}");
        assert!(normal.bytes().all(|it| it.is_ascii_graphic()), "seed {seed}: {normal}");
    }
}

#[test]
fn inside_an_id_may_hold_a_slash_and_dots_are_still_dots() {
    let form = |path: &str| normalise_inside(path.as_bytes()).map(Cow::into_owned);
    assert_eq!(form("/things/a%2fb").as_deref(), Ok("/things/a%2Fb"));
    assert_eq!(form("/things/a%5cb").as_deref(), Ok("/things/a%5Cb"));
    assert_eq!(form("/things/a%252fb").as_deref(), Ok("/things/a%252fb"));
    assert_eq!(form("/things/%2e%2e/b").as_deref(), Ok("/b"));
    assert!(form("/things/%00").is_err() && form("/..").is_err() && form("/a\\b").is_err());
}
