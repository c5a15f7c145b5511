//! Memory of each contender: idle, and while it holds connections that were used once.

use serde_json::{Value, json};

use super::{
    CASES, Contender, Started,
    burst::{Backend, Ends},
    leave_out,
};
use crate::bench::{Failure, part::Core, process};

/// Proportional set size in KiB by contender, at 0, 100 and 1,000 connections.
pub(super) fn measure(
    ends: &Ends,
    contenders: &[Contender],
    not_run: &mut Vec<String>,
) -> Result<Value, Failure> {
    let backend = Backend::start(ends, "small")?;
    let mut all = serde_json::Map::new();
    for contender in contenders {
        let started = Started::new(contender, &backend).and_then(|it| it.ready(ends, &CASES[0]));
        match started.and_then(|it| one(ends, &it)) {
            Ok(seen) => {
                all.insert(contender.name.clone(), seen);
            }
            Err(reason) => leave_out(not_run, format!("memory of {}: {reason}", contender.name)),
        }
    }
    Ok(Value::Object(all))
}

fn one(ends: &Ends, contender: &Started) -> Result<Value, Failure> {
    let pss = || -> u64 {
        process::family(contender.pid()).into_iter().filter_map(process::pss_kib).sum()
    };
    let target = format!("127.0.0.1:{}", contender.port("http1"));
    let hold = |connections: &str| {
        let arguments = ["hold", "--target", &target, "--connections", connections];
        let mut part = ends.command(Core::Ends, &arguments)?;
        part.expect("held").map(|()| part)
    };
    let idle = pss();
    let _hundred = hold("100")?;
    let at_100 = pss();
    let _thousand = hold("900")?;
    Ok(json!({"idle": idle, "at100": at_100, "at1000": pss()}))
}
