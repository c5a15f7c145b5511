//! What must hold for any bytes at all. Each function panics where it does not.

use mesh_proxy::h1::{
    Asked, Decoder, Field, Known, Limits, Malformed, RequestLine, Step, request, response, write,
};
use telemetry::TraceContext;

#[path = "checks/frames.rs"]
pub(crate) mod frames;
#[path = "checks/paths.rs"]
pub(crate) mod paths;
#[path = "checks/policies.rs"]
pub(crate) mod policies;

/// The head of a request, and of a response: pieces change nothing, nothing that is accepted could
/// split a message, and what is written again is read as the same.
pub(crate) fn h1_request(data: &[u8]) {
    let limits = Limits::default();
    let (mut fields, mut pieces) = (Vec::new(), Vec::new());
    let whole = request(data, &mut 0, &limits, &mut fields);
    let mut scanned = 0;
    let cut_up = (0..=data.len())
        .map(|end| request(&data[..end], &mut scanned, &limits, &mut pieces))
        .find(|read| !matches!(read, Ok(None)))
        .unwrap_or(Ok(None));
    match whole {
        Ok(Some(line)) => {
            assert_eq!((cut_up, &pieces), (whole, &fields));
            check_request(data, &line, &fields);
        }
        Ok(None) => assert_eq!(cut_up, Ok(None)),
        Err(_) => assert!(cut_up.is_err()),
    }
    for asked in [Asked::Head, Asked::Connect, Asked::Other] {
        let whole = response(data, &mut 0, &limits, asked, &mut fields);
        if let Ok(Some(line)) = whole {
            assert!(line.length <= data.len() && line.length <= limits.head_bytes_max);
            check_fields(data, &fields);
        }
    }
}

fn check_request(data: &[u8], line: &RequestLine, fields: &[Field]) {
    let limits = Limits::default();
    assert!(line.length <= data.len() && line.length <= limits.head_bytes_max);
    assert!(line.target.len() <= limits.target_bytes_max && fields.len() <= limits.fields_max);
    assert!(line.target.of_bytes(data).iter().all(u8::is_ascii_graphic));
    check_fields(data, fields);
    let mut again = Vec::new();
    write::request_line(&mut again, line.method.of_bytes(data), line.target.of_bytes(data));
    for field in fields {
        write::field(&mut again, field.name.of_bytes(data), field.value.of_bytes(data));
    }
    again.extend_from_slice(write::END);
    let mut found = Vec::new();
    // HTTP/1.0 becomes 1.1, which asks for a Host, and a value gets a space before it.
    let Ok(read) = request(&again, &mut 0, &limits, &mut found) else {
        let no_host = line.minor == 0 && fields.iter().all(|field| field.known != Known::Host);
        assert!(no_host || again.len() > limits.head_bytes_max);
        return;
    };
    let read = read.expect("a whole head was written");
    assert_eq!((read.length, read.body), (again.len(), line.body));
    let texts = |bytes: &[u8], fields: &[Field]| -> Vec<(Vec<u8>, Vec<u8>)> {
        let text = |span: mesh_proxy::h1::Span| span.of_bytes(bytes).to_vec();
        fields.iter().map(|field| (text(field.name), text(field.value))).collect()
    };
    assert_eq!(texts(&again, &found), texts(data, fields));
}

fn check_fields(data: &[u8], fields: &[Field]) {
    for field in fields {
        assert!(write::is_name(field.name.of_bytes(data)));
        assert!(write::is_value(field.value.of_bytes(data)));
    }
}

/// A body in chunks: pieces change neither data nor end, and no step goes beyond its input.
pub(crate) fn chunk(data: &[u8]) {
    assert_eq!(decode(data, data.len().max(1)), decode(data, 1));
}

type Decoded = (Vec<u8>, Result<Option<usize>, Malformed>);

/// The data of a body that arrives in pieces of `size`, and where it ends, if it does.
fn decode(data: &[u8], size: usize) -> Decoded {
    let (mut decoder, mut at, mut body) = (Decoder::new(), 0, Vec::new());
    while at < data.len() {
        let input = &data[at..(at + size).min(data.len())];
        match decoder.step(input) {
            Err(malformed) => return (body, Err(malformed)),
            Ok(Step::More { consumed }) => {
                assert_eq!(consumed, input.len());
                at += consumed;
            }
            Ok(Step::Data { skip, length }) => {
                assert!(length > 0 && skip + length <= input.len());
                body.extend_from_slice(&input[skip..skip + length]);
                at += skip + length;
            }
            Ok(Step::End { consumed }) => {
                assert!(consumed <= input.len() && decoder.is_ended());
                check_fields(decoder.trailers().0, decoder.trailers().1);
                return (body, Ok(Some(at + consumed)));
            }
        }
    }
    (body, Ok(None))
}

/// `traceparent`, a line feed, `tracestate`: what is accepted is passed on as the same.
pub(crate) fn trace_headers(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (parent, state) = match text.split_once('\n') {
        Some((parent, state)) => (parent, Some(state)),
        None => (&*text, None),
    };
    if let Some(context) = TraceContext::parse(parent, state) {
        let again = TraceContext::parse(&context.traceparent(), context.tracestate());
        assert_eq!(again.as_ref(), Some(&context));
    }
}
