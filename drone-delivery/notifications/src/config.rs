//! What can be set: which channels there are, and how long each is tried.

use std::time::Duration;

use base::Backoff;
use http::Uri;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

/// How long and how often one message is tried on one channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Patience {
    /// Tries in all, the first included.
    pub attempts_max: u32,
    /// Milliseconds before the second try; each further wait is three times as long.
    pub first_wait_ms: u64,
    /// Milliseconds that no wait exceeds.
    pub wait_ms_max: u64,
    /// Seconds after which it is given up: what nobody needs to hear any more is not sent.
    pub give_up_after_s: u32,
    /// Milliseconds that one try may take.
    pub timeout_ms: u64,
}

impl Default for Patience {
    /// Twenty tries within a day outlive a night's outage of a provider.
    fn default() -> Self {
        Self {
            attempts_max: 20,
            first_wait_ms: 5_000,
            wait_ms_max: 3_600_000,
            give_up_after_s: 86_400,
            timeout_ms: 10_000,
        }
    }
}

impl Patience {
    /// The waits between tries.
    pub(crate) const fn backoff(&self) -> Backoff {
        Backoff {
            initial: Duration::from_millis(self.first_wait_ms),
            factor: 3,
            cap: Duration::from_millis(self.wait_ms_max),
        }
    }

    /// Time of one try.
    pub(crate) const fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}

/// How customers are told. A channel without a server is none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NotificationConfig {
    /// Mail.
    pub smtp: SmtpConfig,
    /// Text messages.
    pub sms: SmsConfig,
    /// A customer's program.
    pub webhook: WebhookConfig,
    /// How long each is tried.
    pub patience: Patience,
    /// Public address of `/api/notifications/unsubscribe`, which mails and texts lead to; without it
    /// none does.
    #[serde(deserialize_with = "address")]
    pub unsubscribe_url: String,
}

/// The address of somebody outside, or nothing. Read with the settings, so that nobody learns of a bad one
/// when the first message is to leave.
fn address<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    let is_one = |it: &Uri| {
        matches!(it.scheme_str(), Some("http" | "https"))
            && it.host().is_some_and(|it| !it.is_empty())
    };
    if text.is_empty() || text.parse().is_ok_and(|it| is_one(&it)) {
        return Ok(text);
    }
    Err(D::Error::custom(format!("`{text}` is no address such as https://drones.example/path")))
}

impl NotificationConfig {
    /// Whether anybody outside of this machine is told.
    #[must_use]
    pub const fn reaches_out(&self) -> bool {
        !self.smtp.host.is_empty() || !self.sms.url.is_empty() || !self.webhook.url.is_empty()
    }
}

/// Whether a mail server's connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SmtpTls {
    /// It never is: for a server on this machine.
    None,
    /// It becomes so by STARTTLS, or nothing is sent.
    #[default]
    Starttls,
    /// From the first byte on.
    Tls,
}

/// A mail server that takes our mails.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SmtpConfig {
    /// Its name; empty for none.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether the connection is encrypted. Who it is, the machine's own list of authorities tells, and the
    /// file beside it.
    pub tls: SmtpTls,
    /// Who we are to it; empty to send without saying.
    pub user: String,
    /// With which password.
    pub password: String,
    /// The sender that customers see.
    pub from: String,
}

impl Default for SmtpConfig {
    fn default() -> Self {
        Self {
            host: String::new(),
            port: 587,
            tls: SmtpTls::default(),
            user: String::new(),
            password: String::new(),
            from: "Drone Delivery <deliveries@localhost>".to_owned(),
        }
    }
}

/// A provider of text messages: takes `POST {to, from, text, reference}` as JSON.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SmsConfig {
    /// Where it takes them; empty for none.
    #[serde(deserialize_with = "address")]
    pub url: String,
    /// Sent as `Authorization: Bearer`; empty for none.
    pub token: String,
    /// The sender that customers see.
    pub from: String,
}

/// A program that takes every notice as a signed `POST`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebhookConfig {
    /// Where it takes them; empty for none.
    #[serde(deserialize_with = "address")]
    pub url: String,
    /// Key of the signature. A webhook without one is refused at the start.
    pub secret: String,
}

/// Where operators' alerts are sent to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AlertConfig {
    /// Alertmanager's `/api/v2/alerts`, or whatever takes its form; empty for none.
    #[serde(deserialize_with = "address")]
    pub url: String,
    /// How long one is tried.
    pub patience: Patience,
}

/// Why settings cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A receiver could not tell our calls from anybody's.
    #[error("`notifications.webhook.secret` is empty, so calls could not be signed")]
    Unsigned,
    /// An address to call is none.
    #[error("`{setting}` is no http or https address that can be called")]
    Url {
        /// The setting.
        setting: &'static str,
    },
    /// It is called over TLS, and nobody can be believed about who is there.
    #[error("`{setting}` cannot be called over TLS: {why}")]
    Unbelieved {
        /// The setting.
        setting: &'static str,
        /// Why.
        why: String,
    },
    /// The sender of mails is no address.
    #[error("`notifications.smtp.from` is no mail address")]
    Sender,
    /// The mail server's name cannot be used.
    #[error("`notifications.smtp` cannot be used over TLS")]
    Smtp,
}

/// Shows a setting that is secret only as given or not.
const fn given(secret: &str) -> &'static str {
    if secret.is_empty() { "none" } else { "given" }
}

impl std::fmt::Debug for SmtpConfig {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { host, port, tls, password, .. } = self;
        let mut shown = formatter.debug_struct("SmtpConfig");
        shown.field("host", host).field("port", port).field("tls", tls);
        shown.field("password", &given(password)).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for SmsConfig {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = formatter.debug_struct("SmsConfig");
        shown.field("url", &self.url).field("token", &given(&self.token)).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for WebhookConfig {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = formatter.debug_struct("WebhookConfig");
        shown.field("url", &self.url).field("secret", &given(&self.secret)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, is_one: bool) {
        let read = |it: serde_json::Value| serde_json::from_value::<NotificationConfig>(it);
        for settings in [
            serde_json::json!({"unsubscribe_url": url}),
            serde_json::json!({"sms": {"url": url}}),
            serde_json::json!({"webhook": {"url": url}}),
        ] {
            let refused = read(settings).map_err(|it| it.to_string());
            assert_eq!(refused.is_ok(), is_one, "{refused:?}");
        }
    }

    #[test]
    fn an_address_that_is_none_is_refused_with_the_settings() {
        check("", true);
        check("https://drones.example/api/notifications/unsubscribe", true);
        check("http://127.0.0.1:9000", true);
        check("nonsense", false);
        check("drones.example/stop", false);
        check("ftp://drones.example", false);
    }
}
