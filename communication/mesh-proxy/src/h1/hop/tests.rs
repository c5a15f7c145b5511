use super::{
    super::{Asked, Limits, Malformed, response},
    *,
};

/// The names that are kept of `fields`, and whether trailers are taken.
fn kept(fields: &str, upgrades: Upgrades) -> (Vec<String>, bool) {
    let text = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
    let (bytes, mut found) = (text.as_bytes(), Vec::new());
    response(bytes, &mut 0, &Limits::default(), Asked::Other, &mut found).unwrap().unwrap();
    let hops = Hops::of(bytes, &found, upgrades);
    let names = found
        .iter()
        .filter(|field| hops.keeps(field))
        .map(|field| String::from_utf8(field.name.of_bytes(bytes).to_vec()).unwrap())
        .collect();
    (names, hops.takes_trailers())
}

#[track_caller]
fn check(fields: &str, upgrades: Upgrades, expected: &[&str]) {
    assert_eq!(kept(fields, upgrades).0, expected, "{fields}");
}

#[test]
fn fields_for_the_next_program_alone_are_removed() {
    for name in [
        "Connection",
        "Keep-Alive",
        "Proxy-Connection",
        "Proxy-Authenticate",
        "Proxy-Authorization",
        "Proxy-Anything",
        "Proxy",
        "TE",
        "Upgrade",
        "HTTP2-Settings",
    ] {
        check(&format!("A: 1\r\n{name}: x\r\nB: 2\r\n"), Upgrades::Removed, &["A", "B"]);
    }
    check("Transfer-Encoding: chunked\r\nA: 1\r\n", Upgrades::Removed, &["A"]);
    check(
        "Proxy-Status: a\r\nTrailer: b\r\nVia: c\r\n",
        Upgrades::Removed,
        &["Proxy-Status", "Trailer", "Via"],
    );
}

#[test]
fn fields_that_connection_lists_are_removed_wherever_they_stand() {
    let fields = "X-Hop: 1\r\nConnection: keep-alive, X-HOP\r\nx-hop: 2\r\nX-Hops: 3\r\n";
    check(fields, Upgrades::Removed, &["X-Hops"]);
    check("Connection: a\r\nConnection: b\r\nA: 1\r\nB: 2\r\nC: 3\r\n", Upgrades::Removed, &["C"]);
}

#[test]
fn an_upgrade_goes_on_only_when_it_is_handed_on() {
    let fields = "Connection: upgrade\r\nUpgrade: websocket\r\n";
    check(fields, Upgrades::Removed, &[]);
    check(fields, Upgrades::HandedOn, &["Upgrade"]);
}

#[test]
fn of_te_only_trailers_counts() {
    assert!(kept("TE: trailers\r\nConnection: te\r\n", Upgrades::Removed).1);
    assert!(kept("TE: gzip;q=0.5, Trailers\r\n", Upgrades::Removed).1);
    assert!(!kept("TE: gzip\r\n", Upgrades::Removed).1);
}

#[test]
fn no_field_for_everybody_can_be_listed() {
    for name in [
        "authorization",
        "cookie",
        "host",
        "x-forwarded-for",
        "x-forwarded-client-cert",
        "X-Forwarded-Anything",
        "forwarded",
        "traceparent",
        "tracestate",
        "baggage",
        "skein-deadline-ms",
        "skein-attempt",
        "Skein-Epoch",
        "skein-anything",
        "idempotency-key",
        "content-length",
        "content-type",
        "grpc-timeout",
    ] {
        let text = format!("HTTP/1.1 200 OK\r\nConnection: x, {name}\r\n\r\n");
        let limits = Limits::default();
        let read = response(text.as_bytes(), &mut 0, &limits, Asked::Other, &mut Vec::new());
        assert_eq!(read, Err(Malformed::ConnectionStrips), "{name}");
    }
}
