//! `skein authority`: says who the processes of a machine are, where no program on top does.

use std::{
    fs::{self, Permissions},
    io,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use identity::{
    AuthorityConfig, Claims, LOG_USERS, Office, Order, SendOrderError, SpiffeId, read_state,
};
use serde_json::Value;
use service_kit::{Routes, Service, ServiceConfig, ServiceContext};
use tokio::net::UnixListener;

use crate::{
    Exit, Failure,
    commands::durations::duration,
    failure, folder,
    supervise::lock::{DirectoryLock, LockError},
};

/// What it is called.
pub const NAME: &str = "authority";
/// Its socket in the folder.
pub const SOCKET: &str = "authority.sock";
/// Its state in the folder, with its keys.
const STATE: &str = "authority.json";

/// Shortest life of an identity: renewed at half of it, and clocks differ.
const LIFE_MIN: Duration = Duration::from_secs(10);
/// Longest: who is not denied is believed for so long.
const LIFE_MAX: Duration = Duration::from_secs(24 * 3_600);

/// What an authority is told.
#[derive(Debug, Clone, Args)]
pub struct AuthorityArguments {
    /// Folder of its state, with its keys, and of its socket.
    #[arg(long, value_name = "FOLDER")]
    pub data: PathBuf,
    /// What every name begins with: `spiffe://DOMAIN/…`.
    #[arg(long, default_value = "mesh", value_name = "DOMAIN")]
    pub trust_domain: String,
    /// The namespace of the services.
    #[arg(long, default_value = "default")]
    pub namespace: String,
    /// Users and the service that each may be. The user that this runs as may be every service.
    #[arg(long, value_name = "SERVICE=UID", value_delimiter = ',', value_parser = allowed)]
    pub allow: Vec<(String, u32)>,
    /// What `skein identity branch` made on the machine of the first authority of this trust domain: it is founded
    /// with it, or goes on with it where it is newer.
    #[arg(long, value_name = "FILE")]
    pub branch: Option<PathBuf>,
    /// How long an identity lives; it is renewed at half of it.
    #[arg(long, default_value = "1h", value_name = "TIME", value_parser = life)]
    pub life: Duration,
    /// Where operators come in; a free port of the loopback interface where nothing is said.
    #[arg(long, default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), value_name = "HOST:PORT")]
    pub admin_listen: SocketAddr,
}

fn allowed(text: &str) -> Result<(String, u32), &'static str> {
    const FORM: &str = "a service and the number of its user are `SERVICE=UID`";
    let (service, uid) = text.split_once('=').ok_or(FORM)?;
    let uid = uid.parse().map_err(|_| FORM)?;
    if service.is_empty() { Err(FORM) } else { Ok((service.to_owned(), uid)) }
}

fn life(text: &str) -> Result<Duration, String> {
    let life = duration(text)?;
    if (LIFE_MIN..=LIFE_MAX).contains(&life) { Ok(life) } else { Err("10s to 24h".to_owned()) }
}

/// What the process is told about itself.
#[must_use]
pub fn config(arguments: &AuthorityArguments) -> ServiceConfig {
    let mut config = ServiceConfig::new(NAME.to_owned(), NAME.to_owned(), "");
    config.admin = arguments.admin_listen;
    config
}

/// An authority that runs. The folder is its own for as long as this lives.
#[derive(Debug)]
pub struct Running {
    /// Where processes ask.
    pub socket: PathBuf,
    /// Where operators come in.
    pub admin: SocketAddr,
    _lock: DirectoryLock,
}

/// Opens the authority of a folder, or founds it there, and serves it on the context's tasks.
///
/// # Errors
/// A name is none, the folder is another's or cannot be used, or an address cannot be listened on.
pub fn start(arguments: &AuthorityArguments, context: &ServiceContext) -> Result<Running, Failure> {
    let claims = claims(arguments)?;
    let folder = &arguments.data;
    let unusable = |it: &dyn std::error::Error| {
        let what = "the folder of the authority cannot be used";
        Failure::new("bad_directory", what).because(failure::chain(it)).at(folder.display())
    };
    make(folder, !arguments.allow.is_empty()).map_err(|it| unusable(&it))?;
    let lock = DirectoryLock::take(folder, context.clock.now());
    let lock = lock.map_err(|it: LockError| unusable(&it))?;
    let socket = folder::socket(folder, SOCKET).map_err(|it| unusable(&it))?;
    let config =
        AuthorityConfig { identity_life_s: arguments.life.as_secs(), ..AuthorityConfig::default() };
    let (domain, state) = (&arguments.trust_domain, folder.join(STATE));
    let (clock, telemetry) = (context.clock.clone(), &context.telemetry);
    let office = match &arguments.branch {
        None => Office::open(config, domain, state, clock, telemetry),
        Some(file) => {
            let text = branch_file(file)?;
            Office::open_branch(config, domain, state, &text, clock, telemetry)
        }
    };
    let office = office.map_err(|it| unusable(&it))?;
    office.admit(claims);
    office.obey(rustix::process::geteuid().as_raw());
    let listener = listen(&socket, !arguments.allow.is_empty()).map_err(|it| unusable(&it))?;
    office.serve(listener, &context.tasks);
    let admin = Service::new(Routes::new()).serve_admin(context).map_err(|it| {
        let what = "the authority cannot start";
        Failure::new("start_failed", what).because(failure::chain(&it))
    })?;
    Ok(Running { socket, admin, _lock: lock })
}

/// What the file of a branch says. It has a key: one that others can read is refused.
fn branch_file(file: &Path) -> Result<String, Failure> {
    let failed = |why: String| {
        Failure::new("no_file", "the file of the branch cannot be read")
            .because(why)
            .at(file.display())
    };
    let text = read_state(file).map_err(|it| failed(failure::chain(&it)))?;
    text.ok_or_else(|| failed("it is not there".to_owned()))
}

/// Has an authority that runs carry an order out; gives what it stands on then.
///
/// # Errors
/// None is named, it does not answer, or it refuses.
pub async fn order(socket: Option<&Path>, order: &Order) -> Result<Value, Failure> {
    let Some(socket) = socket else {
        let failure = Failure::new("bad_argument", "no authority is named").exit(Exit::Usage);
        return Err(
            failure.next("--authority SOCKET, `authority.sock` in the folder of `skein authority`")
        );
    };
    order.send(socket).await.map_err(|error| match &error {
        SendOrderError::Away(_) => Failure::new("unreachable", "the authority does not answer")
            .because(failure::chain(&error))
            .at(socket.display())
            .exit(Exit::Unreachable),
        SendOrderError::Refused(reason) => {
            Failure::new("refused", "the authority refuses").because(reason.clone())
        }
    })
}

/// Who may have which name.
fn claims(arguments: &AuthorityArguments) -> Result<Claims, Failure> {
    let AuthorityArguments { trust_domain, namespace, allow, .. } = arguments;
    let usage = |what: String| Failure::new("bad_argument", what).exit(Exit::Usage);
    if namespace == LOG_USERS {
        let what = format!("the namespace `{LOG_USERS}` is that of the log's users");
        return Err(usage(what));
    }
    // Any name shows whether domain and namespace can have one.
    SpiffeId::new(trust_domain, namespace, NAME).map_err(|it| usage(it.to_string()))?;
    let own = rustix::process::geteuid().as_raw();
    let mut claims = Claims::default().with_namespace(own, namespace);
    for (service, uid) in allow {
        let id = SpiffeId::new(trust_domain, namespace, service);
        let id = id.map_err(|it| usage(format!("`{service}`: {it}")))?;
        claims = claims.with(*uid, id);
    }
    Ok(claims)
}

/// Makes the folder, where it is not there: others enter it only for its socket, and list it never.
fn make(folder: &Path, for_others: bool) -> io::Result<()> {
    let is_new = !folder.exists();
    folder::make_private(folder)?;
    if is_new && for_others {
        fs::set_permissions(folder, Permissions::from_mode(0o711))?;
    }
    Ok(())
}

/// The folder is ours: a socket that is there was left.
fn listen(socket: &Path, for_others: bool) -> io::Result<UnixListener> {
    match fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(socket)?;
    let mode = if for_others { 0o666 } else { 0o600 };
    fs::set_permissions(socket, Permissions::from_mode(mode))?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        arguments: AuthorityArguments,
    }

    fn parsed(line: &str) -> Option<AuthorityArguments> {
        let words = "authority --data here ".split(' ').chain(line.split(' '));
        Line::try_parse_from(words.filter(|it| !it.is_empty())).ok().map(|it| it.arguments)
    }

    #[test]
    fn what_cannot_be_is_refused_on_the_command_line() {
        assert_eq!(parsed("").unwrap().life, Duration::from_secs(3_600));
        let two = parsed("--allow orders=1001,stock=0 --life 10s").unwrap();
        assert_eq!(two.allow, [("orders".to_owned(), 1_001), ("stock".to_owned(), 0)]);
        for line in
            ["--allow orders", "--allow orders=ann", "--allow =1", "--life 9s", "--life 25h"]
        {
            assert!(parsed(line).is_none(), "{line}");
        }
        for line in ["--namespace log-users", "--trust-domain A", "--allow Orders=1"] {
            assert!(claims(&parsed(line).unwrap()).is_err(), "{line}");
        }
        assert!(claims(&two).is_ok());
    }

    #[tokio::test]
    async fn others_come_to_the_socket_only_where_one_of_them_may_be_somebody() {
        let outer = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        for (name, for_others, expected) in
            [("alone", false, (0o700, 0o600)), ("shared", true, (0o711, 0o666))]
        {
            let folder = outer.path().join(name);
            make(&folder, for_others).unwrap();
            let socket = folder.join(SOCKET);
            let _listener = listen(&socket, for_others).unwrap();
            assert_eq!((mode(&folder), mode(&socket)), expected, "{name}");
            // One that was left is taken away.
            listen(&socket, for_others).unwrap();
        }
    }
}
