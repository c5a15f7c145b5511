//! Points in time as the original's clients write them.

use base::Timestamp;
use jiff::{civil::DateTime, fmt::strtime, tz::TimeZone};

/// Reads RFC 3339 (also with an offset without a colon), or the locale form that the original put
/// into its messages, such as `Jul 28, 2017 04:06:24 PM`, which counts as UTC.
#[must_use]
pub fn parse_time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    Timestamp::parse(text).or_else(|| compact_offset(text)).or_else(|| locale_form(text))
}

/// The first moment of a month (UTC) and the first after it; `None` for a month that is none.
#[must_use]
pub fn month_range(year: i16, month: i8) -> Option<(Timestamp, Timestamp)> {
    let first = |year, month| {
        let date = jiff::civil::Date::new(year, month, 1).ok()?;
        let exact = date.to_zoned(TimeZone::UTC).ok()?.timestamp();
        Some(Timestamp::from_millis(exact.as_millisecond()))
    };
    let (next_year, next_month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    if year < 1 { None } else { Some((first(year, month)?, first(next_year, next_month)?)) }
}

/// `2026-05-14T20:10:00.000+0000`, as the original's own echo writes it.
fn compact_offset(text: &str) -> Option<Timestamp> {
    let at = text.len().checked_sub(5)?;
    let (moment, offset) = (text.get(..at)?, text.get(at..)?);
    let (hours, minutes) = (offset.get(..3)?, offset.get(3..)?);
    if !offset.starts_with(['+', '-']) || !moment.contains('T') {
        return None;
    }
    Timestamp::parse(&format!("{moment}{hours}:{minutes}"))
}

fn locale_form(text: &str) -> Option<Timestamp> {
    // Newer formatters put a narrow no-break space before the half of the day.
    let text = text.replace('\u{202f}', " ");
    let read = |form| strtime::parse(form, &text).ok().and_then(|it| it.to_datetime().ok());
    let moment: DateTime =
        read("%b %d, %Y %I:%M:%S %p").or_else(|| read("%b %d, %Y, %I:%M:%S %p"))?;
    let exact = moment.to_zoned(TimeZone::UTC).ok()?.timestamp();
    Some(Timestamp::from_millis(exact.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        let expected = expected.map(|it| Timestamp::parse(it).unwrap());
        assert_eq!(parse_time(text), expected, "{text}");
    }

    #[test]
    fn every_form_of_the_original_is_read() {
        check("2026-05-14T20:00:00.000Z", Some("2026-05-14T20:00:00Z"));
        check("2026-05-14T20:10:00.000+0000", Some("2026-05-14T20:10:00Z"));
        check("2026-05-14T20:10:00+02:00", Some("2026-05-14T18:10:00Z"));
        check("Jul 28, 2017 04:06:24 PM", Some("2017-07-28T16:06:24Z"));
        check("Jul 8, 2017, 12:06:24\u{202f}AM", Some("2017-07-08T00:06:24Z"));
    }

    #[test]
    fn a_month_ends_where_the_next_begins() {
        let at = |text| Timestamp::parse(text).unwrap();
        let expected = (at("2026-12-01T00:00:00Z"), at("2027-01-01T00:00:00Z"));
        assert_eq!(month_range(2026, 12), Some(expected));
        assert_eq!(
            (month_range(2026, 0), month_range(2026, 13), month_range(0, 1)),
            (None, None, None)
        );
    }

    #[test]
    fn other_texts_are_not_times() {
        for text in ["", "yesterday", "2026-05-14", "+0000", "Jul 2017", "ä+0000"] {
            check(text, None);
        }
    }
}
