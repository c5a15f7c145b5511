//! What of a stranger's text may come to a terminal, a page or a message.

/// Whether it stands where it is written and moves nothing else. Control characters do not: they end lines and
/// drive terminals. Nor do what ends a line elsewhere (U+2028, U+2029) and the marks of direction, by which a text
/// reads otherwise than it is (Boucher and Anderson, *Trojan Source*, 2021).
#[must_use]
pub const fn is_printable(character: char) -> bool {
    !matches!(
        character,
        '\0'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_control_character_and_no_mark_of_direction_is_printable() {
        let every = || char::MIN..=char::MAX;
        assert!(every().filter(|it| it.is_control()).all(|it| !is_printable(it)));
        assert!("\u{202e}\u{2066}\u{200f}\u{61c}\u{2028}".chars().all(|it| !is_printable(it)));
        assert!("a ä 字 👍\u{200d} א \u{a0}".chars().all(is_printable));
        assert_eq!(every().filter(|it| !is_printable(*it)).count(), 65 + 14);
    }
}
