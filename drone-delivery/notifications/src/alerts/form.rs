//! Alertmanager's form of alerts (its API v2, `POST /api/v2/alerts`). Pure.

use serde_json::{Value, json};

use super::AlertRow;
use crate::post::Post;

/// Name of all our alerts: they differ by their other labels.
const NAME: &str = "DroneDeliveryNeedsSomebody";

/// Alerts in one call. One that somebody looks after has an end.
pub(super) fn post<'a>(alerts: impl Iterator<Item = &'a AlertRow>) -> Post {
    let all: Vec<Value> = alerts.map(alert).collect();
    Post { headers: Vec::new(), body: Value::from(all).to_string().into_bytes() }
}

fn alert(row: &AlertRow) -> Value {
    let mut labels = json!({
        "alertname": NAME,
        "severity": row.severity,
        "service": row.service,
        "reason": row.reason,
        "alert": row.id,
    });
    if let Some(delivery) = &row.delivery_id {
        labels["delivery"] = json!(delivery);
    }
    let mut alert = json!({
        "labels": labels,
        "annotations": {"summary": row.text, "count": row.count.to_string()},
        "startsAt": row.first_seen.to_rfc3339(),
    });
    if let Some(at) = row.acknowledged_at {
        alert["endsAt"] = json!(at.to_rfc3339());
    }
    alert
}
