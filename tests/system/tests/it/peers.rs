//! What tests need beside our own programs. What is absent is said, and in CI it is a failure: there
//! the peers are installed.

use std::{
    io::Write as _,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

/// Says why a test cannot run here.
pub(crate) fn not_run(reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "not run in CI: {reason}");
    println!("not run: {reason}");
}

/// Whether a program is installed.
pub(crate) fn has(program: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output();
    found.is_ok_and(|it| it.status.success())
}

/// A Python that has the stock Kafka client.
pub(crate) fn python_with_kafka() -> Option<PathBuf> {
    python_with("confluent_kafka")
}

/// A Python that has this module: the one that `.ci/peers` made, or the machine's own.
pub(crate) fn python_with(module: &str) -> Option<PathBuf> {
    let test = std::env::current_exe().unwrap();
    let made = test.ancestors().nth(3).unwrap().join("peers/bin/python");
    [made, PathBuf::from("python3")].into_iter().find(|it| {
        let found = Command::new(it).args(["-c", &format!("import {module}")]).output();
        found.is_ok_and(|it| it.status.success())
    })
}

/// Runs a program with this on its input to its end.
pub(crate) fn fed(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that ends without reading says why in its output.
    child.stdin.take().unwrap().write_all(input).ok();
    child.wait_with_output().unwrap()
}
