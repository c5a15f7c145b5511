//! What the commands say by themselves, in brackets behind `error: …`, for `explain`.

/// A word that a service of the application or a command says, and what it means.
pub type OwnReason = (&'static str, &'static str);

/// Every such word of this crate, with what it means and what to do.
pub const ALL: &[OwnReason] = &[
    (
        "ambiguous_key",
        "Several keys may be meant by these letters. `key list` shows them; give more of the id of the one that is meant, six digits at least.",
    ),
    (
        "bad_argument",
        "An argument makes no sense here. `--help` behind the command says what it takes.",
    ),
    (
        "bad_directory",
        "The data directory cannot be used: its rights, a full disk, another process that has it, or a file in its place.",
    ),
    (
        "bad_keys",
        "The file of keys or users cannot be read or written: its rights, a full disk, or a change by hand.",
    ),
    (
        "bad_log",
        "The files of the log are not as the log writes them. `log verify` names each place; `log repair` cuts off what was never acknowledged.",
    ),
    (
        "bad_policy",
        "Files of policy cannot be used. Each place stands below with a code of its own; `explain` has a page for it, and `analyze` judges the files without a system.",
    ),
    (
        "broken_audit",
        "The audit log was changed, or lines of it are missing. `audit verify` says where.",
    ),
    (
        "faults_off",
        "The processes were started without leave to plant faults, and get none while they run. End them and start them anew: a system by `down`, then `up --enable-faults` with whatever else it was started with, a proxy by `skein proxy --enable-faults`.",
    ),
    (
        "in_use",
        "Another process has the directory or the file. It is named where that can be seen; end it first.",
    ),
    ("internal", "The program came where it should never be. Keep its words, and report them."),
    (
        "no_admin_port",
        "No operators' port answers at the addresses that were named. A proxy and a service say theirs in their logs, as `admin`.",
    ),
    (
        "no_audit",
        "Nothing was ever noted here: no audit log is in this data directory. Is it the one that is meant (`--data`)?",
    ),
    (
        "no_branch_file",
        "The file of a branch cannot be written: it is there already, or its folder cannot be used. One that is there may have the key of another branch; name another file.",
    ),
    (
        "no_control_plane",
        "None of the processes is a control plane. `mesh_control.enabled` starts one.",
    ),
    ("no_file", "A file cannot be read: it is not there, or its rights forbid it."),
    (
        "no_identity",
        "A process showed no identity, or got none. The authority has to run, and to allow the name to the user that asks: `skein authority --allow`; in a system of `up`, `--tls strict` gives identities and `identity show` lists them.",
    ),
    ("no_key", "No key could be made: what was asked for is refused, as the line says."),
    (
        "no_lock",
        "The lock of the log cannot be taken: the file system refuses. Nothing was changed.",
    ),
    (
        "no_log",
        "No log is in this directory. That of a system is below its data directory, in `broker`.",
    ),
    (
        "no_runtime",
        "The operating system gave no threads or descriptors to begin with. Look at the limits of this user.",
    ),
    ("no_secret", "No secret could be drawn for this user, as the line says."),
    (
        "no_signals",
        "The operating system lets this process hear no signals, so it would not hear the wish to end. It does not start.",
    ),
    ("no_such_anchor", "No anchor has this name. `identity anchors` shows all of them."),
    (
        "no_such_door",
        "Nothing that runs has a door of this name: no service that judges who comes in, and no edge. `policy show` lists those that have rules.",
    ),
    ("no_such_edge", "No process that runs has routes of this edge. `routes` lists the doors."),
    ("no_such_fault", "No fault of this name stands. `fault list` shows those that do."),
    ("no_such_key", "No key begins so. `key list` shows all of them."),
    (
        "no_such_message",
        "The service holds no such message in its outbox any more: it was sent, or the number is another's.",
    ),
    (
        "no_such_service",
        "No process that runs serves under this name. `endpoints` lists the services that are known.",
    ),
    ("no_such_source", "Nobody who runs calls under this name. `edges` lists who calls whom."),
    ("no_such_user", "No user of the log has this name. `log user list` shows all of them."),
    ("not_found", "What was asked for does not exist under this name."),
    (
        "port_busy",
        "A port is held by another process, which is named where that can be seen, else the number of the user who runs it. End it, or choose other ports with `--port-base`. Where nobody listens a connection that ended has it: it passes within a minute.",
    ),
    (
        "no_policy",
        "Denied at a door for which no Authorization stands: where callers show who they are, it is shut. `policy show SERVICE` lists its rules, docs/policy.md how one is written.",
    ),
    (
        "caller_not_allowed",
        "Denied at a door: no rule there names this caller. `policy show SERVICE` lists the rules; who may call is added under `callers` of one.",
    ),
    (
        "path_not_allowed",
        "Denied at a door: rules name this caller, and none of them this path. `policy show SERVICE` lists the rules; paths are compared as whole elements.",
    ),
    (
        "method_not_allowed_for_caller",
        "Denied at a door: rules name this caller and this path, and none of them this method. `policy show SERVICE` lists the rules.",
    ),
    ("refused", "What was asked was understood and refused; the line `why` says the reason."),
    ("start_failed", "A process could not start; the line `why` says the cause."),
    (
        "unknown_code",
        "No page has this name. Codes stand in brackets behind an error, and as `code` in answers.",
    ),
    (
        "unauthenticated",
        "A change at an operators' port needs their token. The commands of the program that started the system show \
         it, where `--data` names its directory. Where the file of it was removed or replaced while the system runs, \
         `down` and `up` make them agree again.",
    ),
    (
        "unreachable",
        "Nobody answered at the address: the process has ended, hangs, or listens elsewhere. Its log says more.",
    ),
];

/// The codes that the sources below a folder give to failures, for a test that each has a page.
///
/// # Errors
/// The folder cannot be read.
#[doc(hidden)]
pub fn given(folder: &std::path::Path) -> std::io::Result<std::collections::BTreeSet<String>> {
    let mut codes = std::collections::BTreeSet::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            codes.extend(given(&path)?);
            continue;
        }
        let text = std::fs::read_to_string(&path)?;
        // Tests make failures of their own.
        let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        let made = ["Failure::new(", "unknown("];
        let behind = made.into_iter().flat_map(|it| text.split(it).skip(1));
        let quoted = behind.filter_map(|it| it.trim_start().strip_prefix('"')?.split('"').next());
        let is_code = |it: &&str| it.chars().all(|it| it == '_' || it.is_ascii_lowercase());
        codes.extend(quoted.filter(is_code).map(str::to_owned));
    }
    Ok(codes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_that_a_command_gives_has_a_page() {
        let sources = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let given = given(&sources).unwrap();
        let known = |code: &String| ALL.iter().any(|it| it.0 == code);
        let missing: Vec<_> = given.iter().filter(|it| !known(it)).collect();
        assert!(given.len() > 20 && missing.is_empty(), "without a page: {missing:?}");
        assert!(ALL.iter().all(|it| it.1.ends_with(['.', '?', ')'])), "a page is whole sentences");
    }
}
