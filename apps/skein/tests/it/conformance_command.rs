//! `conformance`, as a person with a log of their own uses it.

use conformance::Embedded;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

/// Standard output, standard error and exit code.
async fn said(arguments: &[&str]) -> (String, String, i32) {
    let command =
        Command::new(env!("CARGO_BIN_EXE_skein")).arg("conformance").args(arguments).output();
    let output = command.await.unwrap();
    let text = |it| String::from_utf8(it).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code().unwrap())
}

fn log(directory: &TempDir) -> (Embedded, String) {
    let embedded = Embedded::start(directory.path()).unwrap();
    let address = embedded.address().to_string();
    (embedded, address)
}

#[tokio::test]
async fn what_holds_on_a_log_is_told_to_people_and_to_programs_and_nothing_stays_behind() {
    let directory = TempDir::new().unwrap();
    let (embedded, address) = log(&directory);
    let (out, err, code) = said(&["--bootstrap", &address, "--only", "headers_survive"]).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.lines().any(|it| it.starts_with("holds")), "{out}");
    assert!(err.ends_with("2 hold, 0 do not, 0 are not offered\n"), "{err}");
    let only = ["--bootstrap", &address, "--only", "a_topic_gets_more", "-o", "json"];
    let (out, _, code) = said(&only).await;
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &told["notOffered"]), (0, &Value::from(1)));
    let scenario = &told["scenarios"][0];
    assert_eq!(scenario["outcome"], "not offered");
    assert_eq!(scenario["reason"], "more partitions for a topic that is there");
    let left = std::fs::read_dir(directory.path().join("topics")).unwrap();
    let left: Vec<_> = left.map(|it| it.unwrap().file_name()).collect();
    assert!(left.is_empty(), "{left:?}");
    embedded.stop().await;
}

#[tokio::test]
async fn a_log_that_does_not_answer_and_a_pattern_of_nothing_are_told_apart() {
    let (_, err, code) = said(&["--bootstrap", "127.0.0.1:1", "--only", "headers_survive"]).await;
    assert_eq!(code, 5, "{err}");
    assert!(err.contains("[unreachable]"), "{err}");
    let (_, err, code) = said(&["--bootstrap", "127.0.0.1:1", "--only", "no such thing"]).await;
    assert_eq!(code, 3, "{err}");
    let (out, _, code) = said(&["--list", "--only", "queues/"]).await;
    assert_eq!(code, 0);
    assert!(out.contains("queues/a_retry_waits\n"), "{out}");
    assert_eq!(said(&[]).await.2, 2, "nothing says which log");
}
