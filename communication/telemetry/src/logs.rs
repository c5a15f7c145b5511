//! Logs: one event is one line on standard error, whatever stands in its fields.
//!
//! Own formatting instead of the library's: a log must not be forgeable by a header with a line
//! feed or an escape sequence in it, the trace id must stand at the top of the object, and fields
//! that hold a person's data or a secret are masked by name before they are written.

mod format;
mod redact;

use std::{
    io::Write as _,
    sync::{Mutex, PoisonError},
};

use base::SharedClock;
use tracing::{
    Event, Subscriber,
    level_filters::LevelFilter,
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt as _},
    registry::{LookupSpan, Registry},
    util::SubscriberInitExt as _,
};

use format::{Fields, Line};

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line, for machines.
    Json,
    /// `time LEVEL target message name=value`, for people.
    Text,
}

/// Settings of the log of one process.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// How a line looks.
    pub format: LogFormat,
    /// Lines less severe are not written.
    pub level: LevelFilter,
    /// On every line.
    pub service: String,
    /// On every line.
    pub instance: String,
}

/// Another subscriber is installed already.
#[derive(Debug, thiserror::Error)]
#[error("a log subscriber is already installed in this process")]
pub struct AlreadyInstalledError;

/// Writes the log of this process to standard error from now on.
///
/// # Errors
/// [`AlreadyInstalledError`] when the process has a subscriber.
pub fn init(config: LogConfig, clock: SharedClock) -> Result<(), AlreadyInstalledError> {
    let layer = LogLayer::new(config, clock, |line: &[u8]| {
        // Nowhere is left to report that standard error is gone.
        let _written = std::io::stderr().lock().write_all(line);
    });
    let level = layer.config.level;
    Registry::default().with(layer.with_filter(level)).try_init().map_err(|_| AlreadyInstalledError)
}

/// A level from its word: `off`, `error`, `warn`, `info`, `debug`, `trace`.
#[must_use]
pub fn level(word: &str) -> Option<LevelFilter> {
    word.parse().ok()
}

/// Takes whole lines.
type Sink = Box<dyn FnMut(&[u8]) + Send>;

/// The layer behind [`init`], with a sink of the caller's choice.
pub struct LogLayer {
    config: LogConfig,
    clock: SharedClock,
    sink: Mutex<Sink>,
}

impl std::fmt::Debug for LogLayer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("LogLayer").field("config", &self.config).finish_non_exhaustive()
    }
}

impl LogLayer {
    /// A layer that gives each whole line, line feed included, to `sink`.
    pub fn new(
        config: LogConfig,
        clock: SharedClock,
        sink: impl FnMut(&[u8]) + Send + 'static,
    ) -> Self {
        Self { config, clock, sink: Mutex::new(Box::new(sink)) }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for LogLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        // Inner spans first: what is nearest to the event wins.
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(outer) = span.extensions().get::<Fields>() {
                fields.add_missing(outer);
            }
        }
        let line = Line {
            time: self.clock.now(),
            level: *event.metadata().level(),
            target: event.metadata().target(),
            service: &self.config.service,
            instance: &self.config.instance,
            fields: &fields,
        };
        let text = match self.config.format {
            LogFormat::Json => line.json(),
            LogFormat::Text => line.text(),
        };
        let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        sink(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};

    use base::{ManualClock, Timestamp};

    use super::*;
    use crate::{SpanKind, Telemetry};

    fn capture(format: LogFormat, work: impl FnOnce()) -> Vec<String> {
        let (sender, lines) = mpsc::channel();
        let config = LogConfig {
            format,
            level: LevelFilter::TRACE,
            service: "orders".to_owned(),
            instance: "orders-1".to_owned(),
        };
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(0)));
        let layer = LogLayer::new(config, clock, move |line: &[u8]| {
            sender.send(String::from_utf8(line.to_vec()).unwrap()).unwrap();
        });
        tracing::subscriber::with_default(Registry::default().with(layer), work);
        lines.try_iter().collect()
    }

    #[test]
    fn a_line_stays_one_valid_object_whatever_is_in_its_fields() {
        let nasty = "a\r\n{\"level\":\"error\"}\u{1b}[31m\u{7f}\u{85}\u{2028}\"\\\u{0}";
        let lines = capture(LogFormat::Json, || {
            tracing::warn!(
                header = nasty,
                count = 3,
                ratio = f64::NAN,
                big = u128::MAX,
                "odd {nasty}"
            );
        });
        assert_eq!(lines.len(), 1);
        let inner = lines[0].strip_suffix('\n').unwrap();
        assert!(inner.bytes().all(|it| (b' '..=b'~').contains(&it)), "{inner}");
        let value: serde_json::Value = serde_json::from_str(inner).unwrap();
        assert_eq!(value["header"], nasty);
        assert_eq!(value["level"], "warn");
        assert_eq!(value["count"], 3);
        assert_eq!(value["message"], format!("odd {nasty}"));
        assert_eq!((&value["service"], &value["instance"]), (&"orders".into(), &"orders-1".into()));
    }

    #[test]
    fn a_text_line_carries_no_control_characters() {
        let lines = capture(LogFormat::Text, || {
            tracing::info!(header = "a\r\nb\u{1b}[31m", "two\nlines");
        });
        assert_eq!(lines.len(), 1);
        let inner = lines[0].strip_suffix('\n').unwrap();
        assert!(!inner.chars().any(char::is_control), "{inner:?}");
        assert!(inner.contains("INFO") && inner.contains("header="), "{inner}");
    }

    #[test]
    fn a_line_inside_a_span_carries_its_trace_id() {
        let span = Telemetry::disabled().span("work", SpanKind::Internal, None);
        let trace_id = span.context().trace_id.to_string();
        let lines = capture(LogFormat::Json, || {
            span.log_span().in_scope(|| tracing::info!("inside"));
            tracing::info!("outside");
        });
        let value: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(value["trace_id"], trace_id);
        assert!(!lines[1].contains("trace_id"));
    }

    #[test]
    fn personal_data_and_secrets_are_masked() {
        let lines = capture(LogFormat::Json, || {
            tracing::info!(
                email_address = "a@b.example",
                sms = "555",
                authorization = "Bearer x",
                user = "write to ann.lee+1@mail.example now",
                "sent to bob@corp.example"
            );
        });
        for secret in ["a@b", "555", "Bearer", "ann.lee", "bob@"] {
            assert!(!lines[0].contains(secret), "{secret}: {}", lines[0]);
        }
        assert!(lines[0].contains("write to [masked] now"), "{}", lines[0]);
    }

    #[test]
    fn a_field_cannot_replace_what_the_line_says_about_itself() {
        let lines =
            capture(LogFormat::Json, || tracing::info!(level = "error", service = "x", "m"));
        let value: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!((&value["level"], &value["service"]), (&"info".into(), &"orders".into()));
        assert_eq!(lines[0].matches("\"level\"").count(), 1);
    }

    #[test]
    fn a_field_that_says_again_what_the_line_says_about_itself_is_left_out() {
        let lines = capture(LogFormat::Json, || {
            tracing::info!(instance = "orders-1", service = "x", target_ = "t", "m");
            tracing::info_span!("work", instance = %"orders-1").in_scope(|| tracing::info!("n"));
        });
        let value: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!((&value["instance"], &value.get("instance_")), (&"orders-1".into(), &None));
        assert_eq!((&value["service_"], &value["target_"]), (&"x".into(), &"t".into()));
        assert!(!lines[1].contains("instance_"), "{}", lines[1]);
    }
}
