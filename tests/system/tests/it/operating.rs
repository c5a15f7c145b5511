//! What an operator asks the system and the log and changes in it, by the program's own commands.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::Path,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{
    program::{System, free_port_base, sample_request},
    wait::until,
};

const SOON: Duration = Duration::from_secs(20);

/// The exit code of a command, and what it said on standard error.
fn fails(system: &System, arguments: &[&str]) -> (Option<i32>, String) {
    let output = system.command(arguments);
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test]
async fn groups_are_shown_with_their_members_and_those_with_members_are_not_set_back() {
    let system = System::up(&["--time-scale", "600"]);
    let id = system.accepted(&sample_request()).await;
    system.ends(&id, "Completed", SOON).await;
    let scheduler = until("all is committed", SOON, async || {
        let group = system.try_command_json(&["groups", "describe", "scheduler"])?;
        let topics = group["topics"].as_array()?;
        let is_done = |it: &Value| it["topic"] == "delivery-requests" && it["lag"] == 0;
        topics.iter().any(is_done).then_some(group)
    })
    .await;
    assert_eq!(scheduler["state"], "Stable");
    assert_eq!(scheduler["members"][0]["clientId"], "scheduler-1", "{scheduler}");
    let listed = system.command_json(&["groups", "list"]);
    let names: Vec<_> = listed.as_array().unwrap().iter().map(|it| &it["group"]).collect();
    for name in ["scheduler", "supervisor", "history", "delivery", "drone", "ingestion"] {
        assert!(names.contains(&&name.into()), "{name} is not in {listed}");
    }
    let reset = ["groups", "reset", "scheduler", "delivery-requests", "--to", "beginning"];
    let (code, said) = fails(&system, &reset);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("1 members take part in group scheduler"), "{said}");
    let (code, said) = fails(&system, &["groups", "describe", "nobody"]);
    assert_eq!(code, Some(3), "{said}");
}

#[tokio::test]
async fn a_topic_is_made_shown_and_removed_when_that_is_meant() {
    let system = System::up(&[]);
    let made = ["topics", "create", "extra", "--partitions", "3", "--retention-hours", "2"];
    let shown = system.command_json(&made);
    assert_eq!(shown["settings"]["retention.ms"], "7200000", "{shown}");
    assert_eq!(shown["partitions"].as_array().unwrap().len(), 3);
    assert!(system.command(&["topics", "publish", "extra", "--body", "{}"]).status.success());
    let (code, said) = fails(&system, &["topics", "delete", "extra"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("1 records would be lost"), "{said}");
    assert_eq!(system.command_json(&["topics", "describe", "extra"])["topic"], "extra");
    assert_eq!(system.command_json(&["topics", "delete", "extra", "--yes"])["lost"], 1);
    let (code, said) = fails(&system, &["topics", "describe", "extra"]);
    assert_eq!(code, Some(3), "{said}");
    let noted = system.deeds().into_iter().filter(|it| it.0.contains("topic"));
    let done = |what: &str| (what.to_owned(), "done".to_owned());
    let expected = [done("create topic extra"), done("delete topic extra")];
    assert_eq!(noted.collect::<Vec<_>>(), expected, "services make theirs unnoted");
}

#[tokio::test]
async fn who_sends_is_told_once_that_nobody_knows_him_and_when_interrupted_what_is_open() {
    // So slow that nothing is at its door when the first line is told.
    let system = System::up(&["--time-scale", "1"]);
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/plain.jsonl");
    for command in [&["submit", file][..], &["load", file, "--seconds", "60"]] {
        let unknown = system.command_as("nobodys", command);
        let said = String::from_utf8_lossy(&unknown.stderr).into_owned();
        assert_eq!(unknown.status.code(), Some(1), "{said}");
        assert!(
            said.contains("key create NAME --role operator") && said.lines().count() < 5,
            "{said}"
        );
    }
    let mut submit = system.follow_command(&["submit", file, "--wait", "--progress"]);
    let mut told = String::new();
    BufReader::new(submit.stderr.as_mut().unwrap()).read_line(&mut told).unwrap();
    assert!(told.starts_with("sent 100 of 100: "), "{told}");
    kill_process(Pid::from_child(&submit), Signal::INT).unwrap();
    let output = submit.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let said = String::from_utf8(output.stdout).unwrap();
    let count = |name: &str| {
        let row = said.lines().find(|it| it.starts_with(name)).unwrap();
        row.split_whitespace().nth(1).unwrap().parse::<u32>().unwrap()
    };
    assert_eq!(count("sent"), 100, "{said}");
    assert_eq!(count("accepted") + count("unanswered"), 100, "{said}");
    assert!(count("open") > 0, "{said}");
}

/// The exit code of `check`, and what of it is wrong.
fn checked(system: &System, further: &[&str]) -> (Option<i32>, Vec<String>) {
    let output = system.command(&[&["check", "-o", "json"], further].concat());
    let page: Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = page["categories"].as_array().unwrap().iter().flat_map(|it| {
        it["checks"].as_array().unwrap().iter().filter(|it| it["result"] == "error")
    });
    let wrong: Vec<_> = checks.map(|it| it["description"].as_str().unwrap().to_owned()).collect();
    assert_eq!(page["success"] == true, wrong.is_empty(), "{page}");
    (output.status.code(), wrong)
}

/// In one step, as whoever follows it has to see it.
fn replace(path: &Path, text: &str) {
    fs::write(path.with_extension("draft"), text).unwrap();
    fs::rename(path.with_extension("draft"), path).unwrap();
}

#[tokio::test]
async fn check_says_by_its_exit_code_whether_the_system_is_well_and_whether_one_can_be_started() {
    let folder = tempfile::tempdir().unwrap();
    let routes = folder.path().join("routes.yaml");
    replace(&routes, "");
    let system = System::up(&["--mesh", "in-process", "--routes", routes.to_str().unwrap()]);
    assert_eq!(checked(&system, &[]), (Some(0), Vec::new()));
    assert_eq!(checked(&system, &["--pre"]), (Some(0), Vec::new()), "its ports are its own");
    replace(&routes, "kind: Nonsense\n");
    let wrong = until("the file is found to be wrong", SOON, async || {
        Some(checked(&system, &[])).filter(|it| it.0 != Some(0))
    })
    .await;
    assert_eq!(wrong, (Some(1), vec!["the newest policy is in force everywhere".to_owned()]));
    assert_eq!(checked(&system, &["--wait", "1s"]).0, Some(4));
    // Who starts anew goes on by the last good state.
    let killed = system.role("history").remove(0);
    killed.signal(Signal::KILL);
    until("another one is ready", SOON, async || {
        let others = system.role("history");
        others.iter().any(|it| it.pid != killed.pid && it.state == "ready").then_some(())
    })
    .await;
    let expected = vec!["the newest policy is in force everywhere".to_owned()];
    assert_eq!(checked(&system, &["--wait", "1s"]), (Some(4), expected));
    // Where that is gone as well, and cannot be kept again, it does not run, and answers nobody who asks.
    let kept = system.data().join("mesh/last-good");
    fs::remove_dir_all(&kept).unwrap();
    fs::write(&kept, "").unwrap();
    system.role("history")[0].signal(Signal::KILL);
    until("it is found not to run", SOON, async || {
        checked(&system, &[]).1.contains(&"every process runs".to_owned()).then_some(())
    })
    .await;
    replace(&routes, "");
    assert_eq!(checked(&system, &["--wait", "60s"]), (Some(0), Vec::new()));

    assert!(system.command(&["down"]).status.success());
    assert_eq!(checked(&system, &[]), (Some(5), vec!["the system runs".to_owned()]));
    assert_eq!(checked(&system, &["--pre"]), (Some(0), Vec::new()));
    let taken = TcpListener::bind(("127.0.0.1", system.port(104))).unwrap();
    let expected = vec!["every port is free".to_owned()];
    assert_eq!(checked(&system, &["--pre"]), (Some(1), expected));
    assert_eq!(checked(&system, &[]).0, Some(1), "it is more than that nothing runs");
    let elsewhere = free_port_base().to_string();
    assert_eq!(checked(&system, &["--pre", "--port-base", &elsewhere]), (Some(0), Vec::new()));
    drop(taken);
}
