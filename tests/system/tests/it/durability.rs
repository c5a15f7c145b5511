//! What stable storage is worth: slow syncs, a power cut, a full disk.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use http::Method;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::{
    peers::{has, not_run},
    program::{Process, System, sample_request},
    wait::until,
};

/// A tracer that makes every data sync of a process take longer. Ends with its scope. What it traces may stand still
/// for longer than `up` allows: a system of [`System::up_pausable`], or it is started anew and is fast.
struct SlowSync(Child);

impl SlowSync {
    /// Returns once every call is delayed.
    async fn attach(process: &Process, delay: Duration) -> Self {
        let pid = process.pid;
        let inject = format!("inject=fdatasync,fsync:delay_enter={}", delay.as_micros());
        let mut command = Command::new("strace");
        command.args([
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            "trace=fdatasync,fsync",
            "-e",
            &inject,
        ]);
        let pid = pid.to_string();
        let child = command.args(["-p", &pid]).stdin(Stdio::null()).spawn().unwrap();
        // An attached thread shows in the kernel's own words before its next call.
        let status = format!("/proc/{pid}/status");
        until("the tracer is attached", Duration::from_secs(10), || async {
            let status = std::fs::read_to_string(&status).ok()?;
            let traced = status.lines().find(|it| it.starts_with("TracerPid:"))?;
            (!traced.ends_with("\t0")).then_some(())
        })
        .await;
        Self(child)
    }
}

impl Drop for SlowSync {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::TERM).ok();
        }
        self.0.wait().ok();
    }
}

#[tokio::test]
async fn no_request_is_accepted_before_the_log_has_synced_it() {
    if !has("strace") {
        return not_run("strace is absent");
    }
    const DELAY: Duration = Duration::from_millis(500);
    let system = System::up_pausable(&[]);
    system.accepted(&sample_request()).await;
    let _slow = SlowSync::attach(&system.role("broker")[0], DELAY).await;
    for _ in 0..5 {
        let asked = Instant::now();
        let reply = system.submit(&sample_request()).await;
        let took = asked.elapsed();
        assert!(reply.status != 202 || took >= DELAY, "202 after {took:?}");
    }
}

#[tokio::test]
async fn no_consumer_sees_a_record_before_the_log_has_synced_it() {
    if !has("strace") {
        return not_run("strace is absent");
    }
    const DELAY: Duration = Duration::from_millis(500);
    let system = System::up_pausable(&[]);
    let _slow = SlowSync::attach(&system.role("broker")[0], DELAY).await;
    for key in ["first", "second", "third"] {
        let asked = Instant::now();
        let publish = ["topics", "publish", "alerts", "--key", key, "--body", "{}"];
        let mut publishing = system.start_command(&publish);
        until(format!("the {key} record is seen"), Duration::from_secs(20), || async {
            let tail = system.command(&["topics", "tail", "alerts"]).stdout;
            String::from_utf8(tail).unwrap().contains(key).then_some(())
        })
        .await;
        assert!(asked.elapsed() >= DELAY, "seen after {:?}", asked.elapsed());
        assert!(publishing.wait().unwrap().success());
        assert!(asked.elapsed() >= DELAY, "acknowledged after {:?}", asked.elapsed());
    }
}

/// A file system in a file, mounted for one test.
struct Disk {
    folder: TempDir,
    kind: &'static str,
}

impl Disk {
    fn make(kind: &'static str, megabytes: u32) -> Result<Self, String> {
        let disk = Self { folder: TempDir::with_prefix("disk-").unwrap(), kind };
        std::fs::create_dir(disk.path()).unwrap();
        let image = disk.image();
        run("truncate", &["-s", &format!("{megabytes}M"), text(&image)])?;
        match kind {
            "xfs" => run("mkfs.xfs", &["-q", "-f", text(&image)])?,
            _ => run("mkfs.ext4", &["-q", "-F", text(&image)])?,
        }
        disk.mount()?;
        Ok(disk)
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("mount")
    }

    fn mount(&self) -> Result<(), String> {
        // The kernel's own write-back comes late, so that only what was synced survives.
        let options = if self.kind == "xfs" { "loop" } else { "loop,commit=600" };
        run("mount", &["-o", options, text(&self.image()), text(&self.path())])
    }

    /// The device stops taking writes at once, as at a power cut.
    fn cut_power(&self) -> Result<(), String> {
        run("xfs_io", &["-x", "-c", "shutdown", text(&self.path())])
    }

    fn unmount(&self) -> Result<(), String> {
        run("umount", &[text(&self.path())])
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.unmount().ok();
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output().map_err(|it| it.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)))
}

/// Cuts the power under load, starts again on what is left, and looks for every accepted request.
async fn survives_power_cuts(kind: &'static str, cuts: u32, further: &[&str]) {
    if !has("xfs_io") {
        return not_run("xfs_io is absent");
    }
    let disk = match Disk::make(kind, 600) {
        Ok(disk) => disk,
        Err(reason) => return not_run(&reason),
    };
    let arguments = [&["--time-scale", "600", "--drones", "200"], further].concat();
    let system = System::up_at(disk.path(), &arguments);
    let mut promised = Vec::new();
    for cut in 0..cuts {
        let until_cut = fastrand::u64(1..30);
        for _ in 0..until_cut {
            promised.push(system.accepted(&sample_request()).await);
        }
        disk.cut_power().unwrap();
        system.kill_everything().await;
        // A role that had just been started again is in nobody's list; it ends with `up`.
        until("the disk is let go", Duration::from_secs(30), || async { disk.unmount().ok() })
            .await;
        disk.mount().unwrap();
        system.start(&arguments);
        for id in &promised {
            let url = system.gateway(&format!("/api/deliveryrequests/{id}"));
            let found = system.http.get(&url).await;
            assert_eq!(found.status, 200, "cut {cut} on {kind} lost {id}");
        }
    }
    for id in &promised {
        system.ends(id, "Completed", Duration::from_secs(120)).await;
    }
    println!("{kind}: {cuts} power cuts, {} accepted requests, none lost", promised.len());
    system.kill_everything().await;
}

#[tokio::test]
async fn accepted_requests_survive_power_cuts_on_ext4() {
    survives_power_cuts("ext4", 10, &[]).await;
}

#[tokio::test]
async fn accepted_requests_survive_power_cuts_on_xfs() {
    survives_power_cuts("xfs", 10, &[]).await;
}

#[tokio::test]
async fn accepted_requests_survive_power_cuts_with_proxies_beside_the_services() {
    survives_power_cuts("ext4", 3, &["--mesh", "sidecar"]).await;
}

/// Fills a disk until only so many megabytes are free.
fn fill(disk: &Disk, name: &str, left: u64) {
    let free = rustix::fs::statvfs(disk.path()).unwrap();
    let free = (free.f_bavail * free.f_frsize) >> 20;
    let ballast = disk.path().join(name);
    let (of, count) =
        (format!("of={}", text(&ballast)), format!("count={}", (free + 1).saturating_sub(left)));
    // Fails when the disk is full, which is what it may be for.
    run("dd", &["if=/dev/zero", &of, "bs=1M", &count]).ok();
}

impl System {
    async fn refuses_for_want_of_room(&self, request: &serde_json::Value) {
        let refused = until("a request is refused", Duration::from_secs(60), || async {
            let reply = self.submit(request).await;
            (reply.status != 202).then_some(reply)
        })
        .await;
        assert_eq!(refused.status, 503, "{:?}", refused.json());
        assert!(!refused.header("retry-after").is_empty());
    }
}

#[tokio::test]
async fn a_disk_that_fills_up_refuses_requests_before_cancels_and_recovers() {
    let disk = match Disk::make("ext4", 700) {
        Ok(disk) => disk,
        Err(reason) => return not_run(&reason),
    };
    // Small segments: what was set aside for the log before the disk was full is soon used up.
    let small = "broker.segment_bytes=262144";
    let far = "fleet.pickup_ahead_days=36500";
    let system = System::up_at(disk.path(), &["--set", small, "--set", far]);
    let mut request = sample_request();
    request["pickupTime"] = "2099-01-01T00:00:00Z".into();
    request["deadline"] = "x".repeat(1_000).into();
    request["packageInfo"]["tag"] = "x".repeat(1_000).into();
    let id = system.accepted(&request).await;
    system.ends(&id, "Scheduled", Duration::from_secs(30)).await;

    fill(&disk, "most", 40);
    system.refuses_for_want_of_room(&request).await;
    let url = system.gateway(&format!("/api/deliveryrequests/{id}"));
    assert_eq!(system.http.send(Method::DELETE, &url, &[], "").await.status, 204);
    system.ends(&id, "Cancelled", Duration::from_secs(30)).await;

    fill(&disk, "rest", 0);
    system.refuses_for_want_of_room(&request).await;
    assert_eq!(system.request(&id).await["state"], "Cancelled", "reads go on");

    std::fs::remove_file(disk.path().join("most")).unwrap();
    std::fs::remove_file(disk.path().join("rest")).unwrap();
    let id = until("requests are taken again", Duration::from_secs(30), || async {
        let reply = system.submit(&request).await;
        (reply.status == 202).then(|| reply.json()["deliveryId"].as_str().unwrap().to_owned())
    })
    .await;
    system.ends(&id, "Scheduled", Duration::from_secs(60)).await;
}
