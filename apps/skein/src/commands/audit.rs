//! `audit`: what people have done to a system, and whether that log is whole.

use std::{fs, path::Path};

use serde_json::json;

use crate::{
    Exit, Failure, Output, Table,
    audit::{self, Entry},
};

/// Judges the log; `last` is the digest that its last entry, or an earlier one, is to have.
///
/// # Errors
/// There is no log.
pub fn verify(path: &Path, last: Option<&str>, output: Output) -> Result<Exit, Failure> {
    let verified = audit::verify(&read(path)?);
    let mut table = Table::new(&["ENTRIES", "LAST", "WHOLE"]);
    let why = match &verified {
        Ok(entries) => missing(entries, last),
        Err(broken) => Some(broken.to_string()),
    };
    let good = verified.as_ref().map_or_else(|it| it.line - 1, |it| it.len() as u64);
    let entries = verified.unwrap_or_default();
    let digest = entries.last().map(|it| it.digest.clone()).unwrap_or_default();
    let whole = if why.is_none() { "yes" } else { "no" };
    table.row([good.to_string(), digest.clone(), whole.to_owned()]);
    let page = json!({"entries": good, "last": digest, "broken": why});
    output.result(&page, &table);
    match why {
        None => Ok(Exit::Done),
        Some(why) => {
            output.remark(&why);
            Ok(Exit::Findings)
        }
    }
}

/// What is wrong with a chain that is whole in itself.
fn missing(entries: &[Entry], last: Option<&str>) -> Option<String> {
    if entries.is_empty() {
        return Some("no entry is left: a log begins with its first one".to_owned());
    }
    let last = last?;
    let is_there = entries.iter().any(|it| it.digest == last);
    (!is_there).then(|| format!("no entry has the digest {last}: its end is missing, or all of it"))
}

/// Shows the last entries.
///
/// # Errors
/// There is no log, or it is broken: then `verify` says where.
pub fn tail(path: &Path, count: usize, output: Output) -> Result<Exit, Failure> {
    let entries = audit::verify(&read(path)?).map_err(|it| {
        Failure::new("broken_audit", "the audit log is not whole").because(it).at(path.display())
    })?;
    let shown = &entries[entries.len().saturating_sub(count)..];
    let mut table = Table::new(&["NUMBER", "TIME", "WHO", "WHAT", "DECISION"]);
    for Entry { number, at, who, what, decision, .. } in shown {
        let cells = [number.to_string(), at.to_string(), who.clone(), what.clone()];
        table.row(cells.into_iter().chain([decision.clone()]));
    }
    output.result(&shown, &table);
    Ok(Exit::Done)
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|it| {
        Failure::new("no_audit", "there is no audit log")
            .at(path.display())
            .because(it)
            .exit(Exit::NotFound)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_without_an_entry_is_not_whole() {
        assert!(missing(&[], None).is_some());
    }
}
