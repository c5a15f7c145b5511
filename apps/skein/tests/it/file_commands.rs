//! `analyze` and `explain`, as a person and as a script see them.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use mesh_policy::schema::Code;
use serde_json::Value;

/// An unknown member, then a rule that leads nowhere.
const UNKNOWN: &str = "apiVersion: skein/v1\nkind: Endpoints\nmetadata: {name: stock}\n\
                       spec: {endpoint: [], endpoints: []}\n";
const NOWHERE: &str = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n\
                       metadata: {name: shop}\nspec:\n  parentRefs: [{name: edge}]\n  rules:\n  \
                       - matches: [{path: {value: /shop}}]\n";

fn skein(arguments: &[&str], directory: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skein"));
    command.args(arguments).current_dir(directory).output().unwrap()
}

/// The command's standard output, standard error and exit code.
fn said(arguments: &[&str], directory: &Path) -> (String, String, i32) {
    let output = skein(arguments, directory);
    let text = |it| String::from_utf8(it).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code().unwrap())
}

#[test]
fn a_finding_stands_on_a_line_with_place_code_and_severity() {
    let files = tempfile::tempdir().unwrap();
    fs::write(files.path().join("stock.yaml"), UNKNOWN).unwrap();
    let (out, err, code) = said(&["analyze", "stock.yaml"], files.path());
    let expected = "stock.yaml:4:8 SK1003 error: Endpoints has no member `endpoint`; \
                    did you mean `endpoints`?\n";
    assert_eq!((&*out, code), (expected, 79));
    assert_eq!(err, "1 error in 1 file; `explain SK1003` says more\n");
    let (out, _, _) = said(&["analyze", "-o", "wide", "stock.yaml"], files.path());
    assert!(out.contains("4 | spec: {endpoint: [], endpoints: []}\n"), "{out}");
    assert!(out.contains("^^^^^^^^\n"), "{out}");
}

#[test]
fn programs_get_a_list_of_objects() {
    let files = tempfile::tempdir().unwrap();
    fs::write(files.path().join("stock.yaml"), UNKNOWN).unwrap();
    let (out, _, code) = said(&["analyze", "-o", "json", "stock.yaml"], files.path());
    let found: Value = serde_json::from_str(&out).unwrap();
    let told = ["file", "line", "column", "code", "level", "suggestion"].map(|it| &found[0][it]);
    let told = serde_json::to_string(&told).unwrap();
    let suggestion = r#""did you mean `endpoints`?""#;
    assert_eq!(told, format!(r#"["stock.yaml",4,8,"SK1003","error",{suggestion}]"#));
    assert_eq!((found.as_array().unwrap().len(), code), (1, 79));
}

#[test]
fn what_is_hardly_meant_fails_only_for_who_wants_it_so() {
    let files = tempfile::tempdir().unwrap();
    fs::write(files.path().join("shop.yaml"), NOWHERE).unwrap();
    let (out, err, code) = said(&["analyze", "shop.yaml"], files.path());
    assert!(out.starts_with("shop.yaml:7:5 SK2002 warning: "), "{out}");
    assert_eq!((&*err, code), ("1 warning in 1 file; `explain SK2002` says more\n", 0));
    let strict = ["analyze", "--failure-threshold", "warning", "shop.yaml"];
    assert_eq!(said(&strict, files.path()).2, 79);
}

#[test]
fn files_that_are_right_say_nothing_and_one_that_is_not_there_is_named() {
    let files = tempfile::tempdir().unwrap();
    fs::write(files.path().join("stock.yaml"), UNKNOWN.replace("endpoint: [], ", "")).unwrap();
    let (out, err, code) = said(&["analyze", "stock.yaml"], files.path());
    assert_eq!((&*out, &*err, code), ("", "nothing to say about 1 file\n", 0));
    let (out, err, code) = said(&["analyze", "stock.yaml", "shelf.yaml"], files.path());
    assert!(out.is_empty() && err.contains("where  shelf.yaml"), "{err}");
    assert_eq!(code, 3);
    assert_eq!(said(&["analyze"], files.path()).2, 2);
}

#[test]
fn what_a_file_holds_moves_no_terminal() {
    let files = tempfile::tempdir().unwrap();
    let hostile = UNKNOWN.replace("endpoint:", "\"\\e[2J\\nend\":");
    fs::write(files.path().join("stock.yaml"), hostile).unwrap();
    for form in ["table", "wide"] {
        let (out, _, _) = said(&["analyze", "-o", form, "stock.yaml"], files.path());
        assert!(out.contains("SK1003 error:") && !out.contains('\u{1b}'), "{out:?}");
        let first = out.lines().next().unwrap();
        assert!(first.contains("end`"), "{out:?}");
    }
}

#[test]
fn every_code_is_explained_in_both_forms() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for code in Code::ALL {
        let (out, _, exit) = said(&["explain", code.as_str()], here);
        let blocks: Vec<_> = out.trim_end().split("\n\n").collect();
        assert!(exit == 0 && blocks.len() == 4, "{out}");
        assert!(blocks[0].starts_with(code.as_str()), "{out}");
        assert!(blocks[3].starts_with("    "), "{out}");
        let (out, _, _) = said(&["explain", "-o", "json", code.as_str()], here);
        let page: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(page["code"], code.as_str());
    }
}

#[test]
fn every_reason_of_a_refusal_is_explained_in_both_forms() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for code in base::Code::ALL {
        let (out, _, exit) = said(&["explain", code.as_str()], here);
        let first = format!("{}: status {}", code.as_str(), code.status());
        assert!(exit == 0 && out.starts_with(&first), "{out}");
        let (out, _, _) = said(&["explain", "-o", "json", code.as_str()], here);
        let page: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(
            (&page["code"], &page["status"]),
            (&code.as_str().into(), &code.status().into())
        );
    }
    let (_, err, code) = said(&["explain", "no_endpont"], here);
    assert!(code == 3 && err.contains("explain no_endpoint"), "{err}");
}

#[test]
fn an_unknown_code_is_answered_by_the_nearest() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (out, err, code) = said(&["explain", "SK103"], here);
    assert!(out.is_empty() && err.contains("explain SK1003"), "{err}");
    assert_eq!(code, 3);
    let (_, err, _) = said(&["explain", "whatever"], here);
    assert!(err.contains("docs/policy.md") && err.len() < 250, "{err}");
}

/// A proxy is analyzed with what it will read.
#[test]
fn the_files_that_a_proxy_names_are_analyzed_with_it() {
    let files = tempfile::tempdir().unwrap();
    let proxy = "apiVersion: skein/v1\nkind: Proxy\nmetadata: {name: shop}\nspec: {outbound: \
                 {listen: \"127.0.0.1:7101\", service: stock}, files: [stock.yaml]}\n";
    fs::write(files.path().join("shop.yaml"), proxy).unwrap();
    let (_, err, code) = said(&["analyze", "shop.yaml"], files.path());
    assert!(err.contains("where  stock.yaml") && code == 3, "{err}");
    fs::write(files.path().join("stock.yaml"), UNKNOWN).unwrap();
    let (out, _, code) = said(&["analyze", "shop.yaml"], files.path());
    assert!(out.starts_with("stock.yaml:") && code == 79, "{out}");
}

/// What a proxy would refuse at its start is told before, and where it stands.
#[test]
fn a_path_that_no_request_has_is_found_where_it_stands() {
    let files = tempfile::tempdir().unwrap();
    let route = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r}\n\
                 spec:\n  parentRefs: [{name: edge}]\n  rules:\n  - matches:\n    - path: {value: /%61bc}\n    \
                 backendRefs: [{name: stock}]\n";
    fs::write(files.path().join("r.yaml"), route).unwrap();
    let (out, _, code) = said(&["analyze", "r.yaml"], files.path());
    assert!(out.starts_with("r.yaml:8:21 SK"), "{out}");
    assert!(out.contains("is written `/abc`") && code == 79, "{out}");
}

#[test]
fn the_files_of_the_guide_and_those_that_come_with_the_program_are_clean() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let guide = ["orders.yaml", "stock.yaml", "where.yaml", "how.yaml"];
    let clean = |files: &[&str], folder: &str| {
        let line = [&["analyze", "--failure-threshold", "info"], files].concat();
        let (out, err, code) = said(&line, &root.join(folder));
        assert_eq!((&*out, code), ("", 0), "{err}");
    };
    clean(&guide, "examples/mesh");
    // Two instances of one service, each with a proxy of its own.
    clean(&[&guide[..], &["stock-2.yaml"]].concat(), "examples/mesh");
    clean(&["account-versions.yaml"], "examples/mesh");
    clean(&["versions.yaml"], "examples/mesh");
    clean(&["edge.yaml", "traffic.yaml"], "deploy/mesh");
}
