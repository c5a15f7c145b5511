use super::{super::Known, *};

fn parse(text: &str) -> Result<(RequestLine, Vec<Field>), Malformed> {
    let mut fields = Vec::new();
    let line = request(text.as_bytes(), &mut 0, &Limits::default(), &mut fields)?.unwrap();
    Ok((line, fields))
}

#[test]
fn a_request_is_read_with_its_fields() {
    let text = "POST /a?b=c HTTP/1.1\r\nHost: shop:8080\r\nContent-Length:  5 \r\n\r\nhello";
    let (line, fields) = parse(text).unwrap();
    let bytes = text.as_bytes();
    assert_eq!(line.method.of_bytes(bytes), b"POST");
    assert_eq!(line.target.of_bytes(bytes), b"/a?b=c");
    assert_eq!((line.form, line.minor), (TargetForm::Origin, 1));
    assert_eq!(line.body, BodyLength::Known(5));
    assert_eq!(&bytes[line.length..], b"hello");
    assert_eq!(line.host.unwrap().of_bytes(bytes), b"shop:8080");
    assert_eq!(
        fields.iter().map(|it| it.known).collect::<Vec<_>>(),
        [Known::Host, Known::ContentLength]
    );
    assert_eq!(fields[1].value.of_bytes(bytes), b"5");
}

#[test]
fn an_absolute_target_is_taken_apart() {
    let check = |target: &str, host: &str, authority: &str, path: &str| {
        let text = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let (line, _) = parse(&text).unwrap();
        let TargetForm::Absolute { authority: found, path: rest } = line.form else {
            panic!("{target} is {:?}", line.form)
        };
        assert_eq!(found.of_bytes(text.as_bytes()), authority.as_bytes());
        assert_eq!(rest.of_bytes(text.as_bytes()), path.as_bytes());
        assert_eq!(line.host, Some(found));
    };
    check("http://a/b?c", "a", "a", "/b?c");
    check("HTTPS://A:443", "a", "A:443", "");
    check("http://[::1]:80?x=/", "[::1]", "[::1]:80", "?x=/");
}

/// Fields of a request, and what it says: persists, expects 100, upgrades.
#[track_caller]
fn check_says(version: &str, fields: &str, persists: bool, expects: bool, upgrades: bool) {
    let (line, _) = parse(&format!("GET / {version}\r\nHost: a\r\n{fields}\r\n")).unwrap();
    assert_eq!((line.persists, line.expects_continue, line.upgrade), (persists, expects, upgrades));
}

#[test]
fn a_connection_stays_open_as_its_version_and_options_say() {
    check_says("HTTP/1.1", "", true, false, false);
    check_says("HTTP/1.1", "Connection: Close\r\n", false, false, false);
    check_says(
        "HTTP/1.1",
        "Connection: keep-alive\r\nConnection: x, close\r\n",
        false,
        false,
        false,
    );
    check_says("HTTP/1.0", "", false, false, false);
    check_says("HTTP/1.0", "Connection: Keep-Alive\r\n", true, false, false);
    check_says("HTTP/1.0", "Connection: keep-alive, close\r\n", false, false, false);
}

#[test]
fn expectations_and_upgrades_are_of_http_1_1() {
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    check_says("HTTP/1.1", "Expect: 100-Continue\r\n", true, true, false);
    check_says("HTTP/1.0", "Expect: 100-continue\r\n", false, false, false);
    check_says("HTTP/1.1", "Expect: something\r\n", true, false, false);
    check_says("HTTP/1.1", upgrade, true, false, true);
    check_says("HTTP/1.0", upgrade, false, false, false);
    check_says("HTTP/1.1", "Connection: upgrade\r\n", true, false, false);
    check_says("HTTP/1.1", "Upgrade: websocket\r\n", true, false, false);
}

fn answer(asked: Asked, text: &str) -> Result<StatusLine, Malformed> {
    let whole = response(text.as_bytes(), &mut 0, &Limits::default(), asked, &mut Vec::new())?;
    let (mut scanned, mut fields) = (0, Vec::new());
    let limits = Limits::default();
    for end in 0..text.find("\r\n\r\n").unwrap() + 4 {
        let part = &text.as_bytes()[..end];
        assert_eq!(response(part, &mut scanned, &limits, asked, &mut fields), Ok(None), "{end}");
    }
    assert_eq!(response(text.as_bytes(), &mut scanned, &limits, asked, &mut fields), Ok(whole));
    Ok(whole.unwrap())
}

#[track_caller]
fn check_answer(asked: Asked, text: &str, status: u16, body: BodyLength, persists: bool) {
    let line = answer(asked, text).unwrap();
    assert_eq!((line.status, line.body, line.persists), (status, body, persists), "{text}");
}

#[test]
fn the_body_of_a_response_ends_where_its_status_and_request_say() {
    use Asked::{Connect, Head, Other};
    use BodyLength::{Chunked, Known, None, UntilClose};
    let length = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    check_answer(Other, length, 200, Known(3), true);
    check_answer(Head, length, 200, None, true);
    check_answer(Connect, length, 200, None, false);
    check_answer(Other, chunked, 200, Chunked, true);
    check_answer(Head, chunked, 200, None, true);
    check_answer(Other, "HTTP/1.1 200 OK\r\n\r\n", 200, UntilClose, false);
    check_answer(
        Other,
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n",
        200,
        UntilClose,
        false,
    );
    check_answer(Other, "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", 204, None, true);
    check_answer(Other, "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 304, None, true);
    check_answer(Other, "HTTP/1.1 100 Continue\r\n\r\n", 100, None, true);
    check_answer(Other, "HTTP/1.1 101 Switching Protocols\r\n\r\n", 101, None, false);
    check_answer(Connect, "HTTP/1.1 502 No\r\nContent-Length: 1\r\n\r\n", 502, Known(1), true);
    check_answer(Other, "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", 200, Known(1), false);
    check_answer(Other, "HTTP/1.1 299\r\nContent-Length: 1\r\n\r\n", 299, Known(1), true);
}

#[test]
fn a_response_that_can_be_read_in_two_ways_is_refused() {
    let check =
        |text: &str, malformed| assert_eq!(answer(Asked::Other, text), Err(malformed), "{text}");
    let coding = "Transfer-Encoding: chunked\r\n";
    check(
        &format!("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n{coding}\r\n"),
        Malformed::LengthAndCoding,
    );
    check(&format!("HTTP/1.0 200 OK\r\n{coding}\r\n"), Malformed::TransferEncodingVersion);
    check(&format!("HTTP/1.1 204 No\r\n{coding}\r\n"), Malformed::BodyForbidden);
    check("HTTP/1.1 204 No\r\nContent-Length: 3\r\n\r\n", Malformed::BodyForbidden);
    check("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", Malformed::TransferEncoding);
    check(
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
        Malformed::ContentLengthRepeated,
    );
    check("HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", Malformed::FoldedField);
    check("HTTP/1.1 200 OK\nX: a\r\n\r\n", Malformed::BareLineFeed);
    check("HTTP/1.1 200 O\0K\r\n\r\n", Malformed::StatusLine);
    check("HTTP/1.1 20 OK\r\n\r\n", Malformed::StatusLine);
    check("HTTP/1.1 2000 OK\r\n\r\n", Malformed::StatusLine);
    check("HTTP/1.1 099 OK\r\n\r\n", Malformed::StatusLine);
    check("HTTP/1.1  200 OK\r\n\r\n", Malformed::StatusLine);
    check("HTTP/2.0 200 OK\r\n\r\n", Malformed::Version);
    check("\r\nHTTP/1.1 200 OK\r\n\r\n", Malformed::StatusLine);
    check("HTTP/1.1 200 OK\r\nConnection: content-type\r\n\r\n", Malformed::ConnectionStrips);
}

#[test]
fn an_interim_response_is_followed_by_another() {
    let text =
        "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let first = answer(Asked::Other, text).unwrap();
    assert_eq!((first.status, first.body, first.persists), (103, BodyLength::None, true));
    assert_eq!(answer(Asked::Other, &text[first.length..]).unwrap().status, 200);
}
