//! What an operator asks the log and changes in it, by the program's own commands.

use std::time::Duration;

use crate::{
    program::{System, sample_request},
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
        let is_done = |it: &serde_json::Value| it["topic"] == "delivery-requests" && it["lag"] == 0;
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
}
