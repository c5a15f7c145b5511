//! A file of policy that breaks and is mended while a proxy follows it.

use std::{fs, path::Path, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStderr, Command},
    time::timeout,
};

const WITHIN: Duration = Duration::from_secs(20);
const GOOD: &str = "apiVersion: skein/v1\nkind: Endpoints\nmetadata: {name: stock}\n\
                    spec: {endpoints: []}\n";

async fn until(log: &mut Lines<BufReader<ChildStderr>>, text: &str) -> String {
    let found = async {
        while let Some(line) = log.next_line().await.unwrap() {
            if line.contains(text) {
                return line;
            }
        }
        panic!("the log ended without `{text}`");
    };
    timeout(WITHIN, found).await.unwrap_or_else(|_| panic!("no `{text}` in the log"))
}

fn replace(folder: &Path, text: &str) {
    fs::write(folder.join("draft"), text).unwrap();
    fs::rename(folder.join("draft"), folder.join("where.yaml")).unwrap();
}

/// A proxy that follows `where.yaml`, with what it says.
async fn follower(folder: &Path) -> (Child, Lines<BufReader<ChildStderr>>) {
    let proxy = "apiVersion: skein/v1\nkind: Proxy\nmetadata: {name: shop}\nspec: {outbound: \
                 {listen: \"127.0.0.1:0\", service: stock}, workers: 1, files: [where.yaml]}\n";
    fs::write(folder.join("shop.yaml"), proxy).unwrap();
    replace(folder, GOOD);
    let mut command = Command::new(env!("CARGO_BIN_EXE_skein"));
    command.args(["proxy", "--config"]).arg(folder.join("shop.yaml")).kill_on_drop(true);
    let mut child = command.stderr(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    until(&mut log, "proxy is ready").await;
    (child, log)
}

// mesh 12b: 60
#[tokio::test]
async fn a_good_file_behind_a_broken_one_is_said_to_be_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let (mut child, mut log) = follower(folder.path()).await;
    replace(folder.path(), &GOOD.replace("endpoints:", "endpoint:"));
    let refused = until(&mut log, "the policy was refused").await;
    assert!(refused.contains("where.yaml:4:8"), "{refused}");
    replace(folder.path(), GOOD);
    until(&mut log, "the policy is accepted again").await;
    child.kill().await.unwrap();
}

/// A pipe is no file: it would be waited for, and everything else with it.
#[tokio::test]
async fn a_pipe_in_the_place_of_a_file_is_refused_and_a_file_after_it_taken() {
    let folder = tempfile::tempdir().unwrap();
    let (mut child, mut log) = follower(folder.path()).await;
    let pipe = std::process::Command::new("mkfifo").arg(folder.path().join("pipe")).status();
    assert!(pipe.unwrap().success());
    fs::rename(folder.path().join("pipe"), folder.path().join("where.yaml")).unwrap();
    until(&mut log, "no regular file").await;
    replace(folder.path(), GOOD);
    until(&mut log, "the policy is accepted again").await;
    child.kill().await.unwrap();
}

#[tokio::test]
async fn what_is_no_text_is_refused_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let (mut child, mut log) = follower(folder.path()).await;
    fs::write(folder.path().join("latin"), b"# a\n# caf\xe9\n").unwrap();
    fs::rename(folder.path().join("latin"), folder.path().join("where.yaml")).unwrap();
    let refused = until(&mut log, "the policy was refused").await;
    assert!(refused.contains("line 2 is no UTF-8"), "{refused}");
    child.kill().await.unwrap();
}

/// As `cp -p` and `rsync -t` leave it.
#[tokio::test]
async fn a_file_of_the_same_length_and_time_is_another_one() {
    let folder = tempfile::tempdir().unwrap();
    let (mut child, mut log) = follower(folder.path()).await;
    replace(folder.path(), &GOOD.replace("endpoints:", "endpoimts:"));
    until(&mut log, "the policy was refused").await;
    let time = fs::metadata(folder.path().join("where.yaml")).unwrap().modified().unwrap();
    fs::write(folder.path().join("draft"), GOOD).unwrap();
    let draft = fs::File::options().write(true).open(folder.path().join("draft")).unwrap();
    draft.set_modified(time).unwrap();
    fs::rename(folder.path().join("draft"), folder.path().join("where.yaml")).unwrap();
    until(&mut log, "the policy is accepted again").await;
    child.kill().await.unwrap();
}
