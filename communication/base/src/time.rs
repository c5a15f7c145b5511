//! Points in time: wall time for people, time since boot for decisions.

use std::{fmt, ops::Add, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Wall time in whole milliseconds since 1970-01-01T00:00:00Z. JSON form: RFC 3339 with milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Timestamp(i64);

/// The span that RFC 3339 can write at any offset, in milliseconds: from year 0000 into the last days of 9999.
const SPAN_MS: std::ops::RangeInclusive<i64> = -62_167_219_200_000..=253_402_207_199_999;

impl Timestamp {
    /// From milliseconds since 1970; values that no four-digit year can hold are clamped.
    #[must_use]
    pub fn from_millis(millis: i64) -> Self {
        Self(millis.clamp(*SPAN_MS.start(), *SPAN_MS.end()))
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Reads RFC 3339, with any offset.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        jiff::Timestamp::from_str(text).ok().map(|it| Self::from_millis(it.as_millisecond()))
    }

    /// RFC 3339 in UTC with milliseconds, such as `2026-05-14T20:10:00.000Z`.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        let exact = jiff::Timestamp::from_millisecond(self.0).unwrap_or_default();
        format!("{exact:.3}")
    }

    /// How long ago `earlier` was; zero when it lies in the future.
    #[must_use]
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, by: Duration) -> Self {
        Self::from_millis(self.0.saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.to_rfc3339())
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_rfc3339())
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom(format!("`{text}` is not RFC 3339")))
    }
}

/// Milliseconds since the machine booted: it never jumps, and every process reads the same.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Monotonic(u64);

impl Monotonic {
    /// From milliseconds since boot.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since boot.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// How long ago `earlier` was; zero when it lies in the future.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Monotonic {
    type Output = Self;

    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, millis: i64, written: &str) {
        let read = Timestamp::parse(text).unwrap();
        assert_eq!(read.as_millis(), millis);
        assert_eq!(read.to_rfc3339(), written);
    }

    #[test]
    fn rfc_3339_is_read_with_any_offset_and_written_in_utc() {
        check("1970-01-01T00:00:00Z", 0, "1970-01-01T00:00:00.000Z");
        check("2026-05-14T22:10:00.5+02:00", 1_778_789_400_500, "2026-05-14T20:10:00.500Z");
        check("1969-12-31T23:59:59.999Z", -1, "1969-12-31T23:59:59.999Z");
    }

    #[test]
    fn other_texts_are_refused() {
        assert_eq!(Timestamp::parse("yesterday"), None);
        assert_eq!(Timestamp::parse(""), None);
    }

    #[test]
    fn json_is_the_rfc_3339_string() {
        let time = Timestamp::from_millis(1_500);
        assert_eq!(serde_json::to_string(&time).unwrap(), r#""1970-01-01T00:00:01.500Z""#);
        assert_eq!(serde_json::from_str::<Timestamp>(r#""1970-01-01T00:00:01.5Z""#).unwrap(), time);
        assert!(serde_json::from_str::<Timestamp>("5").is_err());
    }

    #[test]
    fn extremes_neither_panic_nor_wrap() {
        let last = Timestamp::from_millis(i64::MAX) + Duration::from_secs(1);
        assert!(last.to_rfc3339().starts_with("9999-12-30"));
        assert_eq!(last.saturating_since(Timestamp::from_millis(i64::MAX)), Duration::ZERO);
        assert_eq!((Monotonic::from_millis(u64::MAX) + Duration::MAX).as_millis(), u64::MAX);
    }
}
