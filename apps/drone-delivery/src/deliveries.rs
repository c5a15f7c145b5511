//! One delivery: where it stands, calling it off, moving it.

use http::{Method, header};
use serde_json::{Value, json};
use service_kit::{Call, segment};
use skein::{Exit, Failure, Output, Table};

use crate::{
    cli::{DeliveryCommand, MoveArguments},
    system::System,
};

/// Runs one of the commands.
pub(crate) async fn run(
    system: System,
    command: DeliveryCommand,
    output: Output,
) -> Result<Exit, Failure> {
    let document = match command {
        DeliveryCommand::Show { id } => show(&system, &id).await?,
        DeliveryCommand::Cancel { id } => {
            let call = Call::new("gateway", Method::DELETE, request_path(&id));
            system.ask(call).await?;
            json!({"deliveryId": id, "asked": "cancel"})
        }
        DeliveryCommand::Reschedule { id, changes } => {
            let call = Call::new("gateway", Method::PATCH, request_path(&id))
                .header(header::CONTENT_TYPE, "application/json")
                .json(&changes_of(changes));
            system.ask(call).await?;
            json!({"deliveryId": id, "asked": "reschedule"})
        }
    };
    output.result(&document, &table(&document));
    Ok(Exit::Done)
}

/// The body of a move: what is not said stays as it was.
fn changes_of(arguments: MoveArguments) -> Value {
    let MoveArguments { pickup, dropoff, pickup_time, deadline } = arguments;
    let members = [
        ("pickupLocation", pickup),
        ("dropOffLocation", dropoff),
        ("pickupTime", pickup_time),
        ("deadline", deadline),
    ];
    members.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

fn request_path(id: &str) -> String {
    format!("/api/deliveryrequests/{}", segment(id))
}

/// The request, and the delivery with its events once it exists.
async fn show(system: &System, id: &str) -> Result<Value, Failure> {
    let mut document = system.ask(Call::get("gateway", request_path(id))).await?;
    let path = format!("/api/deliveries/{}", segment(id));
    for (member, end) in [("delivery", ""), ("status", "/status"), ("events", "/events")] {
        match system.ask(Call::get("gateway", format!("{path}{end}"))).await {
            Ok(found) => document[member] = found,
            Err(failure) if failure.exit == Exit::NotFound => break,
            Err(failure) => return Err(failure),
        }
    }
    Ok(document)
}

fn table(document: &Value) -> Table {
    let mut table = Table::new(&["WHAT", "VALUE"]);
    let scalar = |it: &Value| it.as_str().map_or_else(|| it.to_string(), str::to_owned);
    for (name, value) in document.as_object().into_iter().flatten() {
        match value {
            Value::Null | Value::Object(_) | Value::Array(_) => {}
            value => table.row([name.clone(), scalar(value)]),
        }
    }
    for who in ["droneId", "carrier"] {
        if let Some(name) = document["delivery"][who].as_str() {
            table.row([who, name]);
        }
    }
    let events = &document["events"];
    let events = events.as_array().or_else(|| events["events"].as_array());
    for event in events.into_iter().flatten() {
        let at = event["occurredAt"].as_str().unwrap_or_default();
        table.row([at.to_owned(), scalar(&event["stage"])]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_move_says_what_changes_and_nothing_else() {
        let dropoff = Some("60.18,24.95".to_owned());
        let moved = MoveArguments { pickup: None, dropoff, pickup_time: None, deadline: None };
        assert_eq!(changes_of(moved), json!({"dropOffLocation": "60.18,24.95"}));
    }

    #[test]
    fn whoever_carries_it_is_named() {
        let shown = |it: Value| table(&json!({"delivery": it})).render("");
        assert!(shown(json!({"droneId": "drone-1"})).contains("droneId  drone-1"));
        assert!(shown(json!({"droneId": null, "carrier": "demo"})).contains("carrier  demo"));
    }
}
