//! Programs that a bench starts beside ours: where they are found, what they call themselves, what
//! they are told, and how they end.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::{Failure, now, pause, process, signal};

/// Longest wait until a program that was asked to end has ended.
const GONE_WITHIN: Duration = Duration::from_secs(2);

/// Below which everything is built, and peers are installed.
pub(super) fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

/// How what is measured is built: as for people who run it, with optimisation across crates.
pub(super) const PROFILE: &str = "dist";

/// Where a program of ours is that was built so.
pub(super) fn built(target: &Path, name: &str) -> PathBuf {
    target.join(PROFILE).join(name)
}

/// Where a system keeps programs; the folders of administrators are not on everybody's path.
pub(super) fn on_path(name: &str) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders =
        std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.map(|it| it.join(name)).collect()
}

/// The folder of an environment of Python that holds packages, whatever its version is.
pub(super) fn site_packages(environment: &Path) -> PathBuf {
    let versions = fs::read_dir(environment.join("lib")).into_iter().flatten().flatten();
    let mut folders = versions.map(|it| it.path().join("site-packages")).filter(|it| it.is_dir());
    folders.next().unwrap_or_else(|| environment.join("lib"))
}

/// Those that were found and are wanted, everybody where nobody is named; and why others were not found.
pub(super) fn chosen<T>(
    found: Vec<Result<T, String>>,
    only: &[String],
    name: impl Fn(&T) -> &String,
) -> (Vec<T>, Vec<String>) {
    let (mut wanted, mut not_run) = (Vec::new(), Vec::new());
    for one in found {
        match one {
            Ok(it) if only.is_empty() || only.contains(name(&it)) => wanted.push(it),
            Ok(_) => {}
            Err(reason) => leave_out(&mut not_run, reason),
        }
    }
    (wanted, not_run)
}

/// Says who does not take part and why, and keeps it for the result.
pub(super) fn leave_out(not_run: &mut Vec<String>, reason: String) {
    crate::say(&format!("not run: {reason}"));
    not_run.push(reason);
}

/// The first line with a digit that the program prints about itself.
pub(super) fn version(
    program: &Path,
    arguments: &[&str],
    environment: &[(&'static str, String)],
) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let has_digit = |line: &&str| line.bytes().any(|it| it.is_ascii_digit());
    let line = said.lines().find(has_digit)?;
    // Some name the whole path of the program first.
    let path = program.display().to_string();
    Some(line.replace(&path, "").split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Ports that were free a moment ago; all are held at once, so that they differ.
pub(super) fn free_ports<const N: usize>() -> Result<[u16; N], Failure> {
    let mut held = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(|it| it.to_string())?;
        *port = listener.local_addr().map_err(|it| it.to_string())?.port();
        held.push(listener);
    }
    Ok(ports)
}

/// Puts values in; a name that nobody knows is an error.
pub(super) fn render(template: &str, values: &[(String, String)]) -> Result<String, Failure> {
    let mut text = template.to_owned();
    for (name, value) in values {
        text = text.replace(&format!("{{{{{name}}}}}"), value);
    }
    match text.split_once("{{") {
        Some((_, rest)) => {
            let name = rest.split('}').next().unwrap_or(rest);
            Err(format!("nothing stands for {name}"))
        }
        None => Ok(text),
    }
}

/// Ends a program with all that it started.
pub(super) fn end(child: &mut Child) {
    let pid = u64::from(child.id());
    let family = process::family(pid);
    // A master ends its workers when it is asked to, and leaves them alone when it is killed.
    signal(&[pid], "TERM").ok();
    let deadline = now() + GONE_WITHIN;
    while matches!(child.try_wait(), Ok(None)) && now() < deadline {
        pause(Duration::from_millis(10));
    }
    if matches!(child.try_wait(), Ok(None)) {
        signal(&family, "KILL").ok();
    }
    child.wait().ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_gets_every_value_or_none_at_all() {
        let values = [("http1".to_owned(), "7".to_owned())];
        assert_eq!(render("bind {{http1}}, {{http1}}", &values), Ok("bind 7, 7".to_owned()));
        assert!(render("bind {{http3}}", &values).is_err());
    }

    #[test]
    fn free_ports_differ() {
        let [a, b, c] = free_ports().unwrap();
        assert!(a != b && b != c && a != c);
    }
}
