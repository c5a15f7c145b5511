//! `analyze` and `explain`: what is wrong in files of policy, and what that means.

use std::{
    collections::BTreeSet,
    path::{Component, Path, PathBuf},
};

use base::Timestamp;
use identity::Refusal;
use mesh_policy::{
    analyze,
    explain::{self, Explanation, Reason},
    schema::{self, Finding, Level, SourceFile},
};
use serde_json::{Value, json};

use super::{
    arguments::{AnalyzeArguments, FileCommand, LogCommand, Threshold},
    codes::{self, OwnReason},
    log, user,
};
use crate::{
    Exit, Failure, Format, Output,
    audit::AuditLog,
    failure::chain,
    keys::KeyStore,
    mesh::{PolicyError, PolicyFiles},
};

/// What a program knows that runs these commands.
#[derive(Debug)]
pub struct Surroundings<'a> {
    /// What its application says besides.
    pub reasons: &'a [OwnReason],
    /// What its own commands say besides those of every mesh.
    pub codes: &'a [OwnReason],
    /// Where users of its log are, and what was done to them is noted.
    pub users: Option<(KeyStore, AuditLog)>,
    /// The moment.
    pub now: Timestamp,
}

/// Runs a command.
///
/// # Errors
/// A file that cannot be read; a code that nobody knows.
pub fn run(
    command: &FileCommand,
    around: &Surroundings<'_>,
    output: Output,
) -> Result<Exit, Failure> {
    match command {
        FileCommand::Analyze(arguments) => analyze(arguments, output),
        FileCommand::Explain { code } => explain(code, around, output),
        FileCommand::Log(LogCommand::User { file, command }) => {
            let named = file.as_ref().map(|it| (KeyStore::at(it), None));
            let own = || around.users.as_ref().map(|(store, audit)| (store.clone(), Some(audit)));
            let (store, audit) = named.or_else(own).ok_or_else(|| {
                let failure = Failure::new("bad_argument", "no file of users is named");
                failure.exit(Exit::Usage).next("--file FILE")
            })?;
            user::run(&store, audit, command, around.now, output)
        }
        FileCommand::Log(LogCommand::Verify { directory }) => log::verify_all(directory, output),
        FileCommand::Log(LogCommand::Repair { directory, keep_acked }) => {
            log::repair_all(directory, *keep_acked, output)
        }
    }
}

fn analyze(arguments: &AnalyzeArguments, output: Output) -> Result<Exit, Failure> {
    let files = PolicyFiles::new().with_files(&arguments.files).sources().map_err(unreadable)?;
    let files = with_named(files)?;
    let findings = judge(&files);
    match output.format {
        Format::Json => output.document(&document(&findings)),
        Format::Table => output.text(&findings.iter().map(line).collect::<String>()),
        Format::Wide => output.text(&findings.iter().map(lines).collect::<String>()),
    }
    output.remark(&summary(&findings, files.len()));
    let threshold = match arguments.failure_threshold {
        Threshold::Info => Level::Info,
        Threshold::Warning => Level::Warning,
        Threshold::Error => Level::Error,
    };
    let fails = findings.iter().any(|it| it.level >= threshold);
    Ok(if fails { Exit::Findings } else { Exit::Done })
}

fn unreadable(error: PolicyError) -> Failure {
    let failure = Failure::new("no_file", "a file cannot be read").because(chain(&error));
    match error {
        PolicyError::Io { path, .. } => failure.at(path.display()).exit(Exit::NotFound),
        PolicyError::Findings(_) | PolicyError::Route(_) => failure,
    }
}

/// The files, and those that the proxies among them name: what is analyzed is what they will read.
fn with_named(mut files: Vec<SourceFile>) -> Result<Vec<SourceFile>, Failure> {
    let given: Vec<PathBuf> = files.iter().map(|it| plain(Path::new(&it.name))).collect();
    let named: BTreeSet<PathBuf> = files.iter().filter_map(files_of_proxy).flatten().collect();
    let further = named.into_iter().filter(|it| !given.contains(it));
    files.extend(PolicyFiles::new().with_files(further).sources().map_err(unreadable)?);
    Ok(files)
}

/// What there is to say about files: what cannot be read, else what can be and is hardly meant. They
/// are one policy; where several of them describe proxies, each of these is one, with the files that it
/// names and those that no proxy names.
#[must_use]
pub fn judge(files: &[SourceFile]) -> Vec<Finding> {
    let proxies: Vec<Option<Vec<PathBuf>>> = files.iter().map(files_of_proxy).collect();
    if proxies.iter().flatten().count() < 2 {
        return judge_one(files);
    }
    let paths: Vec<PathBuf> = files.iter().map(|it| plain(Path::new(&it.name))).collect();
    let is_named = |it: &PathBuf| proxies.iter().flatten().any(|named| named.contains(it));
    let mut findings: Vec<Finding> = Vec::new();
    for (own, named) in proxies.iter().enumerate() {
        let Some(named) = named else { continue };
        let is_read = |place: usize| {
            let (path, is_proxy) = (&paths[place], proxies[place].is_some());
            place == own || named.contains(path) || (!is_proxy && !is_named(path))
        };
        let read = files.iter().enumerate().filter(|(place, _)| is_read(*place));
        let read: Vec<SourceFile> = read.map(|(_, file)| file.clone()).collect();
        for finding in judge_one(&read) {
            if !findings.contains(&finding) {
                findings.push(finding);
            }
        }
    }
    let order = |it: &Finding| files.iter().position(|file| file.name == it.file);
    findings.sort_by_key(|it| (order(it).is_none(), order(it), it.line, it.column));
    findings
}

fn judge_one(files: &[SourceFile]) -> Vec<Finding> {
    match schema::read_with_origins(files) {
        Ok((policy, origins)) => analyze::analyze(&policy, &origins),
        Err(findings) => findings,
    }
}

/// The files that the proxy in a file names, as paths from here; `None` where there is no proxy. One
/// that cannot be read names none.
fn files_of_proxy(file: &SourceFile) -> Option<Vec<PathBuf>> {
    let Ok(policy) = schema::read(std::slice::from_ref(file)) else {
        let has_proxy = file.text.lines().any(|it| it.trim_end() == "kind: Proxy");
        return has_proxy.then(Vec::new);
    };
    let folder = Path::new(&file.name).parent().unwrap_or_else(|| Path::new(""));
    let named = policy.proxies.iter().flat_map(|it| &it.files);
    let named = named.map(|it| plain(&folder.join(it))).collect();
    (!policy.proxies.is_empty()).then_some(named)
}

/// The path without `.` in it.
fn plain(path: &Path) -> PathBuf {
    path.components().filter(|it| *it != Component::CurDir).collect()
}

/// `file:line:column CODE severity: text`.
fn line(finding: &Finding) -> String {
    let Finding { file, line, column, code, level, .. } = finding;
    let place = match (file.is_empty(), line) {
        (true, _) => String::new(),
        (false, 0) => format!("{file} "),
        (false, _) => format!("{file}:{line}:{column} "),
    };
    format!("{place}{code} {level}: {}\n", finding.text())
}

/// The same with the source lines.
fn lines(finding: &Finding) -> String {
    format!("{}{}\n", line(finding), finding.source())
}

fn document(findings: &[Finding]) -> Value {
    let one = |it: &Finding| {
        json!({
            "file": it.file, "line": it.line, "column": it.column, "code": it.code.as_str(),
            "level": it.level.to_string(), "message": it.message, "suggestion": it.suggestion,
        })
    };
    findings.iter().map(one).collect()
}

fn summary(findings: &[Finding], files: usize) -> String {
    let plural = |number: usize, noun: &str| match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    };
    let files = plural(files, "file");
    let Some(first) = findings.first() else { return format!("nothing to say about {files}") };
    let count = |level| findings.iter().filter(|it| it.level == level).count();
    let counted = [(Level::Error, "error"), (Level::Warning, "warning"), (Level::Info, "remark")]
        .into_iter()
        .filter_map(|(level, noun)| {
            let number = count(level);
            (number > 0).then(|| plural(number, noun))
        });
    let counted = counted.collect::<Vec<_>>().join(", ");
    format!("{counted} in {files}; `explain {}` says more", first.code)
}

fn explain(code: &str, around: &Surroundings<'_>, output: Output) -> Result<Exit, Failure> {
    let Some(page) = explain::explain(code) else {
        if let Some(reason) = explain::reason(code) {
            return Ok(explain_reason(&reason, output));
        }
        let find = |all: &[OwnReason]| {
            all.iter().find(|it| it.0.eq_ignore_ascii_case(code.trim())).copied()
        };
        if let Some(own) = find(around.reasons) {
            return Ok(explain_own(own, BY_SERVICE, output));
        }
        let refusals = || Refusal::ALL.iter().find(|it| it.as_str() == code.trim());
        if let (None, Some(refusal)) = (find(codes::ALL), refusals()) {
            return Ok(explain_refusal(*refusal, output));
        }
        let Some(own) = find(around.codes).or_else(|| find(codes::ALL)) else {
            return Err(unknown_code(code, around));
        };
        return Ok(explain_own(own, BY_COMMAND, output));
    };
    match output.format {
        Format::Json => {
            let Explanation { code, title, meaning, fix, example } = page;
            output.document(&json!({
                "code": code.as_str(), "title": title, "meaning": meaning, "fix": fix,
                "example": example,
            }));
        }
        Format::Table | Format::Wide => output.text(&page.to_string()),
    }
    Ok(Exit::Done)
}

fn explain_reason(reason: &Reason, output: Output) -> Exit {
    match output.format {
        Format::Json => {
            let Reason { code, answer, metric, meaning, fix } = reason;
            output.document(&json!({
                "code": code, "title": reason.title(), "status": answer.map(|it| it.status()),
                "retryable": answer.map(|it| it.is_retryable()), "metric": metric,
                "meaning": meaning, "fix": fix,
            }));
        }
        Format::Table | Format::Wide => output.text(&reason.to_string()),
    }
    Exit::Done
}

const BY_SERVICE: &str = "a service of the application says so in `code` of its answer";
const BY_HANDSHAKE: &str = "two processes shook hands, and one did not let the other in";
const BY_COMMAND: &str = "a command says so in brackets behind its error";

fn explain_own((code, meaning): (&str, &str), whose: &str, output: Output) -> Exit {
    match output.format {
        Format::Json => {
            output.document(&json!({"code": code, "title": whose, "meaning": meaning}));
        }
        Format::Table | Format::Wide => output.text(&format!("{code}: {whose}\n\n{meaning}\n")),
    }
    Exit::Done
}

/// Why a handshake came to no good end.
fn explain_refusal(refusal: Refusal, output: Output) -> Exit {
    let meaning = format!(
        "{refusal}. `identity show` says who shows what, `identity anchors` whom processes believe; \
         `identity_refused_handshakes_total` counts by `reason`."
    );
    explain_own((refusal.as_str(), &meaning), BY_HANDSHAKE, output)
}

fn unknown_code(code: &str, around: &Surroundings<'_>) -> Failure {
    let failure = Failure::new("unknown_code", format!("no code is called `{code}`"));
    let own = around.reasons.iter().chain(around.codes).chain(codes::ALL);
    let own: Vec<&'static str> = own.map(|it| it.0).collect();
    let next = match explain::nearest(code, &own) {
        Some(near) => format!("explain {near}, if that is what was meant"),
        None => {
            "what an application says by itself stands in `detail` of its answer; docs/policy.md \
                 lists the codes of files"
                .to_owned()
        }
    };
    failure.exit(Exit::NotFound).next(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> SourceFile {
        SourceFile { name: name.to_owned(), text: text.to_owned() }
    }

    fn proxy(name: &str, port: u16, files: &str) -> String {
        format!(
            "apiVersion: skein/v1\nkind: Proxy\nmetadata: {{name: {name}}}\n\
             spec: {{outbound: {{listen: \"127.0.0.1:{port}\", service: stock}}, files: [{files}]}}\n"
        )
    }

    fn how(name: &str, policy: &str) -> SourceFile {
        let text = format!(
            "apiVersion: skein/v1\nkind: TrafficPolicy\nmetadata: {{name: {policy}}}\n\
             spec: {{targetRef: {{name: stock}}, timeouts: {{request: 3s}}}}\n"
        );
        file(name, &text)
    }

    #[track_caller]
    fn check(files: &[SourceFile], expected: &[&str]) {
        let found: Vec<_> = judge(files).iter().map(line).collect();
        let fits = |(line, start): (&String, &&str)| line.starts_with(start);
        assert!(found.len() == expected.len() && found.iter().zip(expected).all(fits), "{found:?}");
    }

    #[test]
    fn each_proxy_is_judged_with_the_files_that_it_reads() {
        let one = file("a/one.yaml", &proxy("stock", 1, "how.yaml"));
        let two = file("a/two.yaml", &proxy("stock", 2, "./how-2.yaml"));
        // Two instances of one service, and what one of them reads the other one does not.
        let (first, second) = (how("a/how.yaml", "how"), how("a/how-2.yaml", "how"));
        check(&[one.clone(), two.clone(), first.clone(), second.clone()], &[]);
        // What nobody names is read by each of them.
        let shared = how("a/shared.yaml", "shared");
        let expected = ["a/shared.yaml:4:34 SK1009", "a/shared.yaml:4:34 SK1009"];
        check(&[one.clone(), two, first, second, shared], &expected);
        // In one file there is one.
        let twice = file("a/one.yaml", &format!("{}---\n{}", one.text, one.text));
        check(&[twice], &["a/one.yaml:8:12 SK1009"]);
    }

    #[test]
    fn what_an_application_says_is_explained_and_a_slip_leads_to_the_nearest() {
        let (reasons, codes) = (&[("picked_up", "It is on its way.")], &[("lost", "It is gone.")]);
        let around = Surroundings { reasons, codes, users: None, now: Timestamp::from_millis(0) };
        let said = |code: &str| explain(code, &around, Output::default());
        for code in ["picked_up", "lost", "port_busy"] {
            assert_eq!(said(code), Ok(Exit::Done), "{code}");
        }
        let next = |code: &str| said(code).unwrap_err().next.unwrap();
        assert_eq!(&*next("picked_pu"), "explain picked_up, if that is what was meant");
        assert!(next("xyzzy").len() < 120, "{}", next("xyzzy"));
    }

    #[test]
    fn a_proxy_that_cannot_be_read_is_told_of_beside_one_that_can() {
        let good = file("good.yaml", &proxy("stock", 1, ""));
        let bad = file("bad.yaml", &proxy("stock", 2, "").replace("outbound", "outbund"));
        check(&[good, bad], &["bad.yaml:4:7 SK1008", "bad.yaml:4:8 SK1003"]);
    }
}
