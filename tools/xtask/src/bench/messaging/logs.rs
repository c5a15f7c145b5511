//! Which logs take part: where each program is found, what it is told, and how it is started and ended.

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::Duration,
};

use super::{
    Kind,
    burst::{Door, Side},
};
use crate::bench::{
    Failure, now,
    part::Core,
    pause,
    programs::{self, built, free_ports, on_path, render, version},
};

/// Longest wait until a log takes messages; Erlang's runtime takes many seconds on a busy core.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long a probe publishes.
const PROBE: Duration = Duration::from_millis(50);

/// Everything that a node of RabbitMQ would else look for, or write, where the system's instance has it.
/// Its cookie is made in what it takes for its home.
const RABBITMQ: [(&str, &str); 15] = [
    ("HOME", "{{folder}}/data"),
    ("RABBITMQ_CONFIG_FILE", "{{folder}}/rabbitmq.conf"),
    ("RABBITMQ_CONF_ENV_FILE", "{{folder}}/data/none"),
    ("RABBITMQ_ENABLED_PLUGINS_FILE", "{{folder}}/data/plugins"),
    ("RABBITMQ_FEATURE_FLAGS_FILE", "{{folder}}/data/flags"),
    ("RABBITMQ_GENERATED_CONFIG_DIR", "{{folder}}/data/generated"),
    ("RABBITMQ_LOG_BASE", "{{folder}}/data/log"),
    ("RABBITMQ_LOGS", "-"),
    ("RABBITMQ_MNESIA_BASE", "{{folder}}/data/mnesia"),
    ("RABBITMQ_NODENAME", "bench@localhost"),
    ("RABBITMQ_DIST_PORT", "{{node}}"),
    ("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1}"),
    ("ERL_EPMD_ADDRESS", "127.0.0.1"),
    ("ERL_EPMD_PORT", "{{nodes}}"),
    // The script becomes the runtime: what is measured and ended is not a shell that waits for it.
    ("RUNNING_UNDER_SYSTEMD", "true"),
];

/// A log that takes part.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) name: String,
    pub(super) version: String,
    /// What its clients speak, as `bench-wire` calls it.
    wire: &'static str,
    program: PathBuf,
    /// `{{folder}}` stands for its own folder, `{{port}}` for where it listens.
    arguments: &'static [&'static str],
    /// In the place of ours, where it has any; `{{nodes}}` and `{{node}}` stand for ports of Erlang's.
    environment: &'static [(&'static str, &'static str)],
    /// What must run beside it.
    companion: Option<PathBuf>,
    /// A file of `bench/messaging` that is written into its folder.
    template: Option<(&'static str, String)>,
    folder: PathBuf,
}

/// What is known of a log before it is looked for.
struct Known {
    name: &'static str,
    wire: &'static str,
    /// Where its program may stand, the first that exists is taken.
    places: Vec<PathBuf>,
    arguments: &'static [&'static str],
    environment: &'static [(&'static str, &'static str)],
    companion: Option<&'static str>,
    template: Option<&'static str>,
}

/// Every log, or why it does not take part.
pub(super) fn find(root: &Path, target: &Path) -> Vec<Result<Log, String>> {
    let known = known(target).into_iter();
    known.map(|it| it.find(root, target)).collect()
}

fn known(target: &Path) -> Vec<Known> {
    let ours: &[&str] = &["broker", "--listen", "127.0.0.1:{{port}}", "--data", "{{folder}}/data"];
    let of_ours = |name, wire| Known {
        name,
        wire,
        places: vec![built(target, "bench-wire")],
        arguments: ours,
        environment: &[],
        companion: None,
        template: None,
    };
    vec![
        Known {
            name: "nats",
            wire: "nats",
            places: [vec![target.join("peers/bin/nats-server")], on_path("nats-server")].concat(),
            arguments: &["-c", "{{folder}}/nats.conf"],
            environment: &[],
            companion: None,
            template: Some("nats.conf"),
        },
        Known {
            name: "redis",
            wire: "redis",
            places: on_path("redis-server"),
            arguments: &["{{folder}}/redis.conf"],
            environment: &[],
            companion: None,
            template: Some("redis.conf"),
        },
        Known {
            name: "rabbitmq",
            wire: "amqp",
            // Not what is on the path: that one changes to the user of the system's own instance.
            places: vec!["/usr/lib/rabbitmq/bin/rabbitmq-server".into()],
            arguments: &[],
            environment: &RABBITMQ,
            companion: Some("epmd"),
            template: Some("rabbitmq.conf"),
        },
        of_ours("skein-lean", "kafka"),
        of_ours("skein", "skein"),
    ]
}

impl Known {
    fn find(self, root: &Path, target: &Path) -> Result<Log, String> {
        let Self { name, wire, places, arguments, environment, companion, template } = self;
        let first = |places: Vec<PathBuf>| {
            let found = places.into_iter().find(|it| it.is_file());
            found.ok_or_else(|| format!("{name}: install it with bench/peers"))
        };
        let program = first(places)?;
        let companion = companion.map(|it| first(on_path(it))).transpose()?;
        let version = match template {
            // It has no such question, and would start.
            Some(_) if companion.is_some() => version_of_folder(&program),
            Some(_) => version(&program, &["--version"], &[]),
            // Its own program has no version beside the workspace's.
            None => Some(env!("CARGO_PKG_VERSION").to_owned()),
        };
        let read = |template: &'static str| {
            let path = root.join("bench/messaging").join(template);
            let text = fs::read_to_string(&path);
            text.map(|it| (template, it)).map_err(|it| format!("{}: {it}", path.display()))
        };
        Ok(Log {
            name: name.to_owned(),
            version: version.unwrap_or_else(|| "unknown".to_owned()),
            wire,
            program,
            arguments,
            environment,
            companion,
            template: template.map(read).transpose()?,
            folder: target.join("bench-messaging").join(name),
        })
    }
}

/// The version that the folder of a program has in its name.
fn version_of_folder(program: &Path) -> Option<String> {
    let program = program.canonicalize().ok()?;
    let mut names = program.iter().filter_map(|it| it.to_str()?.strip_prefix("rabbitmq_server-"));
    names.next().map(|it| format!("RabbitMQ {it}"))
}

/// A running log; it ends with its scope.
pub(super) struct Started {
    child: Child,
    companion: Option<Companion>,
    /// What it printed.
    output: PathBuf,
    wire: &'static str,
    port: u16,
}

impl Started {
    /// Starts it on core 0, on a fresh directory.
    pub(super) fn new(log: &Log) -> Result<Self, Failure> {
        let [port, nodes, node] = free_ports()?;
        let folder = &log.folder;
        let data = folder.join("data");
        if data.exists() {
            fs::remove_dir_all(&data).map_err(|it| format!("{}: {it}", data.display()))?;
        }
        fs::create_dir_all(&data).map_err(|it| format!("{}: {it}", data.display()))?;
        let values = [
            ("folder".to_owned(), folder.display().to_string()),
            ("port".to_owned(), port.to_string()),
            ("nodes".to_owned(), nodes.to_string()),
            ("node".to_owned(), node.to_string()),
        ];
        if let Some((name, template)) = &log.template {
            let text = render(template, &values).map_err(|it| format!("{name}: {it}"))?;
            fs::write(folder.join(name), text).map_err(|it| format!("{name}: {it}"))?;
        }
        let mut command = Core::Contender.command(&log.program);
        for argument in log.arguments {
            command.arg(render(argument, &values)?);
        }
        for (name, value) in log.environment {
            command.env(name, render(value, &values)?);
        }
        let companion =
            log.companion.as_deref().map(|it| Companion::start(it, nodes)).transpose()?;
        let output = folder.join("output.log");
        let printed = fs::File::create(&output).map_err(|it| it.to_string())?;
        let errors = printed.try_clone().map_err(|it| it.to_string())?;
        let child = command
            .current_dir(folder)
            // Ours serves until its input ends.
            .stdin(Stdio::piped())
            .stdout(printed)
            .stderr(errors)
            .spawn()
            .map_err(|it| it.to_string())?;
        Ok(Self { child, companion, output, wire: log.wire, port })
    }

    /// Waits until it takes messages.
    pub(super) fn ready(mut self, side: &Side) -> Result<Self, Failure> {
        let deadline = now() + READY_WITHIN;
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("it ended at once, {status}; see {}", self.output.display()));
            }
            let probe = Kind::Publish { publishers: 1 };
            let seen = TcpStream::connect(("127.0.0.1", self.port))
                .map_err(|it| it.to_string())
                .and_then(|_| side.burst(self.door(), probe, PROBE));
            match seen {
                Ok(it) if it.errors() == 0 && it.verified() > 0 => return Ok(self),
                other if now() > deadline => {
                    return Err(format!("it takes no message in time: {other:?}"));
                }
                _ => pause(Duration::from_millis(50)),
            }
        }
    }

    pub(super) fn door(&self) -> Door {
        Door { wire: self.wire, port: self.port, pid: u64::from(self.child.id()) }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        programs::end(&mut self.child);
        // Only now: a node that does not find it any more complains.
        drop(self.companion.take());
    }
}

/// Erlang's list of nodes, which each node wants to find. It would start one itself, which would stay.
struct Companion(Child);

impl Companion {
    fn start(program: &Path, port: u16) -> Result<Self, Failure> {
        let mut command = Core::Contender.command(program);
        command.args(["-address", "127.0.0.1", "-port", &port.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let companion = Self(command.spawn().map_err(|it| it.to_string())?);
        let deadline = now() + READY_WITHIN;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if now() > deadline {
                return Err(format!("{} does not listen", program.display()));
            }
            pause(Duration::from_millis(10));
        }
        Ok(companion)
    }
}

impl Drop for Companion {
    fn drop(&mut self) {
        programs::end(&mut self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_committed_template_names_only_what_is_given() {
        let values = ["folder", "port"].map(|it| (it.to_owned(), "7".to_owned()));
        let known = known(Path::new("target"));
        let templates: Vec<&str> = known.iter().filter_map(|it| it.template).collect();
        assert_eq!(templates.len(), 3);
        for name in templates {
            let path = crate::root().join("bench/messaging").join(name);
            let text = fs::read_to_string(path).unwrap();
            let rendered = render(&text, &values).map_err(|it| format!("{name}: {it}"));
            assert!(rendered.is_ok(), "{rendered:?}");
        }
    }

    #[test]
    fn what_a_node_of_rabbitmq_writes_stands_below_the_folder_of_the_bench() {
        let values = ["folder", "port", "nodes", "node"].map(|it| (it.to_owned(), "7".to_owned()));
        for (name, value) in RABBITMQ {
            let place = value.starts_with("{{folder}}/") || !value.contains('/');
            let rendered = render(value, &values).map_err(|it| format!("{name}: {it}"));
            assert!(place && rendered.is_ok(), "{name} {rendered:?}");
        }
    }
}
