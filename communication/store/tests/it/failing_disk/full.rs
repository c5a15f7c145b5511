//! A file system that is full: what has no room is refused, and taken once there is room again.

use std::{fs, path::PathBuf, process::Stdio};

use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
    time::timeout,
};

use super::{as_child, not_run, verdict::Said};
use crate::fixture::PATIENCE;

/// A small file system of its own. Unmounted with its scope.
struct Mount {
    folder: TempDir,
}

impl Mount {
    fn make(kind: &str) -> Result<Self, String> {
        let mount = Self { folder: TempDir::with_prefix("full-").unwrap() };
        fs::create_dir(mount.path()).unwrap();
        let image = mount.folder.path().join("image");
        let (image, path) = (image.to_str().unwrap().to_owned(), mount.path());
        let path = path.to_str().unwrap();
        match kind {
            "tmpfs" => run("mount", &["-t", "tmpfs", "-o", "size=2m", "none", path])?,
            _ => {
                run("truncate", &["-s", "8M", &image])?;
                run("mkfs.ext4", &["-q", "-F", &image])?;
                run("mount", &["-o", "loop", &image, path])?;
            }
        }
        Ok(mount)
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("mount")
    }

    /// Takes all room but so many kilobytes.
    fn fill(&self, left: u64) {
        let free = rustix::fs::statvfs(self.path()).unwrap();
        let free = free.f_bavail * free.f_frsize - (left << 10);
        fs::write(self.path().join("ballast"), vec![1; usize::try_from(free).unwrap()]).unwrap();
    }

    fn make_room(&self) {
        fs::remove_file(self.path().join("ballast")).unwrap();
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        run("umount", &[self.path().to_str().unwrap()]).ok();
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = std::process::Command::new(program).args(arguments).output();
    let output = output.map_err(|it| format!("{program}: {it}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)))
}

async fn fills_up(kind: &str) {
    let mount = match Mount::make(kind) {
        Ok(mount) => mount,
        Err(reason) => return not_run(&reason),
    };
    let directory = mount.path().join("store");
    fs::create_dir(&directory).unwrap();
    mount.fill(200);
    let mut command = Command::new(std::env::current_exe().unwrap());
    let mut child = as_child(&mut command, &directory)
        .stdin(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut lines = Vec::new();
    for word in [" not-done ", " fresh"] {
        let mut seen = 0;
        while seen < 40 {
            let next = timeout(PATIENCE, output.next_line()).await;
            let line = next.expect("it hangs").unwrap().expect("it goes on");
            seen += u32::from(line.contains(word));
            lines.push(line);
        }
        if word == " not-done " {
            mount.make_room();
        }
    }
    drop(child.stdin.take());
    while let Some(line) = timeout(PATIENCE, output.next_line()).await.expect("it hangs").unwrap() {
        lines.push(line);
    }
    assert!(child.wait().await.unwrap().success());
    let full = lines.iter().filter(|it| it.contains("not-done"));
    assert!(full.clone().all(|it| it.contains("reason: Full")), "{:?}", full.collect::<Vec<_>>());
    let said = Said::of(0, lines.into_iter());
    assert_eq!((said.check(), said.ended), (Ok(()), true));
    assert_eq!(said.check_files(&directory).await, Ok(()));
    println!(
        "{kind}: {} acknowledged, {} not done, {} unknown",
        said.acknowledged, said.not_done, said.unknown
    );
}

#[tokio::test]
async fn a_full_ext4_refuses_and_takes_again_what_was_refused() {
    fills_up("ext4").await;
}

#[tokio::test]
async fn a_full_tmpfs_refuses_and_takes_again_what_was_refused() {
    fills_up("tmpfs").await;
}
