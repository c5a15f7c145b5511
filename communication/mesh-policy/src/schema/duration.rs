//! Durations by GEP-2257: up to four times a number of up to five digits with `h`, `m`, `s` or `ms`.

use std::time::Duration;

const UNITS_MAX: usize = 4;
const DIGITS_MAX: usize = 5;

/// The duration that a text says; `None` where it says none.
#[must_use]
pub fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    let mut units = 0;
    while !rest.is_empty() {
        let digits = rest.find(|it: char| !it.is_ascii_digit())?;
        let letters = &rest[digits..];
        let unit = letters.find(|it: char| !it.is_ascii_lowercase()).unwrap_or(letters.len());
        let amount: u64 = rest[..digits].parse().ok()?;
        units += 1;
        if digits > DIGITS_MAX || units > UNITS_MAX {
            return None;
        }
        total += match &letters[..unit] {
            "h" => Duration::from_secs(amount * 3600),
            "m" => Duration::from_secs(amount * 60),
            "s" => Duration::from_secs(amount),
            "ms" => Duration::from_millis(amount),
            _ => return None,
        };
        rest = &letters[unit..];
    }
    (units > 0).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, millis: Option<u64>) {
        assert_eq!(parse(text), millis.map(Duration::from_millis), "{text}");
    }

    #[test]
    fn units_add_up() {
        check("1h30m", Some(5_400_000));
        check("500ms", Some(500));
        check("1h2m3s4ms", Some(3_723_004));
        check("0s", Some(0));
        check("99999h", Some(359_996_400_000));
        check("1s1s", Some(2_000));
    }

    #[test]
    fn what_the_gateway_api_refuses_is_refused() {
        for text in ["", "1", "s", "1d", "1.5s", "-1s", "100000s", "1s1s1s1s1s", "1 s", "1S", "١s"]
        {
            check(text, None);
        }
    }
}
