//! What an address of a person looks like, where clients say how to reach them.
//!
//! The form alone, and no more of it than keeps out what cannot be one: whether anybody reads there is
//! found out by sending.

/// Characters before the `@` of a mail address (RFC 5321, 4.5.3.1.1).
const LOCAL_CHARS_MAX: usize = 64;
/// Characters behind it (RFC 5321, 4.5.3.1.2).
const DOMAIN_CHARS_MAX: usize = 255;
/// Digits of a number for calls: three of a short code, fifteen of the longest (ITU-T E.164, 6.2.1).
const DIGITS: std::ops::RangeInclusive<usize> = 3..=15;
/// Characters of one, with what people write between the digits.
const NUMBER_CHARS_MAX: usize = 40;

/// Whether a text has the form of one mail address, without a name and without quotes.
pub(crate) fn is_mail_address(text: &str) -> bool {
    let fits = |part: &str, chars_max: usize| {
        (1..=chars_max).contains(&part.chars().count()) && part.chars().all(may_stand_bare)
    };
    let parts = text.split_once('@');
    parts.is_some_and(|(local, domain)| {
        fits(local, LOCAL_CHARS_MAX) && fits(domain, DOMAIN_CHARS_MAX)
    })
}

/// What needs no quotes in a mail address; letters of any language do not (RFC 6531).
fn may_stand_bare(it: char) -> bool {
    !it.is_whitespace() && !it.is_control() && !r#""(),:;<>@[\]"#.contains(it)
}

/// Whether a text has the form of a number for calls: digits, a `+` before them, and blanks, dots,
/// hyphens and brackets between them.
pub(crate) fn is_phone_number(text: &str) -> bool {
    let digits = text.chars().filter(char::is_ascii_digit).count();
    let rest = text.strip_prefix('+').unwrap_or(text);
    DIGITS.contains(&digits)
        && text.chars().count() <= NUMBER_CHARS_MAX
        && rest.chars().all(|it| it.is_ascii_digit() || " .-()".contains(it))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_address_has_something_on_both_sides_of_one_at() {
        let long = "x".repeat(64);
        for text in
            ["a@example.org", "a.b+c/d@localhost", "anna.mäkinen@yhtiö.fi", &format!("{long}@a")]
        {
            assert!(is_mail_address(text), "{text:?}");
        }
        let too_long = format!("x{long}@a");
        for text in [
            "",
            "a",
            "@",
            "a@",
            "@a",
            "a@b@c",
            "a b@c",
            "a@b\n",
            "Ann <a@b>",
            "a@b,c@d",
            "a@[::1]",
            "http://127.0.0.1:80/",
            "x@127.0.0.1:80",
            &too_long,
        ] {
            assert!(!is_mail_address(text), "{text:?}");
        }
    }

    #[test]
    fn a_number_for_calls_is_digits_and_what_people_write_between_them() {
        for text in ["+358", "112", "+358 40 123", "(040) 12-34.56", "123456789012345"] {
            assert!(is_phone_number(text), "{text:?}");
        }
        for text in [
            "",
            "+",
            "12",
            "1234567890123456",
            "+358 40 CALL",
            "358+40",
            "http://127.0.0.1:8000/",
            "1 2 3 4                                     5",
        ] {
            assert!(!is_phone_number(text), "{text:?}");
        }
    }
}
