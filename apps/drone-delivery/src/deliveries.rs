//! One delivery: where it stands, calling it off, moving it.

use http::{Method, header};
use serde_json::{Value, json};
use service_kit::{Call, segment};
use skein::{Exit, Failure, Output, Table};

use crate::{cli::DeliveryCommand, system::System};

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
        DeliveryCommand::Reschedule { id, pickup, dropoff, pickup_time } => {
            // What is not said here stays as it was.
            let body = json!({
                "pickupLocation": pickup, "dropOffLocation": dropoff, "pickupTime": pickup_time,
            });
            let call = Call::new("gateway", Method::PATCH, request_path(&id))
                .header(header::CONTENT_TYPE, "application/json")
                .json(&body);
            system.ask(call).await?;
            json!({"deliveryId": id, "asked": "reschedule"})
        }
    };
    output.result(&document, &table(&document));
    Ok(Exit::Done)
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
    if let Some(drone) = document["delivery"]["droneId"].as_str() {
        table.row(["droneId", drone]);
    }
    let events = &document["events"];
    let events = events.as_array().or_else(|| events["events"].as_array());
    for event in events.into_iter().flatten() {
        let at = event["occurredAt"].as_str().unwrap_or_default();
        table.row([at.to_owned(), scalar(&event["stage"])]);
    }
    table
}
