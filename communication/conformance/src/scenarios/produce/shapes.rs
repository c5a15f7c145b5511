//! What of a message survives: key, body, headers, attributes, times.

use std::collections::BTreeMap;

use base::Timestamp;
use bytes::Bytes;
use kafka_wire::{ErrorCode, batch};
use messaging::{Delivered, Message};
use telemetry::TraceContext;

use crate::{
    capability::MAKES,
    judge::{Judged, Stop, holds, same},
    scenario::{Scenario, scenario},
    stage::{Stage, message},
};

/// Less than Kafka's own bound of a batch, with what goes around it.
const LARGE: usize = 900 << 10;

#[rustfmt::skip]
pub(crate) const ALL: &[Scenario] = &[
    scenario!(Produce, every_attribute_survives, [MAKES],
        "Id, source, type, subject, time, media type and key come back as they were.",
        "the message read back"),
    scenario!(Produce, headers_survive, [MAKES],
        "Further headers come back, each with its value.",
        "three headers read back"),
    scenario!(Produce, an_empty_header_survives, [MAKES],
        "A header without a value is not lost.",
        "an empty header read back"),
    scenario!(Produce, a_header_beyond_ascii_survives, [MAKES],
        "Headers are UTF-8.",
        "a header in four scripts read back"),
    scenario!(Produce, sixty_four_headers_survive, [MAKES],
        "The number of headers is not bounded to a few.",
        "64 headers read back"),
    scenario!(Produce, a_trace_goes_with_the_message, [MAKES],
        "The trace that caused a message stands in it.",
        "the trace id read back"),
    scenario!(Produce, a_message_without_a_key_has_none, [MAKES],
        "No key stays no key.",
        "the message read back"),
    scenario!(Produce, an_empty_key_is_a_key, [MAKES],
        "An empty key is not a missing one.",
        "the message read back"),
    scenario!(Produce, a_key_beyond_ascii_survives, [MAKES],
        "Keys are UTF-8.",
        "the message read back"),
    scenario!(Produce, an_empty_body_survives, [MAKES],
        "A message may have no body.",
        "the message read back"),
    scenario!(Produce, a_body_of_every_byte_survives, [MAKES],
        "A body is bytes, not text.",
        "256 different bytes read back"),
    scenario!(Produce, a_body_of_900_kib_survives, [MAKES],
        "A body of 900 KiB arrives whole.",
        "the body read back"),
    scenario!(Produce, the_longest_message_survives, [MAKES],
        "The longest message that the client takes, 1 MiB, is taken by the log.",
        "the body read back"),
    scenario!(Produce, large_and_small_stand_in_their_order, [MAKES],
        "A large message does not let small ones pass.",
        "the order of nine messages of a key"),
    scenario!(Produce, the_time_of_publishing_is_told, [MAKES],
        "A message says when it was published.",
        "its time lies between before and after"),
    scenario!(Produce, the_time_of_the_event_is_not_that_of_publishing, [MAKES],
        "When something happened and when it was published are two times.",
        "a message about 1970, read back"),
    scenario!(Produce, a_foreign_time_survives, [MAKES],
        "The time that a foreign producer gives a record stays.",
        "a record of an hour ago from a raw client"),
];

/// Publishes one message, and reads it back.
async fn there_and_back(stage: &Stage, sent: Message) -> Result<Delivered, Stop> {
    let topic = stage.topic(2).await?;
    let client = stage.client("one");
    let receipt = client.publish(&topic, sent).await?;
    let read = client.read(&topic, receipt.partition, receipt.offset, 1).await?;
    read.into_iter().next().ok_or_else(|| Stop("nothing stands there".to_owned()))
}

async fn every_attribute_survives(stage: &Stage) -> Judged {
    let sent = Message {
        id: "f3c1".to_owned(),
        source: "/services/orders".to_owned(),
        kind: "com.example.Paid.v2".to_owned(),
        subject: Some("order-7".to_owned()),
        time: Timestamp::from_millis(1_700_000_000_123),
        content_type: "application/cbor".to_owned(),
        ..message("a", 1)
    };
    let found = there_and_back(stage, sent.clone()).await?.message;
    same("the message", Message { trace: None, ..found }, sent)
}

async fn headers(stage: &Stage, headers: BTreeMap<String, String>) -> Judged {
    let sent = Message { headers: headers.clone(), ..message("a", 1) };
    same("the headers", there_and_back(stage, sent).await?.message.headers, headers)
}

fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

async fn headers_survive(stage: &Stage) -> Judged {
    headers(stage, pairs([("operation", "pay"), ("tenant", "t1"), ("x-empty-not", "1")])).await
}

async fn an_empty_header_survives(stage: &Stage) -> Judged {
    headers(stage, pairs([("empty", ""), ("full", "1")])).await
}

async fn a_header_beyond_ascii_survives(stage: &Stage) -> Judged {
    headers(stage, pairs([("customer", "Zoë 李 Ωμέγα Ж")])).await
}

async fn sixty_four_headers_survive(stage: &Stage) -> Judged {
    let many = (0..64).map(|it| (format!("header-{it:02}"), it.to_string()));
    headers(stage, many.collect()).await
}

async fn a_trace_goes_with_the_message(stage: &Stage) -> Judged {
    let trace =
        TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", None);
    let sent = Message { trace: trace.clone(), ..message("a", 1) };
    let found = there_and_back(stage, sent).await?.message.trace;
    // The span is the publish's own; the trace is the caller's.
    let id = |it: Option<TraceContext>| it.map(|it| it.traceparent()[..35].to_owned());
    same("the trace", id(found), id(trace))
}

async fn a_message_without_a_key_has_none(stage: &Stage) -> Judged {
    let sent = Message { key: None, ..message("a", 1) };
    same("the key", there_and_back(stage, sent).await?.message.key, None)
}

async fn an_empty_key_is_a_key(stage: &Stage) -> Judged {
    let sent = Message { key: Some(String::new()), ..message("a", 1) };
    same("the key", there_and_back(stage, sent).await?.message.key, Some(String::new()))
}

async fn a_key_beyond_ascii_survives(stage: &Stage) -> Judged {
    let sent = message("straße-Ω-東京", 1);
    let key = sent.key.clone();
    same("the key", there_and_back(stage, sent).await?.message.key, key)
}

async fn body(stage: &Stage, body: Bytes) -> Judged {
    let sent = Message { body: body.clone(), ..message("a", 1) };
    let found = there_and_back(stage, sent).await?.message.body;
    same("bytes of the body", found.len(), body.len())?;
    holds(found == body, "the body has other bytes")
}

async fn an_empty_body_survives(stage: &Stage) -> Judged {
    body(stage, Bytes::new()).await
}

async fn a_body_of_every_byte_survives(stage: &Stage) -> Judged {
    body(stage, (0..=u8::MAX).collect()).await
}

/// Bytes that no codec makes small.
fn noise(length: usize) -> Bytes {
    let mut random = fastrand::Rng::with_seed(7);
    std::iter::repeat_with(|| random.u8(..)).take(length).collect()
}

async fn a_body_of_900_kib_survives(stage: &Stage) -> Judged {
    body(stage, noise(LARGE)).await
}

async fn the_longest_message_survives(stage: &Stage) -> Judged {
    let headers = message("a", 1).headers;
    let of_headers: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    body(stage, noise(base::MESSAGE_BYTES_MAX - of_headers)).await
}

async fn large_and_small_stand_in_their_order(stage: &Stage) -> Judged {
    let topic = stage.topic(2).await?;
    let client = stage.client("one");
    for number in 0..9 {
        let large = number % 3 == 1;
        let length = if large { LARGE / 2 } else { 10 };
        client.publish(&topic, Message { body: noise(length), ..message("a", number) }).await?;
    }
    let found = stage.all(&client, &topic).await?;
    let found: Vec<_> = found.into_iter().map(|it| it.message.id).collect();
    same("the order", found, crate::stage::ids("a", 0..9))
}

async fn the_time_of_publishing_is_told(stage: &Stage) -> Judged {
    let before = stage.now();
    let found = there_and_back(stage, message("a", 1)).await?.published_at;
    holds(before <= found && found <= stage.now(), format!("published at {found}"))
}

async fn the_time_of_the_event_is_not_that_of_publishing(stage: &Stage) -> Judged {
    let happened = Timestamp::from_millis(1_000);
    let before = stage.now();
    let found = there_and_back(stage, Message { time: happened, ..message("a", 1) }).await?;
    same("when it happened", found.message.time, happened)?;
    holds(found.published_at >= before, "the time of the event is told as that of publishing")
}

async fn a_foreign_time_survives(stage: &Stage) -> Judged {
    let time = stage.an_hour_ago();
    let topic = stage.topic(1).await?;
    let record = batch::Record {
        value: Some(Bytes::from_static(b"x")),
        timestamp: time,
        ..batch::Record::default()
    };
    let mut wire = stage.wire_to(&topic, 0).await?;
    let produced = wire.produce(&topic, 0, -1, batch::encode(&[record], None)).await?;
    same("the answer", produced.error, ErrorCode::None)?;
    let read = stage.client("one").read(&topic, 0, 0, 1).await?;
    let found = read.first().map(|it| it.published_at);
    same("its time", found, Some(Timestamp::from_millis(time)))
}
