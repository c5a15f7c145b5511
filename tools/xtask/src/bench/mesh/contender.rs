//! Who takes part: where each program is found, what it is told, and how it is started and ended.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::{
    Case, Tls,
    burst::{Backend, Ends},
    certificates,
    known::Known,
    pairs, singles,
};
use crate::bench::{
    Failure, now,
    part::Core,
    pause,
    programs::{self, free_ports, render, version},
};

/// Longest wait until a contender answers as it should.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// A program that takes part.
#[derive(Debug)]
pub(super) struct Contender {
    pub(super) name: String,
    pub(super) version: String,
    program: PathBuf,
    /// What each of its processes is told; `{{folder}}` stands for its own folder.
    processes: &'static [&'static [&'static str]],
    environment: Vec<(&'static str, String)>,
    /// Files of `bench/mesh` that are written into its folder.
    templates: Vec<(&'static str, String)>,
    folder: PathBuf,
}

/// Every contender, or why it does not take part.
pub(super) fn find(root: &Path, target: &Path, tls: Tls) -> Vec<Result<Contender, String>> {
    let wheels = target.join("peers");
    let (peers, ours) = match tls {
        Tls::Off => (singles::peers(&wheels), singles::ours(target)),
        Tls::Mutual => (pairs::peers(&wheels), pairs::ours(target)),
    };
    let mut found: Vec<_> = peers
        .into_iter()
        .map(|it| Contender::find(it, root, target, "install it with bench/peers"))
        .collect();
    found.push(Contender::find(ours, root, target, "it was not built"));
    found
}

impl Contender {
    fn find(known: Known, root: &Path, target: &Path, otherwise: &str) -> Result<Self, String> {
        let program = known.places.into_iter().find(|it| it.is_file());
        let program = program.ok_or_else(|| format!("{}: {otherwise}", known.name))?;
        let version = version(&program, known.version, &known.environment);
        let read = |name: &&'static str| {
            let path = root.join("bench/mesh").join(name);
            let text = fs::read_to_string(&path);
            text.map(|it| (*name, it)).map_err(|it| format!("{}: {it}", path.display()))
        };
        Ok(Self {
            name: known.name.to_owned(),
            version: version.unwrap_or_else(|| "unknown".to_owned()),
            program,
            processes: known.processes,
            environment: known.environment,
            templates: known.templates.iter().map(read).collect::<Result<_, _>>()?,
            folder: target.join("bench-mesh").join(known.name),
        })
    }

    /// What starts it on core 0. Several processes have a shell above them, whose end is theirs.
    fn command(&self, values: &[(String, String)]) -> Result<Command, Failure> {
        let told = |arguments: &[&str]| -> Result<Vec<String>, Failure> {
            arguments.iter().map(|it| render(it, values)).collect()
        };
        let [alone] = self.processes else {
            let mut command = Core::Contender.command(Path::new("/bin/sh"));
            let mut script = String::new();
            for arguments in self.processes {
                let words = told(arguments)?.into_iter().map(|it| format!(" '{it}'"));
                script += &format!(
                    "'{}'{} & all=\"$all $!\"; ",
                    self.program.display(),
                    words.collect::<String>()
                );
            }
            script += "trap 'kill $all' TERM; wait; wait";
            command.args(["-c", &script]);
            return Ok(command);
        };
        let mut command = Core::Contender.command(&self.program);
        command.args(told(alone)?);
        Ok(command)
    }
}

/// A running contender; it ends with its scope.
pub(super) struct Started {
    child: Child,
    /// What it printed.
    log: PathBuf,
    folder: PathBuf,
    http1: u16,
    http2: u16,
    inner: u16,
}

impl Started {
    /// Writes its files and starts it on core 0.
    pub(super) fn new(contender: &Contender, backend: &Backend) -> Result<Self, Failure> {
        let ports @ [http1, http2, _, inner] = free_ports()?;
        let folder = &contender.folder;
        fs::create_dir_all(folder).map_err(|it| format!("{}: {it}", folder.display()))?;
        let values = values(folder, ports, backend.ports());
        for (name, template) in &contender.templates {
            let text = render(template, &values).map_err(|it| format!("{name}: {it}"))?;
            let file = Path::new(name).file_name().unwrap_or_default();
            fs::write(folder.join(file), text).map_err(|it| format!("{name}: {it}"))?;
        }
        let mut command = contender.command(&values)?;
        let log = folder.join("output.log");
        let output = fs::File::create(&log).map_err(|it| it.to_string())?;
        let errors = output.try_clone().map_err(|it| it.to_string())?;
        let child = command
            .envs(contender.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(|it| it.to_string())?;
        Ok(Self { child, log, folder: folder.clone(), http1, http2, inner })
    }

    /// Waits until it answers the case's request as it should.
    pub(super) fn ready(mut self, ends: &Ends, case: &Case) -> Result<Self, Failure> {
        let probe = Case { connections: 1, streams: 1, rate: None, ..*case };
        let deadline = now() + READY_WITHIN;
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("it ended at once, {status}; see {}", self.log.display()));
            }
            let seen = ends.burst(&probe, self.port(case.wire), self.pid(), PROBE)?;
            if seen.errors() == 0 && seen.verified() > 0 {
                return Ok(self);
            }
            if now() > deadline {
                return Err(format!("no right answer in time: {}", seen.load["firstError"]));
            }
            pause(Duration::from_millis(50));
        }
    }

    pub(super) fn pid(&self) -> u64 {
        u64::from(self.child.id())
    }

    /// Where the proxy of a pair listens that stands beside the service.
    pub(super) const fn inner(&self) -> u16 {
        self.inner
    }

    /// Where its files are.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where it speaks this.
    pub(super) fn port(&self, wire: &str) -> u16 {
        if wire == "http2" { self.http2 } else { self.http1 }
    }
}

/// How long a probe asks.
const PROBE: Duration = Duration::from_millis(30);

impl Drop for Started {
    fn drop(&mut self) {
        programs::end(&mut self.child);
    }
}

/// What templates may name.
fn values(
    folder: &Path,
    [http1, http2, admin, inner]: [u16; 4],
    backends: &[u16],
) -> Vec<(String, String)> {
    let mut values = vec![("folder".to_owned(), folder.display().to_string())];
    let tls = folder.with_file_name(certificates::FOLDER);
    values.push(("tls".to_owned(), tls.display().to_string()));
    for (name, port) in [("http1", http1), ("http2", http2), ("admin", admin), ("inner", inner)] {
        values.push((name.to_owned(), port.to_string()));
    }
    for (index, port) in backends.iter().enumerate() {
        values.push((format!("backend{}", index + 1), port.to_string()));
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_committed_template_names_only_what_is_given() {
        let values = values(Path::new("folder"), [1, 2, 3, 7], &[4, 5, 6]);
        let (wheels, target) = (Path::new("wheels"), Path::new("target"));
        let single = singles::peers(wheels).into_iter().chain([singles::ours(target)]);
        let known = single.chain(pairs::peers(wheels)).chain([pairs::ours(target)]);
        let templates: Vec<&str> = known.flat_map(|it| it.templates.iter().copied()).collect();
        assert!(templates.len() > 5);
        for name in templates {
            let text = fs::read_to_string(crate::root().join("bench/mesh").join(name)).unwrap();
            let rendered = render(&text, &values).map_err(|it| format!("{name}: {it}"));
            assert!(rendered.is_ok(), "{rendered:?}");
        }
    }
}
