//! Files that mean to hurt.

use mesh_policy::schema::{
    Code, DEPTH_MAX, FILE_BYTES_MAX, FINDINGS_MAX, Finding, SourceFile, read,
};

fn refused(text: String) -> Vec<Finding> {
    let file = SourceFile { name: "file.yaml".to_owned(), text };
    read(&[file]).unwrap_err()
}

#[track_caller]
fn check(text: String, expected: Code) {
    let findings = refused(text);
    assert_eq!(findings[0].code, expected, "{}", findings[0]);
    assert!(findings.len() <= FINDINGS_MAX + 1);
}

#[test]
fn a_file_has_a_mebibyte_and_no_more() {
    let empty = "#".repeat(FILE_BYTES_MAX);
    let file = SourceFile { name: "file.yaml".to_owned(), text: empty.clone() };
    assert!(read(&[file]).is_ok());
    check(empty + "#", Code::FileTooLarge);
}

#[test]
fn lists_and_mappings_stand_in_each_other_so_deep_and_no_deeper() {
    let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    check(nested(DEPTH_MAX), Code::WrongType);
    check(nested(DEPTH_MAX + 1), Code::TooDeep);
    check("- ".repeat(FILE_BYTES_MAX / 2), Code::TooDeep);
    check("a: {".repeat(FILE_BYTES_MAX / 4), Code::TooDeep);
}

#[test]
fn a_billion_laughs_are_refused_at_the_first_anchor() {
    check("a: &a [ha, ha]\nb: &b [*a, *a]\nc: [*b, *b]\n".to_owned(), Code::Anchor);
    check("a: !!binary aGE=\n".to_owned(), Code::Anchor);
}

#[test]
fn the_end_of_a_file_is_a_place_in_it() {
    for (text, line, column) in [
        ("[", 1, 2),
        ("a: [\n", 2, 1),
        ("a: 1\r\n\r[", 3, 2),
        ("[\r[", 2, 2),
        ("é: [", 1, 5),
        ("%: ��������a\u{0}", 1, 14),
    ] {
        let found = &refused(text.to_owned())[0];
        assert_eq!(
            (found.code, found.line, found.column),
            (Code::Syntax, line, column),
            "{text:?}"
        );
    }
}

#[test]
fn a_lone_carriage_return_ends_a_line() {
    let found = &refused("# é\rkind: x\rapiVersion: y\r".to_owned())[0];
    assert_eq!((found.line, found.excerpt.len()), (2, 3), "{found:?}");
    assert_eq!(found.excerpt[1], (2, "kind: x".to_owned()));
}

#[test]
fn what_a_file_holds_stays_on_its_line() {
    let found = &refused("apiVersion: skein/v1\nkind: \"Fa\\nu\\e[2Jlt\"\n".to_owned())[0];
    assert_eq!(found.to_string().lines().count(), 1, "{found}");
    assert!(!found.to_string().contains('\u{1b}'), "{found:?}");
}

#[test]
fn findings_end_with_one_that_says_so() {
    let findings = refused("kind: x\n---\n".repeat(FINDINGS_MAX));
    assert_eq!(findings.len(), FINDINGS_MAX + 1);
    let last = findings.last().map(|it| it.code);
    assert_eq!(last, Some(Code::TooManyFindings));
}

#[test]
fn of_a_long_line_only_the_piece_around_the_place_is_kept() {
    use std::fmt::Write as _;
    let mut text = String::from("apiVersion: skein/v1\nkind: Fault\nmetadata: {name: x}\nspec: {");
    for number in 0..20_000 {
        write!(text, "m{number}: 1, ").unwrap();
    }
    text.push('}');
    let findings = refused(text);
    assert_eq!(findings.len(), FINDINGS_MAX + 1);
    for finding in findings.iter().take(FINDINGS_MAX) {
        let shown = finding.render();
        assert!(shown.lines().all(|it| it.chars().count() < 120), "{shown}");
        let lines: Vec<&str> = shown.lines().collect();
        let caret = lines.iter().position(|it| it.contains('^')).unwrap();
        let marked: String = lines[caret - 1]
            .chars()
            .zip(lines[caret].chars())
            .filter(|(_, it)| *it == '^')
            .map(|(it, _)| it)
            .collect();
        assert!(finding.message.contains(&format!("`{marked}`")), "{shown}");
    }
}
