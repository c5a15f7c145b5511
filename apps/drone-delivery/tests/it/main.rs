//! The program from outside, where no whole system is needed.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    time::Duration,
};

use tokio::time::{sleep, timeout};

/// Longest wait for what must happen.
const SOON: Duration = Duration::from_secs(20);

/// Whether nothing of it is left but what its parent has not looked at yet.
fn is_gone(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
}

#[tokio::test]
async fn a_foreign_program_keeps_its_process_and_dies_with_who_started_it() {
    let program = env!("CARGO_BIN_EXE_drone-delivery");
    let script =
        format!("{program} foreign --supervisor $$ -- sh -c 'echo $$; exec sleep 1000' & wait");
    let mut supervisor =
        Command::new("sh").arg("-c").arg(script).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(supervisor.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let foreign: u32 = line.trim().parse().unwrap();
    let children = format!("/proc/{0}/task/{0}/children", supervisor.id());
    assert_eq!(fs::read_to_string(children).unwrap().trim(), line.trim());
    assert!(!is_gone(foreign));
    supervisor.kill().unwrap();
    supervisor.wait().unwrap();
    let gone = async {
        while !is_gone(foreign) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, gone).await.unwrap();
}

#[test]
fn a_foreign_program_is_not_started_for_who_is_gone() {
    let program = env!("CARGO_BIN_EXE_drone-delivery");
    let output = Command::new(program)
        .args(["foreign", "--supervisor", "1", "--", "echo", "started"])
        .output();
    let output = output.unwrap();
    assert!(!output.status.success());
    assert!(output.stdout.is_empty(), "{output:?}");
}

#[test]
fn a_broken_file_of_routes_is_refused_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let (data, routes) = (folder.path().join("data"), folder.path().join("routes.yaml"));
    let good = include_str!("../../../../examples/mesh/account-versions.yaml");
    fs::write(&routes, good.replace("backendRefs", "backends")).unwrap();
    for further in [&["--detach", "--wait"][..], &[]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_drone-delivery"));
        command.arg("up").arg("--data").arg(&data).arg("--routes").arg(&routes).args(further);
        let output = command.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("routes.yaml:9:5"), "{said}");
        assert!(!said.contains("Try"), "{said}");
        assert!(!data.exists(), "something was begun");
    }
}

#[test]
fn who_asks_after_the_end_is_told_at_once_that_nothing_runs() {
    let folder = tempfile::tempdir().unwrap();
    // What a system leaves behind.
    fs::write(folder.path().join("settings.json"), "{}").unwrap();
    let requests = folder.path().join("requests.jsonl");
    fs::write(&requests, "{}\n").unwrap();
    let requests = requests.to_str().unwrap();
    for words in [
        &["saga", "list"][..],
        &["failures", "list"],
        &["delivery", "show", "x"],
        &["trace", "x"],
        &["topics", "list"],
        &["groups", "list"],
        &["dlq", "list"],
        &["curl", "account", "/"],
        &["submit", requests, "--wait"],
        &["load", requests],
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_drone-delivery"));
        let output = command.arg("--data").arg(folder.path()).args(words).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(5), "{words:?}: {said}");
        assert!(said.contains("[not_running]") && said.contains(" up\n"), "{words:?}: {said}");
    }
}

#[test]
fn a_key_can_be_made_while_a_file_of_routes_is_broken_and_an_unknown_role_only_then() {
    let folder = tempfile::tempdir().unwrap();
    let routes = folder.path().join("routes.yaml");
    let settings = format!("{{\"route_files\": [{routes:?}]}}");
    fs::write(folder.path().join("settings.json"), settings).unwrap();
    let create = |role: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_drone-delivery"));
        command.args(["key", "create", "ann", "--role", role, "--data"]).arg(folder.path());
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let policy = "apiVersion: skein/v1\nkind: EdgeAccess\nmetadata: {name: more}\nspec:\n  gateway: edge\n  keys: edge/more.json\n  \
                  rules: [{roles: [watcher], routes: [deliveries], reach: own}]\n";
    fs::write(&routes, policy).unwrap();
    assert_eq!(create("watcher").0, Some(0), "a further file knows it");
    assert_eq!(create("wacher").0, Some(2));
    fs::write(&routes, "kind: Nonsense\n").unwrap();
    let (code, said) = create("watcher");
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("roles were not looked up") && said.contains("routes.yaml:1:1"),
        "{said}"
    );
}
