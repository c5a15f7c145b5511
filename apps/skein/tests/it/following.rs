//! A file of policy that breaks and is mended while a proxy follows it.

use std::{fs, path::Path, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{ChildStderr, Command},
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

#[tokio::test]
async fn a_good_file_behind_a_broken_one_is_said_to_be_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let proxy = "apiVersion: skein/v1\nkind: Proxy\nmetadata: {name: shop}\nspec: {outbound: \
                 {listen: \"127.0.0.1:0\", service: stock}, workers: 1, files: [where.yaml]}\n";
    fs::write(folder.path().join("shop.yaml"), proxy).unwrap();
    replace(folder.path(), GOOD);
    let mut command = Command::new(env!("CARGO_BIN_EXE_skein"));
    command.args(["proxy", "--config"]).arg(folder.path().join("shop.yaml")).kill_on_drop(true);
    let mut child = command.stderr(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    until(&mut log, "proxy is ready").await;
    replace(folder.path(), &GOOD.replace("endpoints:", "endpoint:"));
    let refused = until(&mut log, "the policy was refused").await;
    assert!(refused.contains("where.yaml:4:8"), "{refused}");
    replace(folder.path(), GOOD);
    until(&mut log, "the policy is accepted again").await;
    child.kill().await.unwrap();
}
