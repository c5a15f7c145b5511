//! What a handshake costs the proxy beside a service: mutual TLS 1.3, nothing resumed, one request on each
//! connection. One client after the other asks, slower than any proxy answers: read the CPU of a handshake; what
//! a core can do in a second is its inverse.

use std::path::{Path, PathBuf};

use super::{
    CASES, Contender, Row, Started,
    burst::{Backend, Burst, Ends},
    certificates, leave_out,
};
use crate::bench::{
    Failure,
    part::{Core, Program},
};

/// Who has the same proxy beside the service as another.
const TWIN: &str = "haproxy-h2";

pub(super) fn measure(
    root: &Path,
    ends: &Ends,
    contenders: &[Contender],
    (rounds, millis): (u32, u128),
    not_run: &mut Vec<String>,
) -> Result<Vec<Row>, Failure> {
    let backend = Backend::start(ends, "small")?;
    let client = Client { script: root.join("bench/mesh/handshakes.py"), millis };
    let mut taking_part = Vec::new();
    for contender in contenders.iter().filter(|it| it.name != TWIN) {
        let started = Started::new(contender, &backend).and_then(|it| it.ready(ends, &CASES[0]));
        match started {
            Ok(it) => taking_part.push((it, Row { name: contender.name.clone(), bursts: vec![] })),
            Err(reason) => {
                leave_out(not_run, format!("handshakes of {}: {reason}", contender.name))
            }
        }
    }
    let all = taking_part.len();
    for round in 0..rounds as usize {
        for turn in 0..all {
            let (started, row) = &mut taking_part[(turn + round) % all];
            row.bursts.push(client.burst(started).unwrap_or_else(|it| Burst::lost(&it)));
        }
    }
    Ok(taking_part.into_iter().map(|it| it.1).collect())
}

struct Client {
    script: PathBuf,
    millis: u128,
}

impl Client {
    fn burst(&self, to: &Started) -> Result<Burst, Failure> {
        let (port, millis) = (to.inner().to_string(), self.millis.to_string());
        let warm_up = (self.millis / 6).to_string();
        let script = self.script.display().to_string();
        let mut told = vec![script.as_str(), "--port", &port];
        told.extend(["--measure-ms", &millis, "--warm-up-ms", &warm_up]);
        let authority = to.folder().join("ca/authority.sock").display().to_string();
        let both = to.folder().with_file_name(certificates::FOLDER).join("both.pem");
        let both = both.display().to_string();
        match Path::new(&authority).exists() {
            true => told.extend([
                "--authority",
                &authority,
                "--identity",
                "spiffe://mesh/ns/default/svc/caller",
            ]),
            false => told.extend(["--certificate", &both]),
        }
        Burst::read(Program("python3".into()).start(Core::Ends, &told)?, to.pid())
    }
}
