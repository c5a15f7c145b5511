//! `analyze` and `explain`: what is wrong in files of policy, and what that means.

use mesh_policy::{
    analyze,
    explain::{self, Explanation},
    schema::{self, Code, Finding, Level, SourceFile},
};
use serde_json::{Value, json};

use super::{
    arguments::{AnalyzeArguments, FileCommand, Threshold},
    log,
};
use crate::{
    Exit, Failure, Format, Output,
    failure::chain,
    mesh::{PolicyError, PolicyFiles},
};

/// Runs a command.
///
/// # Errors
/// A file that cannot be read; a code that nobody knows.
pub fn run(command: &FileCommand, output: Output) -> Result<Exit, Failure> {
    match command {
        FileCommand::Analyze(arguments) => analyze(arguments, output),
        FileCommand::Explain { code } => explain(code, output),
        FileCommand::Log(command) => log::run(command, output),
    }
}

fn analyze(arguments: &AnalyzeArguments, output: Output) -> Result<Exit, Failure> {
    let files = PolicyFiles::new().with_files(&arguments.files).sources().map_err(unreadable)?;
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
        PolicyError::Findings(_) => failure,
    }
}

/// What there is to say about files that are one policy: what cannot be read, else what can be and
/// is hardly meant.
#[must_use]
pub fn judge(files: &[SourceFile]) -> Vec<Finding> {
    match schema::read_with_origins(files) {
        Ok((policy, origins)) => analyze::analyze(&policy, &origins),
        Err(findings) => findings,
    }
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

fn explain(code: &str, output: Output) -> Result<Exit, Failure> {
    let Some(page) = explain::explain(code) else {
        let failure = Failure::new("unknown_code", format!("no code is called `{code}`"));
        let next = match explain::nearest(code) {
            Some(near) => format!("explain {near}, if that is what was meant"),
            None => format!("codes are {} to {}", Code::Syntax, Code::RetriesWithoutTryTimeout),
        };
        return Err(failure.exit(Exit::NotFound).next(next));
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
