//! The two ends of a measurement, programs of ours: on which core each runs, and what it prints.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

use super::Failure;

/// Core of the contender, and of load and backends.
const CONTENDER_CORE: &str = "0";
const ENDS_CORE: &str = "1";

/// Where a program runs.
#[derive(Debug, Clone, Copy)]
pub(super) enum Core {
    Contender,
    Ends,
}

impl Core {
    /// The program, pinned; `taskset` becomes the program, so its id stays.
    pub(super) fn command(self, program: &Path) -> Command {
        let core = match self {
            Self::Contender => CONTENDER_CORE,
            Self::Ends => ENDS_CORE,
        };
        let mut command = Command::new("taskset");
        command.args(["-c", core]).arg(program);
        command
    }
}

/// The program with all of them.
#[derive(Debug, Clone)]
pub(super) struct Program(pub(super) PathBuf);

impl Program {
    /// Starts one of them.
    pub(super) fn start(&self, core: Core, arguments: &[&str]) -> Result<Part, Failure> {
        let mut child = core
            .command(&self.0)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|it| format!("{}: {it}", self.0.display()))?;
        let lines = child.stdout.take().ok_or("no output")?;
        Ok(Part { child, lines: BufReader::new(lines) })
    }
}

/// A running part of the two ends; it ends with its scope.
pub(super) struct Part {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Part {
    pub(super) fn pid(&self) -> u64 {
        u64::from(self.child.id())
    }

    /// The next line of its output.
    pub(super) fn line(&mut self) -> Result<String, Failure> {
        let mut line = String::new();
        self.lines.read_line(&mut line).map_err(|it| it.to_string())?;
        Ok(line.trim_end().to_owned())
    }

    pub(super) fn expect(&mut self, wanted: &str) -> Result<(), Failure> {
        let line = self.line()?;
        if line == wanted { Ok(()) } else { Err(format!("instead of {wanted}: {line}")) }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Already gone is what is wanted.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
