//! The first screen of `up`, and the table of `ps`: what runs, where to look, what to try.

use std::{
    collections::BTreeMap,
    io::IsTerminal as _,
    path::{Path, PathBuf},
};

use service_kit::Profile;
use skein::{
    Failure, Output, Table,
    supervise::{ProcessState, ProcessStatus},
};

use crate::{
    addresses::https,
    certificates,
    cli::DATA,
    keys, page,
    roles::Role,
    settings::{Asking, Plain, Settings},
};

/// A request that flies whatever the names of the city are.
const REQUEST: &str = r#"{"ownerId": "me", "pickupLocation": "60.17,24.94", "dropOffLocation": "60.18,24.95", "packageInfo": {"size": "Small", "weight": 1}}"#;
/// Requests that come with the source.
const EXAMPLES: &str = "examples/plain.jsonl";

/// How this program is called from where it was started.
#[derive(Debug)]
pub(crate) struct Invocation {
    program: String,
    data: PathBuf,
    has_examples: bool,
}

impl Invocation {
    /// This one, on a data directory as it was named.
    pub(crate) fn of(data: &Path) -> Self {
        let program = std::env::args().next().unwrap_or_else(|| "drone-delivery".to_owned());
        let has_examples = Path::new(EXAMPLES).is_file();
        Self { program, data: data.to_owned(), has_examples }
    }

    /// A failure whose advice, where it is a command, names the same system.
    pub(crate) fn complete(&self, failure: Failure) -> Failure {
        let Some(next) = &failure.next else { return failure };
        let commands = next.split(" && ").map(|it| {
            let words = it.strip_prefix("drone-delivery ");
            // One that names a system means that one.
            match words.filter(|it| !it.starts_with("--data")) {
                Some(words) => self.command(words),
                None => it.to_owned(),
            }
        });
        let next = commands.collect::<Vec<_>>().join(" && ");
        failure.next(next)
    }

    /// A command on the same system, to be typed as it stands.
    pub(crate) fn command(&self, words: &str) -> String {
        let program = quoted(&self.program);
        if self.data == Path::new(DATA) {
            return format!("{program} {words}");
        }
        format!("{program} --data {} {words}", quoted(&self.data.to_string_lossy()))
    }
}

/// The word as a shell reads it.
pub(crate) fn quoted(word: &str) -> String {
    let is_plain = |it: char| it.is_alphanumeric() || "/._-+@:,".contains(it);
    if word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Says what runs and, when all of it does, what to try.
pub(crate) fn introduce(
    processes: &[ProcessStatus],
    settings: &Settings,
    invocation: &Invocation,
    output: Output,
) {
    let table = table(processes, Ports::Few);
    output.remark(&format!(
        "drone-delivery {} · data {} (kept; `down --wipe` forgets it)\n{}",
        env!("CARGO_PKG_VERSION"),
        std::path::absolute(&invocation.data).as_ref().unwrap_or(&invocation.data).display(),
        table.render("  ").trim_end(),
    ));
    for process in processes.iter().filter(|it| it.state == ProcessState::CrashLoop) {
        output.remark(&keeps_dying(process, invocation));
    }
    if processes.iter().all(|it| it.state == ProcessState::Ready) {
        output.remark(&what_to_try(settings, invocation));
    }
}

/// How a process ends again and again, and where it says why.
fn keeps_dying(process: &ProcessStatus, invocation: &Invocation) -> String {
    let name = &process.instance;
    let how = process.last_end.as_ref().map(|it| format!(" ({it})")).unwrap_or_default();
    let log = invocation.data.join("logs").join(format!("{name}.log"));
    let logs = invocation.command(&format!("logs {name}"));
    format!("{name} keeps dying{how}; its log is {}, or `{logs}`", log.display())
}

fn what_to_try(settings: &Settings, invocation: &Invocation) -> String {
    let gateway = Role::Gateway.address(settings);
    let mut tries = Vec::new();
    let holder = keys::holder(settings, &invocation.data);
    let asks = settings.gateway.auth == Asking::Required;
    if holder.is_none() && asks {
        // What comes after is refused without one; the second line of the table begins with it. A gateway
        // that runs looks for new ones each second.
        let create = invocation.command("key create me --role operator");
        let export = format!("export {}=$({create} | awk 'NR == 2 {{print $1}}')", keys::KEY);
        tries.push(format!("{export}; sleep 2"));
    }
    if settings.profile == Profile::Strict {
        // Nobody is made up there, and so the owners of the examples have no accounts.
        let account = "curl account /api/accounts/me -X PUT -b '{\"displayName\": \"me\"}'";
        tries.push(invocation.command(account));
    } else if invocation.has_examples {
        tries.push(invocation.command(&format!("submit {EXAMPLES} --wait")));
    }
    let (key, shown) = match holder {
        Some(path) => {
            let file = quoted(&path.to_string_lossy());
            let shown = format!("-H \"Authorization: Bearer $(cat {file})\" ");
            (format!("Key   {}\n", key_line(&path)), shown)
        }
        None if asks => (String::new(), format!("-H \"Authorization: Bearer ${}\" ", keys::KEY)),
        None => (String::new(), String::new()),
    };
    let at = match settings.plain() {
        Plain::Serve => format!("http://{gateway}"),
        Plain::Redirect => {
            let authority = certificates::authority(settings, &invocation.data);
            let believed =
                authority.map(|it| format!("--cacert {} ", quoted(&it.to_string_lossy())));
            format!("{}https://{}", believed.unwrap_or_default(), https(settings))
        }
    };
    tries.push(format!(
        "curl -i {at}/api/deliveryrequests {shown}-H 'content-type: application/json' \
         -d '{REQUEST}'"
    ));
    format!(
        "{key}{}Page  {}\nTry   {}",
        tls_line(settings, &invocation.data),
        page::link(settings, &invocation.data),
        tries.join("\n      ")
    )
}

/// Where the gateway is over TLS, and how one sees that it is that one.
fn tls_line(settings: &Settings, data: &Path) -> String {
    let Some(certificate) = certificates::shown(settings, data) else { return String::new() };
    let authority = certificates::authority(settings, data);
    let believed = authority.map(|it| format!(" · authority {}", it.display())).unwrap_or_default();
    let fingerprint = certificate.fingerprint();
    format!("TLS   https://{}{believed}\n      SHA-256 {fingerprint}\n", https(settings))
}

/// The key itself to a person who looks; to a file, as the log of a process in the background, where it is.
fn key_line(path: &Path) -> String {
    let key = std::fs::read_to_string(path).ok().filter(|_| std::io::stderr().is_terminal());
    match key {
        Some(key) => format!("{} (in {})", key.trim(), path.display()),
        None => format!("in {}", path.display()),
    }
}

/// The table of processes. A port that has two names is shown once.
pub(crate) fn table(processes: &[ProcessStatus], shown: Ports) -> Table {
    let mut table =
        Table::new(&["SERVICE", "INSTANCE", "VERSION", "STATE", "PID", "PORTS", "RESTARTS"]);
    for it in processes {
        table.row([
            it.service.clone(),
            it.instance.clone(),
            it.version.clone(),
            it.state.as_str().to_owned(),
            it.pid.map_or_else(|| "–".to_owned(), |it| it.to_string()),
            ports(&it.ports, shown),
            it.restarts.to_string(),
        ]);
    }
    table
}

/// Which ports of a process are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ports {
    /// Those that one looks for first: of a proxy's doors for calls out, the first.
    Few,
    /// Every one.
    All,
}

/// What a proxy announces as `http` is one of its doors, which has a better name.
fn ports(ports: &BTreeMap<String, u16>, which: Ports) -> String {
    let has_better = |name: &str, port: u16| {
        name == "http" && ports.iter().any(|(it, other)| it != name && *other == port)
    };
    let is_further = |name: &str| name.starts_with("outbound") && Some(name) != first_out(ports);
    let (mut shown, mut further) = (Vec::new(), 0);
    for (name, port) in ports.iter().filter(|(name, port)| !has_better(name, **port)) {
        match which {
            Ports::Few if is_further(name) => further += 1,
            Ports::Few | Ports::All => shown.push(format!("{name} {port}")),
        }
    }
    if further > 0 {
        shown.push(format!("{further} more"));
    }
    shown.join(", ")
}

fn first_out(ports: &BTreeMap<String, u16>) -> Option<&str> {
    ports.keys().map(String::as_str).find(|it| it.starts_with("outbound"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invocation(data: &str, has_examples: bool) -> Invocation {
        Invocation { program: "target/drone-delivery".to_owned(), data: data.into(), has_examples }
    }

    #[test]
    fn what_is_to_be_typed_names_the_directory_and_only_files_that_are_there() {
        let settings = Settings::default();
        let text = what_to_try(&settings, &invocation(DATA, true));
        assert!(
            text.contains("Try   target/drone-delivery submit examples/plain.jsonl --wait\n"),
            "{text}"
        );
        let text = what_to_try(&settings, &invocation("/tmp/my data", true));
        assert!(text.contains("target/drone-delivery --data '/tmp/my data' submit"), "{text}");
        let text = what_to_try(&settings, &invocation(DATA, false));
        assert!(!text.contains("submit") && !text.contains("request.json"), "{text}");
    }

    #[test]
    fn where_nobody_has_a_key_yet_one_is_made_before_anything_is_asked() {
        let strict = Settings { profile: Profile::Strict, ..Settings::default() };
        let text = what_to_try(&strict, &invocation("/d", true));
        let place = |what: &str| text.find(what).unwrap();
        assert!(place("key create") < place("/api/accounts/me"), "{text}");
        assert!(place("/api/accounts/me") < place("/api/deliveryrequests"), "{text}");
        assert!(!text.contains("submit"), "its owners have no accounts: {text}");
        assert!(
            text.contains("export DRONE_DELIVERY_KEY=$(target/drone-delivery --data /d key create")
        );
        assert!(text.contains("-H \"Authorization: Bearer $DRONE_DELIVERY_KEY\""), "{text}");
    }

    #[test]
    fn a_process_that_keeps_dying_is_told_with_its_end_and_its_log() {
        let process = ProcessStatus {
            service: "account".to_owned(),
            instance: "account-1".to_owned(),
            pid: None,
            state: ProcessState::CrashLoop,
            ports: BTreeMap::new(),
            version: String::new(),
            restarts: 4,
            last_end: Some("exit status: 7".to_owned()),
        };
        let expected = "account-1 keeps dying (exit status: 7); its log is /d/logs/account-1.log, or \
                        `target/drone-delivery --data /d logs account-1`";
        assert_eq!(keeps_dying(&process, &invocation("/d", false)), expected);
    }

    #[test]
    fn the_request_to_try_is_one() {
        let body: serde_json::Value = serde_json::from_str(REQUEST).unwrap();
        let body = contracts::reading::Body::new(&body);
        assert!(contracts::shipping::DeliveryRequest::read(&body).is_ok());
    }

    fn shown(all: &[(&str, u16)], which: Ports) -> String {
        ports(&all.iter().map(|(name, port)| ((*name).to_owned(), *port)).collect(), which)
    }

    #[test]
    fn of_a_proxys_many_doors_the_first_is_shown_and_all_of_them_when_asked_for() {
        let proxy = [
            ("admin", 4),
            ("inbound", 7_304),
            ("outbound", 7_204),
            ("outbound-1", 5),
            ("outbound-2", 6),
        ];
        assert_eq!(shown(&proxy, Ports::Few), "admin 4, inbound 7304, outbound 7204, 2 more");
        let all = "admin 4, inbound 7304, outbound 7204, outbound-1 5, outbound-2 6";
        assert_eq!(shown(&proxy, Ports::All), all);
    }

    #[test]
    fn advice_names_the_system_that_it_is_about() {
        let next = |data: &str, next: &str| {
            let failure = invocation(data, false).complete(Failure::new("x", "y").next(next));
            failure.next.unwrap().into_string()
        };
        assert_eq!(next("/d", "drone-delivery ps"), "target/drone-delivery --data /d ps");
        assert_eq!(next(DATA, "drone-delivery ps"), "target/drone-delivery ps");
        assert_eq!(next("/d", "end that process"), "end that process");
        assert_eq!(
            next("/d", "drone-delivery down && drone-delivery up"),
            "target/drone-delivery --data /d down && target/drone-delivery --data /d up"
        );
    }

    #[test]
    fn a_port_is_shown_once() {
        let of = |all: &[(&str, u16)]| shown(all, Ports::Few);
        let proxy = [("admin", 4), ("http", 7_304), ("inbound", 7_304), ("outbound", 7_204)];
        assert_eq!(of(&proxy), "admin 4, inbound 7304, outbound 7204");
        assert_eq!(of(&[("admin", 4), ("http", 7_104)]), "admin 4, http 7104");
    }
}
