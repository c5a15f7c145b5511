//! Stock clients against our log: builds the program and lets `tools/clients/run.py` try them.

use std::{
    path::Path,
    process::{Command, ExitCode},
};

use clap::Args;

use crate::say;

/// Which clients, and how much.
#[derive(Debug, Args)]
pub(crate) struct TestClients {
    /// Only what needs no restart and no group, and writes no table.
    #[arg(long)]
    quick: bool,
    /// Only this client; writes no table. May be given again.
    #[arg(long)]
    client: Vec<String>,
}

impl TestClients {
    pub(crate) fn run(&self, root: &Path) -> ExitCode {
        // As `test` builds them, or the features differ and everything is compiled anew.
        let build = ["build", "--package", "drone-delivery", "--package", "skein", "--bins"];
        let built = Command::new("cargo").args(build).current_dir(root).status();
        if !built.is_ok_and(|it| it.success()) {
            return ExitCode::FAILURE;
        }
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
        let python = target.join("peers/bin/python");
        let mut tried = Command::new(&python);
        tried.arg(root.join("tools/clients/run.py")).arg(target.join("debug/drone-delivery"));
        if self.quick {
            tried.arg("--quick");
        }
        for client in &self.client {
            tried.args(["--client", client]);
        }
        if !self.quick && self.client.is_empty() {
            tried.arg("--document").arg(root.join("docs/stock-clients.md"));
        }
        match tried.current_dir(root).status() {
            Ok(ended) if ended.success() => ExitCode::SUCCESS,
            Ok(_) => ExitCode::FAILURE,
            Err(error) => {
                say(&format!("failed: {}: {error}; `.ci/peers` installs it", python.display()));
                ExitCode::FAILURE
            }
        }
    }
}
