//! Which of the two texts a scraper gets: what its `Accept` names.
//!
//! `OpenMetrics` only goes to those who name it. Everybody else (no header, `*/*`, a browser, a tool
//! that reads the older form alone) gets the form that every reader knows, because read as the
//! older form a text of the newer one has untyped counters and families that stand there twice.

/// A text form of all metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Exposition {
    /// Prometheus text 0.0.4.
    #[default]
    Prometheus,
    /// `OpenMetrics` 1.0.
    OpenMetrics,
}

/// A weight in thousandths, as finely as RFC 9110 (12.4.2) lets a client say it.
type Weight = u16;
const WHOLE: Weight = 1_000;

impl Exposition {
    /// The content type of the text.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The form for a client that sent this `Accept`, empty when it sent none. A client that takes
    /// neither gets the older form: it may still be a person who looks.
    #[must_use]
    pub fn accepted(accept: &str) -> Self {
        let ranges: Vec<Range<'_>> = accept.split(',').map(Range::parse).collect();
        let open = ranges.iter().filter(|it| it.is_open_metrics()).map(|it| it.weight).max();
        // The most exact range that covers the older form says how welcome it is.
        let text = ["text/plain", "text/*", "*/*"].into_iter().find_map(|name| {
            let named = ranges.iter().filter(|it| it.media_type.eq_ignore_ascii_case(name));
            named.map(|it| it.weight).max()
        });
        match open {
            Some(open) if open > 0 && open >= text.unwrap_or(0) => Self::OpenMetrics,
            _ => Self::Prometheus,
        }
    }
}

/// One media range of an `Accept`.
struct Range<'a> {
    media_type: &'a str,
    version: Option<&'a str>,
    weight: Weight,
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default();
        let mut range = Self { media_type, version: None, weight: WHOLE };
        for (name, value) in parts.filter_map(|it| it.split_once('=')) {
            match name.trim().to_ascii_lowercase().as_str() {
                "q" => range.weight = weight(value.trim()),
                "version" => range.version = Some(value.trim().trim_matches('"')),
                _ => {}
            }
        }
        range
    }

    /// Whether it names the newer form in the version that we write.
    fn is_open_metrics(&self) -> bool {
        self.media_type.eq_ignore_ascii_case("application/openmetrics-text")
            && self.version.is_none_or(|it| it == "1.0.0")
    }
}

/// `0` to `1` with at most three digits after the point; what is none counts as not wanted.
fn weight(text: &str) -> Weight {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = part.bytes().all(|it| it.is_ascii_digit()) && part.len() <= 3;
    match whole {
        "0" if digits => format!("{part:0<3}").parse().unwrap_or(0),
        "1" if digits => WHOLE,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(accept: &str, expected: Exposition) {
        assert_eq!(Exposition::accepted(accept), expected, "{accept}");
    }

    #[test]
    fn open_metrics_goes_to_those_who_name_it_alone() {
        check("", Exposition::Prometheus);
        check("*/*", Exposition::Prometheus);
        check("text/html,application/xhtml+xml,*/*;q=0.8", Exposition::Prometheus);
        check("text/plain;version=0.0.4", Exposition::Prometheus);
        check("application/json", Exposition::Prometheus);
        check("application/openmetrics-text", Exposition::OpenMetrics);
        check(
            "Application/OpenMetrics-Text; version=1.0.0; charset=utf-8",
            Exposition::OpenMetrics,
        );
        check("application/openmetrics-text; version=\"1.0.0\"", Exposition::OpenMetrics);
        check("application/openmetrics-text; version=0.0.1", Exposition::Prometheus);
    }

    #[test]
    fn weights_decide_and_a_tie_goes_to_the_newer_form() {
        check("application/openmetrics-text;q=0.3,text/plain;q=0.4", Exposition::Prometheus);
        check("text/plain;q=0.4,application/openmetrics-text;q=0.5", Exposition::OpenMetrics);
        check("text/plain,application/openmetrics-text", Exposition::OpenMetrics);
        check("application/openmetrics-text;q=0,*/*;q=0.1", Exposition::Prometheus);
        check("application/openmetrics-text;q=0", Exposition::Prometheus);
        check("application/openmetrics-text;q=0.002,text/*;q=0.01", Exposition::Prometheus);
        check("application/openmetrics-text;q=0.5,*/*;q=1.0,text/*;q=0.1", Exposition::OpenMetrics);
        check("application/openmetrics-text;q=lots,text/plain;q=0.001", Exposition::Prometheus);
    }

    #[test]
    fn a_stock_prometheus_gets_open_metrics() {
        check(
            "application/openmetrics-text;version=1.0.0;q=0.5,\
             application/openmetrics-text;version=0.0.1;q=0.4,\
             text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            Exposition::OpenMetrics,
        );
    }
}
