//! What is posted where: a text message to its provider, a notice to a customer's program. Pure.

use base::Timestamp;
use serde_json::json;

use crate::{
    config::{SmsConfig, WebhookConfig},
    notice::{Language, Notice},
    post::Post,
    signature, text,
};

/// A text message, for the provider. Its key is the same at each try.
pub(crate) fn sms(
    config: &SmsConfig,
    notice: &Notice,
    to: &str,
    language: Language,
    unsubscribe: Option<&str>,
) -> Post {
    let mut words = text::message(notice, language);
    if let Some(link) = unsubscribe {
        words = format!("{words} {link}");
    }
    let body = json!({"to": to, "from": config.from, "text": words, "reference": notice.id});
    let mut headers = vec![("idempotency-key", format!("\"{}\"", key(&notice.id)))];
    if !config.token.is_empty() {
        headers.push(("authorization", format!("Bearer {}", config.token)));
    }
    Post { headers, body: body.to_string().into_bytes() }
}

/// A notice, for a customer's program. It holds no address.
pub(crate) fn webhook(config: &WebhookConfig, notice: &Notice, now: Timestamp) -> Post {
    let body = json!({
        "id": notice.id,
        "deliveryId": notice.delivery_id,
        "ownerId": notice.owner_id,
        "template": notice.template,
        "reason": notice.reason,
        "occurredAt": notice.occurred_at.to_rfc3339(),
    });
    let body = body.to_string().into_bytes();
    let (id, timestamp) = (key(&notice.id), (now.as_millis() / 1_000).to_string());
    let signature = signature::webhook(&config.secret, &id, &timestamp, &body);
    let headers = vec![
        ("webhook-id", id),
        ("webhook-timestamp", timestamp),
        ("webhook-signature", signature),
    ];
    Post { headers, body }
}

/// An id as it can stand in a header: ids of clients may hold anything.
pub(crate) fn key(id: &str) -> String {
    let plain = |it: char| if it.is_ascii_graphic() && it != '"' { it } else { '_' };
    id.chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice() -> Notice {
        Notice {
            id: "d ü\"1/failed".to_owned(),
            delivery_id: "d1".to_owned(),
            owner_id: Some("o1".to_owned()),
            template: "failed".to_owned(),
            reason: None,
            occurred_at: Timestamp::from_millis(0),
        }
    }

    #[test]
    fn a_text_message_is_asked_for_under_a_key_that_a_header_can_hold() {
        let config = SmsConfig { token: "t".to_owned(), ..SmsConfig::default() };
        let post = sms(&config, &notice(), "+358", Language::En, None);
        assert_eq!(post.headers[0], ("idempotency-key", "\"d___1/failed\"".to_owned()));
        assert_eq!(post.headers[1], ("authorization", "Bearer t".to_owned()));
        let body: serde_json::Value = serde_json::from_slice(&post.body).unwrap();
        assert_eq!((&body["to"], &body["reference"]), (&json!("+358"), &json!("d ü\"1/failed")));
    }

    #[test]
    fn a_webhook_is_signed_over_what_it_carries() {
        let config = WebhookConfig { secret: "s".to_owned(), ..WebhookConfig::default() };
        let post = webhook(&config, &notice(), Timestamp::from_millis(12_345));
        let expected = signature::webhook("s", "d___1/failed", "12", &post.body);
        assert_eq!(post.headers[2], ("webhook-signature", expected));
    }
}
