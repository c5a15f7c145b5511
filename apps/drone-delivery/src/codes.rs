//! What this program's commands say by themselves, beside those of every mesh, for `explain`.

use skein::commands::codes::OwnReason;

/// Every such word, with what it means and what to do.
pub(crate) const ALL: &[OwnReason] = &[
    (
        "bad_certificate",
        "The certificate of the gateway, or its key, cannot be used, as the line says. Both are files of PEM: `gateway.certificate`, `gateway.certificate_key`.",
    ),
    (
        "bad_file",
        "A line of the file is no request. The line is named; docs/operations.md shows one.",
    ),
    ("bad_key_file", "The file that DRONE_DELIVERY_KEY_FILE names cannot be read."),
    (
        "bad_settings",
        "A setting is unknown, or its value cannot be. It is named; `config` shows all settings with their values.",
    ),
    (
        "bad_trace",
        "The page answered with spans that this program cannot read: it is of another version. `ps` shows the versions.",
    ),
    (
        "directory_lost",
        "The data directory was moved or removed while the system ran, so the system ended: nobody would find what it wrote from then on.",
    ),
    ("log_refused", "The log answered, and not as asked; the line `why` has its words."),
    (
        "no_authority",
        "The system runs without identities (`--tls off`), so it has no authority to ask. `down`, then `up --tls strict` begins with them; where that cannot be, as with `--mesh off`, `up` says why.",
    ),
    (
        "no_logs",
        "No process has written anything under this name. `ps` lists the names; nothing is written before the first `up`.",
    ),
    ("no_port", "The machine has no free port or no descriptor left."),
    (
        "no_settings",
        "No system was ever started in this data directory, so a process alone finds no settings. `up` starts all of them.",
    ),
    ("no_such_group", "No group of this name reads the log. `groups list` shows all of them."),
    (
        "no_such_role",
        "Nothing is called so: no role, no version of one, no instance. `ps` lists what runs, `roles` what there is.",
    ),
    (
        "no_such_topic",
        "The log has no topic of this name. `topics list` shows all of them; `topics create` makes one.",
    ),
    (
        "no_trace",
        "No span of this delivery is kept: spans are in memory, and under load not every trace is recorded. `saga show` has its whole history.",
    ),
    ("not_discarded", "Not every letter was removed; what is told as gone is gone."),
    ("not_down", "The system did not end in time; some of it still runs. `ps` shows what."),
    (
        "not_meant",
        "The command would destroy something, and was not told that this is meant: `--yes` says so.",
    ),
    (
        "not_published",
        "The log did not acknowledge the message. It may be there all the same if the connection was lost.",
    ),
    (
        "not_ready",
        "Not every process was ready in time. What was started goes on: `ps` shows how each is, `logs NAME` what it wrote, `down` ends all of it.",
    ),
    ("not_running", "Nothing runs in this data directory. `up` starts it; `--data` names another."),
    (
        "path_too_long",
        "The data directory's path is too long for a socket in it. Choose a shorter one with `--data`.",
    ),
];

#[cfg(test)]
mod tests {
    use skein::commands::codes;

    use super::*;

    #[test]
    fn every_code_that_this_program_gives_has_a_page() {
        let sources = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let given = codes::given(&sources).unwrap();
        let known = |code: &String| ALL.iter().chain(codes::ALL).any(|it| it.0 == code);
        let missing: Vec<_> = given.iter().filter(|it| !known(it)).collect();
        assert!(given.len() > 20 && missing.is_empty(), "without a page: {missing:?}");
    }
}
