//! Certificates for the pairs of others: one authority, and one leaf that both sides show. Ours have names of
//! their own from `skein authority`.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use crate::bench::Failure;

/// Where they are, beside the folders of the contenders.
pub(super) const FOLDER: &str = "tls";

/// The same algorithm as ours, good for a day.
const STEPS: [&[&str]; 3] = [
    &[
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "1",
        "-subj",
        "/CN=bench",
        "-keyout",
        "ca.key",
        "-out",
        "ca.pem",
    ],
    &[
        "req",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        "/CN=items",
        "-addext",
        "subjectAltName=DNS:items",
        "-keyout",
        "leaf.key",
        "-out",
        "leaf.csr",
    ],
    &[
        "x509",
        "-req",
        "-in",
        "leaf.csr",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-days",
        "1",
        "-copy_extensions",
        "copy",
        "-out",
        "leaf.pem",
    ],
];

/// Makes them anew by the command of OpenSSL, which peers with TLS bring along.
pub(super) fn make(folder: &Path) -> Result<(), Failure> {
    let folder = folder.join(FOLDER);
    let failed = |it: std::io::Error| format!("{}: {it}", folder.display());
    fs::create_dir_all(&folder).map_err(failed)?;
    for arguments in STEPS {
        let mut command = Command::new("openssl");
        command.args(arguments).current_dir(&folder).stdin(Stdio::null());
        let done = command.output().map_err(|it| format!("openssl: {it}"))?;
        if !done.status.success() {
            return Err(format!("openssl: {}", String::from_utf8_lossy(&done.stderr)));
        }
    }
    let read = |name: &str| fs::read_to_string(folder.join(name)).map_err(failed);
    // One file of both, as HAProxy wants it.
    fs::write(folder.join("both.pem"), read("leaf.pem")? + &read("leaf.key")?).map_err(failed)
}
