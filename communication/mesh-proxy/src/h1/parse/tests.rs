use super::*;

#[track_caller]
fn accepted(text: &str) -> RequestLine {
    let mut fields = Vec::new();
    request(text.as_bytes(), &mut 0, &Limits::default(), &mut fields).unwrap().unwrap()
}

#[test]
fn a_request_is_read_with_its_fields() {
    let text = "POST /a?b=c HTTP/1.1\r\nHost: shop:8080\r\nContent-Length:  5 \r\n\r\nhello";
    let line = accepted(text);
    let bytes = text.as_bytes();
    assert_eq!(line.method.of_bytes(bytes), b"POST");
    assert_eq!(line.target.of_bytes(bytes), b"/a?b=c");
    assert_eq!(line.form, TargetForm::Origin);
    assert_eq!(line.body, BodyLength::Known(5));
    assert_eq!(&bytes[line.length..], b"hello");
    assert_eq!(line.host.unwrap().of_bytes(bytes), b"shop:8080");
    assert!(line.persists);
}
