//! Every scenario of `communication/conformance` on our broker and on each foreign log that is
//! installed; the table of what holds where.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use ::conformance::{Backend, Embedded, Outcome, Peer, Report, Row, StartError, Suite, document};
use clap::Args;

use crate::say;

/// Which logs, and where the table goes.
#[derive(Debug, Args)]
pub(crate) struct Conformance {
    /// Only scenarios whose group and name contain this; writes no table.
    #[arg(long)]
    only: Option<String>,
    /// Only our broker; writes no table.
    #[arg(long)]
    embedded: bool,
}

const DOCUMENT: &str = "docs/conformance.md";

impl Conformance {
    pub(crate) fn run(&self, root: &Path) -> ExitCode {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let folder = env::temp_dir().join(format!("skein-conformance-{}", std::process::id()));
        let tried = runtime
            .map_err(|it| it.to_string())
            .and_then(|it| it.block_on(Box::pin(self.tried(root, &folder))));
        // What is left there is of no use to anybody.
        fs::remove_dir_all(&folder).ok();
        match tried {
            Ok(ours) => {
                if ours {
                    ExitCode::SUCCESS
                } else {
                    ExitCode::FAILURE
                }
            }
            Err(reason) => {
                say(&format!("failed: {reason}"));
                ExitCode::FAILURE
            }
        }
    }

    /// Whether every promise that our broker offers holds on it.
    async fn tried(&self, root: &Path, folder: &Path) -> Result<bool, String> {
        let place = |name: &str| {
            let place = folder.join(name);
            fs::create_dir_all(&place).map(|()| place).map_err(|it| it.to_string())
        };
        let embedded = Embedded::start(place("embedded")?).map_err(|it| told(&it))?;
        let mut reports = vec![self.report(&embedded.backend()).await?];
        embedded.stop().await;
        let ours = reports.iter().all(|it| it.broken().next().is_none());
        let mut absent = false;
        for peer in Peer::ALL.into_iter().filter(|_| !self.embedded) {
            let Some(program) = peer.installed(&peers(root)) else {
                say(&format!("not run: {} is absent; `.ci/peers` installs it", peer.name()));
                absent = true;
                continue;
            };
            let running = peer.start(program, place(peer.name())?).await.map_err(|it| told(&it))?;
            reports.push(self.report(&running.backend()).await?);
        }
        // A table without one of them would say less than the last one did.
        if self.only.is_none() && !self.embedded && !absent {
            fs::write(root.join(DOCUMENT), document(&reports)).map_err(|it| it.to_string())?;
            say(&format!("written: {DOCUMENT}"));
        }
        Ok(ours)
    }

    async fn report(&self, backend: &Backend) -> Result<Report, String> {
        say(&format!("{}:", backend.name()));
        let shown = |row: &Row| {
            if let Outcome::DoesNotHold { reason } = &row.outcome {
                say(&format!("  does not hold: {}: {reason}", row.scenario.id()));
            }
        };
        let suite = Suite::new(self.only.as_deref());
        let report = suite.run(backend, shown).await.map_err(|it| it.to_string())?;
        let (holds, broken, lacking) = report.counts();
        say(&format!("  {holds} hold, {broken} do not, {lacking} are not offered"));
        Ok(report)
    }
}

/// The environment that `.ci/peers` makes, beside the build.
fn peers(root: &Path) -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into).join("peers")
}

fn told(error: &StartError) -> String {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    format!("{error}: {cause}")
}
