//! Durations on a command line.

use std::time::Duration;

/// Durations as in the Gateway API: `250ms`, `30s`, `1m30s`.
///
/// # Errors
/// In words, what was expected.
pub fn duration(text: &str) -> Result<Duration, String> {
    let expected = || format!("`{text}` is no duration such as 250ms, 30s or 5m");
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|it: char| !it.is_ascii_digit()).ok_or_else(expected)?;
        let number: u32 = rest[..digits].parse().map_err(|_| expected())?;
        rest = &rest[digits..];
        let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
        let unit = units.into_iter().find_map(|(name, millis)| {
            let rest = rest.strip_prefix(name)?;
            // `m` is not the beginning of another unit here: `ms` was looked for first.
            Some((rest, millis))
        });
        let (left, millis) = unit.ok_or_else(expected)?;
        total += Duration::from_millis(u64::from(number) * millis);
        rest = left;
    }
    if total.is_zero() { Err(format!("`{text}` is no time at all")) } else { Ok(total) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, millis: Option<u64>) {
        assert_eq!(duration(text).ok(), millis.map(Duration::from_millis), "{text}");
    }

    #[test]
    fn durations_are_those_of_the_gateway_api() {
        check("250ms", Some(250));
        check("30s", Some(30_000));
        check("1m30s", Some(90_000));
        check("1h", Some(3_600_000));
        for bad in ["", "0s", "5", "s", "1.5s", "5d", "-5s", "5 s", "99999999999s"] {
            check(bad, None);
        }
    }
}
