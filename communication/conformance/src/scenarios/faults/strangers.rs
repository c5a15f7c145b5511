//! What one connection does that is not as it should be is that connection's business.

use kafka_wire::{
    ApiKey, ErrorCode, messages::ApiVersionsRequest, messages::ApiVersionsResponse, request,
};

use crate::{
    capability::MAKES,
    judge::{Judged, Stop, same},
    scenario::{Scenario, scenario},
    stage::{Stage, publish},
};

#[rustfmt::skip]
pub(crate) const ALL: &[Scenario] = &[
    scenario!(Faults, noise_ends_its_own_connection_alone, [MAKES],
        "Bytes that are no request end their connection; others go on.",
        "the end of one connection, and publishes over another"),
    scenario!(Faults, a_length_beyond_all_bounds_is_not_waited_for, [MAKES],
        "A frame that claims two gigabytes ends its connection at once.",
        "the end of one connection, and publishes over another"),
    scenario!(Faults, half_a_request_harms_nobody, [MAKES],
        "A client that goes in the middle of a request takes nobody with it.",
        "publishes after twenty of them"),
    scenario!(Faults, requests_that_come_together_are_all_answered, [],
        "Requests may be sent without waiting for answers, which come in their order.",
        "the numbers of ten answers"),
    scenario!(Faults, a_request_in_pieces_is_put_together, [],
        "A request may come byte by byte.",
        "its answer"),
    scenario!(Faults, fifty_connections_at_a_time_are_served, [],
        "Fifty clients are served at the same time.",
        "an answer on each of fifty connections that stand together"),
];

async fn others_go_on(stage: &Stage, topic: &str) -> Judged {
    let client = stage.client("bystander");
    publish(&client, topic, "a", 0..3).await?;
    same("records", stage.held(&client, topic).await?, 3)
}

async fn ended_by(stage: &Stage, bytes: &[u8]) -> Judged {
    let topic = stage.topic(1).await?;
    let mut wire = stage.wire().await?;
    wire.send(bytes).await?;
    wire.closed().await?;
    others_go_on(stage, &topic).await
}

async fn noise_ends_its_own_connection_alone(stage: &Stage) -> Judged {
    // A length that fits, then a request of no kind.
    let mut bytes = 64_i32.to_be_bytes().to_vec();
    bytes.extend([0xee; 64]);
    ended_by(stage, &bytes).await
}

async fn a_length_beyond_all_bounds_is_not_waited_for(stage: &Stage) -> Judged {
    ended_by(stage, &i32::MAX.to_be_bytes()).await
}

async fn half_a_request_harms_nobody(stage: &Stage) -> Judged {
    let topic = stage.topic(1).await?;
    let whole = request(ApiKey::ApiVersions, 1, "conformance", &ApiVersionsRequest {});
    for _ in 0..20 {
        let mut wire = stage.wire().await?;
        wire.send(&whole[..whole.len() / 2]).await?;
    }
    others_go_on(stage, &topic).await
}

async fn requests_that_come_together_are_all_answered(stage: &Stage) -> Judged {
    let mut wire = stage.wire().await?;
    let all =
        (1..=10).map(|it| request(ApiKey::ApiVersions, it, "conformance", &ApiVersionsRequest {}));
    wire.send(&all.collect::<Vec<_>>().concat()).await?;
    for number in 1..=10_i32 {
        let answer = wire.answer().await?;
        let found = answer.get(..4).ok_or_else(|| Stop("an answer without a number".to_owned()))?;
        same("the number of an answer", found, &number.to_be_bytes()[..])?;
    }
    Ok(())
}

async fn a_request_in_pieces_is_put_together(stage: &Stage) -> Judged {
    let mut wire = stage.wire().await?;
    for byte in request(ApiKey::ApiVersions, 7, "conformance", &ApiVersionsRequest {}) {
        wire.send(&[byte]).await?;
    }
    same("the number of the answer", wire.answer().await?.get(..4), Some(&7_i32.to_be_bytes()[..]))
}

async fn fifty_connections_at_a_time_are_served(stage: &Stage) -> Judged {
    let mut wires = Vec::new();
    for _ in 0..50 {
        wires.push(stage.wire().await?);
    }
    for wire in &mut wires {
        let answer: ApiVersionsResponse =
            wire.ask(ApiKey::ApiVersions, &ApiVersionsRequest {}).await?;
        same("the answer", answer.error, ErrorCode::None)?;
    }
    Ok(())
}
