//! The settings of a topic that clients can name: which there are, and what they may be.
//!
//! What is not carried out is refused: a setting that is taken and has no effect is a lie.

use std::collections::BTreeMap;

use kafka_wire::{ErrorCode, messages::admin::DescribedSetting};

use crate::{
    config::TopicConfig,
    topic_error::{TopicError, refuse},
};

pub(crate) const RETENTION_MS: &str = "retention.ms";
pub(crate) const RETENTION_BYTES: &str = "retention.bytes";
const SYNCED: &str = "skein.synced";
/// Settings that have one value here.
const FIXED: [(&str, &str); 4] = [
    ("cleanup.policy", "delete"),
    ("compression.type", "producer"),
    ("message.timestamp.type", "CreateTime"),
    ("min.insync.replicas", "1"),
];
/// Where a setting comes from: the topic itself, or the default.
const OWN: i8 = 1;
const DEFAULT: i8 = 5;

/// A bound on what is kept; none where the client asks for none.
pub(crate) fn bound(name: &str, value: &str) -> Result<Option<u64>, TopicError> {
    if value == "-1" {
        return Ok(None);
    }
    let refused = |_| refuse(ErrorCode::InvalidConfig, format!("`{name}` is no number"));
    value.parse().map(Some).map_err(refused)
}

/// A topic as a client asks for it.
pub(crate) fn described(
    name: String,
    partitions: u32,
    settings: &BTreeMap<String, String>,
) -> Result<TopicConfig, TopicError> {
    let mut topic =
        TopicConfig { name, partitions, synced: true, retention_ms: None, retention_bytes: None };
    for (name, value) in settings {
        match name.as_str() {
            RETENTION_MS => topic.retention_ms = bound(name, value)?,
            RETENTION_BYTES => topic.retention_bytes = bound(name, value)?,
            SYNCED if value == "true" || value == "false" => topic.synced = value == "true",
            name => check_fixed(name, value)?,
        }
    }
    Ok(topic)
}

/// A setting that has one value here may be set to that.
pub(crate) fn check_fixed(name: &str, value: &str) -> Result<(), TopicError> {
    match FIXED.iter().find(|it| it.0 == name) {
        Some((_, only)) if *only == value => Ok(()),
        Some((_, only)) => {
            Err(refuse(ErrorCode::InvalidConfig, format!("`{name}` is `{only}` here")))
        }
        None => Err(refuse(ErrorCode::InvalidConfig, format!("`{name}` = `{value}` is not known"))),
    }
}

/// The settings of a topic as a client reads them.
pub(crate) fn describe(topic: &TopicConfig, message_bytes_max: usize) -> Vec<DescribedSetting> {
    let setting = |name: &str, value: String, is_read_only, source| DescribedSetting {
        name: name.to_owned(),
        value: Some(value),
        is_read_only,
        source,
        ..DescribedSetting::default()
    };
    let bound = |name, value: Option<u64>| {
        let source = if value.is_some() { OWN } else { DEFAULT };
        setting(name, value.map_or_else(|| "-1".to_owned(), |it| it.to_string()), false, source)
    };
    let mut settings = vec![
        bound(RETENTION_MS, topic.retention_ms),
        bound(RETENTION_BYTES, topic.retention_bytes),
        setting("max.message.bytes", message_bytes_max.to_string(), true, DEFAULT),
        setting(SYNCED, topic.synced.to_string(), true, OWN),
    ];
    settings.extend(FIXED.map(|(name, value)| setting(name, value.to_owned(), true, DEFAULT)));
    settings
}
