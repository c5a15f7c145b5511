//! The reader of policy files.

use mesh_policy::{
    analyze::analyze,
    route::Table,
    schema::{FINDINGS_MAX, Finding, SourceFile, read_with_origins},
};

/// A file: it is a policy that can be put to use, or findings at places that it has.
pub(crate) fn policy(data: &[u8]) {
    let text = String::from_utf8_lossy(data).into_owned();
    let file = SourceFile { name: "file.yaml".to_owned(), text: text.clone() };
    let findings = match read_with_origins(&[file]) {
        Ok((policy, origins)) => {
            for parent in policy.routes.iter().flat_map(|it| &it.parents) {
                assert!(Table::compile(&policy.routes, parent).is_ok(), "{parent:?}");
            }
            analyze(&policy, &origins)
        }
        Err(findings) => {
            assert!(!findings.is_empty());
            findings
        }
    };
    assert!(findings.len() <= FINDINGS_MAX + 1);
    findings.iter().for_each(|it| check_place(&text, it));
}

/// Its line is one of the file, its column in it or just behind; it can be shown.
fn check_place(text: &str, finding: &Finding) {
    let shown = finding.render();
    assert!(shown.ends_with('\n') && shown.lines().count() <= 5, "{shown}");
    assert!(shown.chars().all(|it| it == '\n' || !it.is_control()), "{shown:?}");
    if finding.line == 0 {
        return;
    }
    // YAML's line ends: CR LF, LF, CR.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let line = text.split('\n').nth(finding.line - 1);
    let line = line.unwrap_or_else(|| panic!("no such line: {finding}"));
    let columns = 1..=line.chars().count() + 1;
    assert!(columns.contains(&finding.column), "no such column: {finding}");
}
