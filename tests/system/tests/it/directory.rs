//! The data directory: where it may be, and what becomes of a system that it is taken from.

use std::{
    ffi::OsStr,
    fs::Permissions,
    net::{Ipv4Addr, TcpListener},
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    path::Path,
    process::Command,
    time::Duration,
};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    program::{Process, System, free_port_base, program, sample_request},
    wait::until,
};

const SOON: Duration = Duration::from_secs(30);

/// What `up` says when it is refused; it starts nothing.
fn refused(data: &Path, further: &[&str]) -> String {
    let mut command = Command::new(program());
    let output = command.arg("up").args(further).arg("--data").arg(data).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_directory_in_which_no_system_can_run_is_refused_in_words() {
    let folder = TempDir::new().unwrap();
    // The socket for commands stands in it, and with TLS another whose name is longer.
    let of_length = |bytes: usize| {
        let rest = bytes - folder.path().as_os_str().len() - 1;
        folder.path().join("d".repeat(rest))
    };
    for (bytes, socket, further) in
        [(95, "control.sock", &[][..]), (93, "authority.sock", &["--tls", "strict"][..])]
    {
        let data = of_length(bytes);
        let base = free_port_base().to_string();
        let arguments = [&["--port-base", &base], further].concat();
        let said = refused(&data, &arguments);
        let place = data.join(socket).display().to_string();
        assert!(said.contains("at most 107 bytes") && said.contains(&place), "{said}");
    }
    let said = refused(&folder.path().join(OsStr::from_bytes(b"\xff")), &[]);
    assert!(said.contains("not UTF-8"), "{said}");
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().flatten().collect();
    assert!(left.is_empty(), "what was refused has made {left:?}");
}

#[test]
fn a_system_whose_port_is_taken_leaves_no_directory_behind() {
    let folder = TempDir::new().unwrap();
    let (base, data) = (free_port_base(), folder.path().join("data"));
    let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, base)).unwrap();
    let base = base.to_string();
    for further in [&["--port-base", &base][..], &["--port-base", &base, "--detach"]] {
        let said = refused(&data, further);
        assert!(said.contains("[port_busy]"), "{said}");
        assert!(!data.exists(), "{further:?}");
    }
}

/// What others may do with anything below a folder.
fn open_to_others(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        // What goes while we look is open to nobody.
        let Some((entry, metadata)) =
            entry.ok().and_then(|it| Some((it.path(), it.metadata().ok()?)))
        else {
            continue;
        };
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 && !metadata.is_symlink() {
            found.push(format!("{mode:o} {}", entry.display()));
        }
        if metadata.is_dir() {
            found.extend(open_to_others(&entry));
        }
    }
    found
}

#[tokio::test]
async fn in_a_directory_that_is_open_to_others_nothing_of_the_system_is() {
    let home = TempDir::new().unwrap();
    let data = home.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::set_permissions(&data, Permissions::from_mode(0o755)).unwrap();
    let system = System::up_at(data.clone(), &["--tls", "strict"]);
    system.accepted(&sample_request()).await;
    let found = open_to_others(&data);
    assert!(found.is_empty(), "{found:#?}");
    let own = std::fs::metadata(&data).unwrap().permissions().mode() & 0o777;
    assert_eq!(own, 0o755, "somebody gave it these rights");
}

#[tokio::test]
async fn a_system_waits_for_what_a_killed_one_left_and_ends_when_its_directory_is_taken_away() {
    let home = TempDir::new().unwrap();
    let data = home.path().join("data");
    let system = System::up_at(data.clone(), &[]);
    let lock = || std::fs::read_to_string(data.join("lock")).unwrap_or_default();

    let (before, gateway) = (lock(), system.role("gateway").remove(0));
    // A process that is slow to end has its port when the next system starts.
    gateway.signal(Signal::STOP);
    system.role("up")[0].signal(Signal::KILL);
    let base = system.port(0).to_string();
    let mut up = system.start_command(&["up", "--detach", "--wait", "--port-base", &base]);
    until("the next one has the directory", SOON, || async {
        let now = lock();
        (!now.is_empty() && now != before).then_some(())
    })
    .await;
    gateway.signal(Signal::CONT);
    assert!(up.wait().unwrap().success(), "it did not wait for its own");

    let processes = system.processes();
    std::fs::rename(&data, home.path().join("away")).unwrap();
    until("every process has ended", SOON, || async {
        processes.iter().all(Process::is_gone).then_some(())
    })
    .await;
    let said = std::fs::read_to_string(home.path().join("away/logs/up.log")).unwrap();
    assert!(said.contains("directory_lost"), "{said}");
}
