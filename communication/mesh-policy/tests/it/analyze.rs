//! Every code, by a file that shows it: `data/findings/SK….yaml` and beside it what people read.

use mesh_policy::{
    explain::explain,
    schema::{Code, Finding, Level, Origins, SourceFile, read, read_with_origins},
};

use crate::schema::{data, rendered};

/// Everything there is to say about files.
fn findings(files: &[SourceFile]) -> Vec<Finding> {
    match read_with_origins(files) {
        Ok((policy, origins)) => mesh_policy::analyze::analyze(&policy, &origins),
        Err(findings) => findings,
    }
}

/// Codes whose files would be too large to keep; `schema_bounds` makes them.
const MADE: [Code; 2] = [Code::FileTooLarge, Code::TooManyFindings];

#[test]
fn every_code_is_shown_by_its_file_and_no_other_code_is() {
    for code in Code::ALL.iter().filter(|it| !MADE.contains(it)) {
        let found = findings(&[data(&format!("findings/{code}.yaml"))]);
        let codes: Vec<Code> = found.iter().map(|it| it.code).collect();
        assert!(!codes.is_empty(), "{code}: nothing found");
        assert!(codes.iter().all(|it| it == code), "{code}: {}", rendered(&found));
        let expected = data(&format!("findings/{code}.txt")).text;
        assert_eq!(rendered(&found), expected, "{code}");
    }
}

#[test]
fn every_finding_has_a_place_and_a_page() {
    for code in Code::ALL.iter().filter(|it| !MADE.contains(it)) {
        for finding in findings(&[data(&format!("findings/{code}.yaml"))]) {
            assert!(finding.line > 0 && finding.column > 0, "{finding}");
            assert!(finding.excerpt.iter().any(|(line, _)| *line == finding.line), "{finding}");
            assert!(explain(finding.code.as_str()).is_some(), "{finding}");
        }
    }
}

#[test]
fn nothing_is_said_about_what_newcomers_write() {
    for name in ["proxy", "edge", "canary", "traffic", "versions", "limits", "grpc"] {
        let found = findings(&[data(&format!("examples/{name}.yaml"))]);
        assert!(found.is_empty(), "{name}: {}", rendered(&found));
    }
}

#[test]
fn a_policy_without_origins_is_judged_as_well() {
    let policy = read(&[data("findings/SK2002.yaml")]).unwrap();
    let found = mesh_policy::analyze::analyze(&policy, &Origins::default());
    assert_eq!(found.len(), 1);
    let line = "warning: this rule answers 500: it has no backends and redirects nowhere  [SK2002]";
    assert_eq!(found[0].to_string(), line);
}

/// Pairs of files: what is said about the first is not said about the second.
#[track_caller]
fn check(code: Code, change: (&str, &str)) {
    let mut file = data(&format!("findings/{code}.yaml"));
    assert!(file.text.contains(change.0), "{code}: `{}` is not there", change.0);
    file.text = file.text.replace(change.0, change.1);
    let found = findings(&[file]);
    let is_told = found.iter().any(|it| it.code == code || it.level == Level::Error);
    assert!(!is_told, "{code}: {}", rendered(&found));
}

#[test]
fn what_is_mended_is_not_told_again() {
    check(Code::NoBackend, ("}}]\n", "}}]\n      backendRefs: [{name: orders}]\n"));
    check(Code::ZeroWeights, ("v2, weight: 0", "v2, weight: 1"));
    check(Code::UnknownBackend, ("ordres", "orders"));
    check(Code::RetriesBeyondTimeout, ("request: 5s", "request: 6s"));
    check(Code::UnsafeRetry, ("POST", "PUT"));
    check(Code::UnsafeRetry, ("attempts: 1", "attempts: 0"));
    check(
        Code::OverlappingRoutes,
        ("[{name: stock}]", "[{name: stock}]\n      matches: [{method: GET}]"),
    );
    check(Code::SunsetBeforeDeprecation, ("sunset: 2026", "sunset: 2027"));
    check(Code::UnknownRoute, ("ordres", "orders"));
    check(Code::FaultWithoutExpiry, ("share", "expiresAfter: 1m\n  share"));
    check(Code::BreakerNeverOpens, ("successRateMin: 0", "successRateMin: 1%"));
    check(Code::PortTwice, ("0.0.0.0", "127.0.0.2"));
    check(
        Code::RetriesWithoutTryTimeout,
        ("- retry", "- timeouts: {backendRequest: 1s}\n      retry"),
    );
}
