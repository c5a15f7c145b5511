//! Who the processes of a system are where they show it: names, the authority in the process of `up`,
//! and how a role or a command comes to its identity.
//!
//! Each process is told a word that is good once, for it alone: a role by the pipe that holds it, a
//! command over the control socket. The key is made in the process and written nowhere.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use base::SharedClock;
use identity::{
    AuthorityConfig, Current, Grounds, Handshakes, JoinToken, Membership, Office, PublicName,
    SpiffeId,
};
use messaging::LogTls;
use runtime::Tasks;
use skein::{
    Failure, failure,
    membership::{self, Looks},
    supervise::{Admission, Applicant, Orders, lifeline},
};
use telemetry::Telemetry;
use tokio::net::UnixListener;

use crate::{
    roles::Role,
    settings::{Settings, Tls},
};

/// What every name begins with; deploy/mesh/authorization.yaml has it too.
pub(crate) const TRUST_DOMAIN: &str = "drone-delivery";
const NAMESPACE: &str = "default";
/// Whoever may enter the data directory, at the commands of this program.
pub(crate) const OPERATOR: &str = "operator";
/// What strangers call a process of this machine.
const HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// The name of a service.
pub(crate) fn id(service: &str) -> SpiffeId {
    SpiffeId::new(TRUST_DOMAIN, NAMESPACE, service).expect("names of roles are names of services")
}

/// Where the authority's state is, with its keys.
pub(crate) fn folder(data: &Path) -> PathBuf {
    data.join("identity")
}

/// Where the authority listens.
pub(crate) fn socket(data: &Path) -> PathBuf {
    data.join(SOCKET)
}

/// Name of the authority's socket in the data directory.
pub(crate) const SOCKET: &str = "authority.sock";

/// The surroundings of a process that is to have an identity.
#[derive(Debug)]
pub(crate) struct Surroundings<'a> {
    pub(crate) data: &'a Path,
    pub(crate) clock: &'a SharedClock,
    pub(crate) telemetry: &'a Telemetry,
    pub(crate) tasks: &'a Tasks,
}

/// The authority of a system that is about to run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Authority {
    /// Set once the data directory is ours.
    office: Arc<OnceLock<Office>>,
}

impl Authority {
    /// Opens what is in the data directory, or founds it there, and serves it until the tasks end.
    pub(crate) fn open(&self, life_s: u64, around: &Surroundings<'_>) -> io::Result<()> {
        let folder = folder(around.data);
        let socket = skein::folder::socket(around.data, SOCKET)?;
        match DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let config = AuthorityConfig { identity_life_s: life_s, ..AuthorityConfig::default() };
        let (state, clock) = (folder.join("authority.json"), around.clock.clone());
        let office = Office::open(config, TRUST_DOMAIN, state, clock, around.telemetry)
            .map_err(|it| io::Error::other(failure::chain(&it)))?;
        // Stock clients of the log look at the name that they called.
        let hosts = HOSTS.into_iter().filter_map(PublicName::of_host);
        office.call_also(id(Role::Broker.name()), hosts.collect());
        // The directory is ours: one that is there was left.
        match fs::remove_file(&socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        office.serve(UnixListener::bind(socket)?, around.tasks);
        self.office.get_or_init(|| office);
        Ok(())
    }

    /// Gives each process of these its word, and commands that of an operator.
    pub(crate) fn admission(&self, services: BTreeMap<String, &'static str>) -> Admission {
        let authority = self.clone();
        Admission::new(move |applicant: Applicant<'_>| {
            let service = match applicant.instance {
                Some(instance) => services.get(instance)?,
                None => OPERATOR,
            };
            authority.token(service, applicant)
        })
    }

    /// Carries out what a person has it do.
    pub(crate) fn orders(&self) -> Orders {
        let authority = self.clone();
        Orders::new(move |order| {
            let office = authority.office.get().ok_or("the authority is not open yet")?;
            office.carry_out(order).map_err(|it| failure::chain(&it))
        })
    }

    fn token(&self, service: &str, applicant: Applicant<'_>) -> Option<String> {
        let office = self.office.get()?;
        let drawn = office.draw_token(id(service), applicant.uid);
        let token = drawn
            .inspect_err(|error| tracing::warn!(service, %error, "no token was drawn"))
            .ok()?;
        office.bind_token(&token, applicant.pid).ok()?;
        Some(token.reveal().to_owned())
    }
}

/// Refuses what is asked of the authority of a system that runs without one.
pub(crate) fn has_authority(data: &Path) -> Result<(), Failure> {
    // Settings that cannot be read are no reason: what runs answers for itself.
    let settings = Settings::of(data).ok().flatten();
    if settings.is_none_or(|it| it.tls == Tls::Strict) {
        return Ok(());
    }
    let failure = Failure::new("no_authority", "nobody shows who he is in this system");
    let why = "it runs with `--tls off`, which is also so with `--mesh off` and where a program of others has no \
               proxy beside it";
    Err(failure
        .at(data.display())
        .because(why)
        .next("drone-delivery down && drone-delivery up --tls strict"))
}

/// How a process enters the log.
pub(crate) fn to_log(handshakes: Handshakes) -> LogTls {
    LogTls { handshakes, log: id(Role::Broker.name()) }
}

/// Joins with the word that `up` has told this process, and waits for its identity.
pub(crate) async fn take(service: &str, around: &Surroundings<'_>) -> Result<Handshakes, Failure> {
    let failed = |what: &str| Failure::new("no_identity", what.to_owned());
    let word = lifeline::word().map_err(|it| failed("standard input ended").because(it))?;
    let token = JoinToken::parse(&word)
        .ok_or_else(|| failed("no word came by standard input; `up` starts this process"))?;
    let Surroundings { clock, telemetry, tasks, .. } = around;
    let looks = if service == Role::Control.name() { Looks::ForOthers } else { Looks::ForItself };
    membership::joined(as_member(service, token, around), looks, clock, telemetry, tasks).await
}

/// Joins in the background.
pub(crate) fn join(
    service: &str,
    token: JoinToken,
    around: &Surroundings<'_>,
) -> (Handshakes, Current) {
    let Surroundings { clock, telemetry, tasks, .. } = around;
    let member = as_member(service, token, around);
    membership::join(member, Looks::ForItself, clock, telemetry, tasks)
}

/// By the word that `up` has told this process.
fn as_member(service: &str, token: JoinToken, around: &Surroundings<'_>) -> Membership {
    Membership { authority: socket(around.data), id: id(service), grounds: Grounds::Token(token) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_nobody_shows_who_he_is_that_is_said_of_what_only_an_authority_can_do() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        assert!(has_authority(data).is_ok(), "nothing is known of it");
        Settings { tls: Tls::Strict, ..Settings::default() }.write(data).unwrap();
        assert!(has_authority(data).is_ok());
        Settings { tls: Tls::Off, ..Settings::default() }.write(data).unwrap();
        let failure = has_authority(data).unwrap_err();
        assert_eq!(failure.code, "no_authority");
        assert!(failure.why.is_some_and(|it| it.contains("--tls off")));
    }
}
