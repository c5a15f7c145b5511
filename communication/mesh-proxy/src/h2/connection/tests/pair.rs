//! What two ends say to each other.

use super::*;

/// Two ends with what is on its way between them.
struct Pair {
    client: Connection,
    server: Connection,
    to_server: BytesMut,
    to_client: BytesMut,
    random: Rng,
}

impl Pair {
    fn new(seed: u64) -> Self {
        let mut pair = Self {
            client: Connection::new(Side::Client, BOUNDS),
            server: Connection::new(SERVER, BOUNDS),
            to_server: BytesMut::new(),
            to_client: BytesMut::new(),
            random: Rng::with_seed(seed),
        };
        let preface = pair.client.out()[..PREFACE.len()].to_vec();
        assert_eq!(preface, PREFACE);
        pair.client.wrote(PREFACE.len());
        pair
    }

    /// Carries what waits, in pieces of any size.
    fn carry(&mut self) {
        let random = &mut self.random;
        let mut carry = |from: &mut Connection, to: &mut Connection, way: &mut BytesMut| {
            let size = random.usize(..=from.out().len());
            way.extend_from_slice(&from.out()[..size]);
            from.wrote(size);
            to.receive(way, Duration::ZERO).unwrap();
        };
        carry(&mut self.client, &mut self.server, &mut self.to_server);
        carry(&mut self.server, &mut self.client, &mut self.to_client);
    }
}

/// Whatever the size of what is carried at once: three requests and answers of up to 2 MB at a time, over
/// windows of 64 and 256 KiB, arrive whole, with their trailers.
#[test]
fn bodies_larger_than_all_windows_go_both_ways_in_pieces_of_any_size() {
    for seed in 0..20 {
        println!("seed {seed}");
        let mut pair = Pair::new(seed);
        let context = Context::from_waker(Waker::noop());
        let sizes = [0_usize, 70_000, 2_000_000];
        let mut calls = Vec::new();
        for size in sizes {
            let id = pair.client.request(false, Then::More, |out| {
                out.extend_from_slice(&get());
            });
            calls.push((id, Bytes::from(vec![7_u8; size]), 0_usize));
        }
        let mut answers: Vec<(u32, Bytes, usize)> = Vec::new();
        let mut ended = 0;
        let mut turns = 0;
        while ended < 3 {
            turns += 1;
            assert!(turns < 200_000, "nothing goes on");
            pair.carry();
            for (id, left, _) in &mut calls {
                let _sent = pair.client.poll_data(*id, left, Then::End, &context);
            }
            while let Some((id, _)) = pair.server.next_opened() {
                answers.push((id, Bytes::new(), 0));
            }
            for (id, left, taken) in &mut answers {
                match pair.server.poll_piece(*id, &context) {
                    Poll::Ready(Some(piece)) => *taken += piece.unwrap().data_ref().unwrap().len(),
                    Poll::Ready(None) if *taken != usize::MAX => {
                        *left = Bytes::from(vec![9_u8; *taken]);
                        *taken = usize::MAX;
                        pair.server.respond(*id, Then::More, |out| hpack::put_status(out, 200));
                    }
                    Poll::Ready(None) if left.is_empty() => {
                        let mut trailers = HeaderMap::new();
                        trailers.insert("x-end", "said".parse().unwrap());
                        pair.server.trailers(*id, &trailers);
                    }
                    Poll::Ready(None) => {
                        let _sent = pair.server.poll_data(*id, left, Then::More, &context);
                    }
                    Poll::Pending => {}
                }
            }
            for (id, _, received) in &mut calls {
                if let Poll::Ready(response) = pair.client.poll_response(*id, &context) {
                    assert_eq!(response.unwrap().status, StatusCode::OK);
                }
                match pair.client.poll_piece(*id, &context) {
                    Poll::Ready(Some(piece)) => match piece.unwrap().into_data() {
                        Ok(data) => *received += data.len(),
                        Err(frame) => {
                            assert_eq!(frame.into_trailers().unwrap()["x-end"], "said");
                            ended += 1;
                        }
                    },
                    Poll::Ready(None) | Poll::Pending => {}
                }
            }
        }
        assert_eq!(calls.iter().map(|it| it.2).collect::<Vec<_>>(), sizes);
    }
}

#[test]
fn a_farewell_lets_requests_on_their_way_in_and_none_later() {
    let mut pair = Pair::new(1);
    let carry = |pair: &mut Pair| (0..200).for_each(|_| pair.carry());
    carry(&mut pair);
    pair.server.leave();
    let asked = |pair: &mut Pair| {
        pair.client.request(false, Then::End, |out| out.extend_from_slice(&get()))
    };
    let early = asked(&mut pair);
    carry(&mut pair);
    assert_eq!(pair.server.next_opened().map(|it| it.0), Some(early));
    assert!(!pair.client.is_open(), "the client knows");
    assert!(!pair.server.is_over(), "one is being answered");
    // A client that does not care.
    let late = asked(&mut pair);
    carry(&mut pair);
    assert!(pair.server.next_opened().is_none());
    let context = Context::from_waker(Waker::noop());
    assert_eq!(pair.client.poll_reset(late, &context), Poll::Pending);
    pair.server.respond(early, Then::End, |out| hpack::put_status(out, 204));
    pair.server.drop_stream(early);
    carry(&mut pair);
    assert!(pair.server.is_over());
    let response = pair.client.poll_response(early, &context);
    assert!(matches!(response, Poll::Ready(Ok(it)) if it.status == StatusCode::NO_CONTENT));
}

#[test]
fn what_certainly_was_not_looked_at_is_told_from_what_may_have_been() {
    let mut client = Connection::new(Side::Client, BOUNDS);
    receive(&mut client, &frame(kind::SETTINGS, 0, 0, &[])).unwrap();
    let asked = |client: &mut Connection| {
        client.request(false, Then::End, |out| out.extend_from_slice(&get()))
    };
    let (seen, named) = (asked(&mut client), asked(&mut client));
    let size = client.out().len();
    client.wrote(size);
    let unsent = asked(&mut client);
    let context = Context::from_waker(Waker::noop());
    // GOAWAY with the first of them as the last that was looked at.
    receive(&mut client, &frame(kind::GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0])).unwrap();
    assert_eq!(client.poll_reset(seen, &context), Poll::Pending);
    assert_eq!(client.poll_reset(named, &context), Poll::Ready(Reset::Unprocessed));
    client.end(None);
    assert_eq!(client.poll_reset(seen, &context), Poll::Ready(Reset::Lost));
    assert_eq!(client.poll_reset(unsent, &context), Poll::Ready(Reset::Unprocessed));
    // The same without a word of the other end.
    let mut client = Connection::new(Side::Client, BOUNDS);
    let unsent = asked(&mut client);
    client.end(None);
    assert_eq!(client.poll_reset(unsent, &context), Poll::Ready(Reset::Unprocessed));
}

#[test]
fn an_end_that_asks_for_a_smaller_table_is_told_that_it_is_empty() {
    let mut client = Connection::new(Side::Client, BOUNDS);
    client.wrote(PREFACE.len());
    receive(&mut client, &frame(kind::SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0])).unwrap();
    said(&mut client);
    for expected in [0x20, 0x82] {
        client.request(false, Then::End, |out| out.extend_from_slice(&get()));
        assert_eq!(client.out()[HEADER_BYTES], expected);
        said(&mut client);
    }
}
