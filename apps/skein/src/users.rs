//! Users of the log, from a file of digests: read at the start, followed while it runs, the last good state
//! kept. A secret that is taken back opens nothing within a second; what it had opened ends then.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use callers::KeyFile;
use runtime::Tasks;
use telemetry::Telemetry;
use tokio::sync::watch;

use crate::{
    callers::{Last, refresh},
    failure::chain,
    following::look_each_second,
};

/// The users that a file knows, now and from now on. One that never was there means that there are none.
#[must_use]
pub fn follow(path: &Path, telemetry: &Telemetry, tasks: &Tasks) -> watch::Receiver<Arc<KeyFile>> {
    let refused = telemetry
        .metrics()
        .counter(
            "broker_user_files_refused_total",
            "Changes of the file of users that could not be used.",
            &[],
        )
        .with(&[]);
    let (told, heard) = watch::channel(Arc::default());
    let mut file = File { path: path.to_owned(), known: BTreeMap::new() };
    let look = move || match file.look() {
        Ok(None) => {}
        Ok(Some(users)) => drop(told.send_replace(Arc::new(users))),
        Err(trouble) => {
            refused.inc();
            tracing::error!(%trouble, "the file of users was refused, its last good state stays");
        }
    };
    look_each_second(tasks, "users", look);
    heard
}

struct File {
    path: PathBuf,
    known: BTreeMap<PathBuf, Last<KeyFile>>,
}

impl File {
    /// What the file says, where that is new.
    fn look(&mut self) -> Result<Option<KeyFile>, String> {
        let parse = |text: &str| KeyFile::read(text).map_err(|it| chain(&it));
        let is_new = refresh(&mut self.known, Path::new(""), &self.path, parse)?;
        let good = self.known.get(&self.path).and_then(|it| it.good.clone());
        Ok(good.filter(|_| is_new))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use base::Timestamp;
    use callers::Grant;

    use super::*;

    #[test]
    fn a_file_that_cannot_be_used_leaves_who_was_known() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.json");
        let mut file = File { path: path.clone(), known: BTreeMap::new() };
        assert_eq!(file.look(), Ok(None), "there is none yet");
        let mut users = KeyFile::default();
        let grant =
            Grant { principal: "ann".parse().unwrap(), roles: Vec::new(), expires_at: None };
        users.create(grant, Timestamp::from_millis(0)).unwrap();
        fs::write(&path, users.text()).unwrap();
        assert_eq!(file.look(), Ok(Some(users.clone())));
        assert_eq!(file.look(), Ok(None), "it is told once");
        fs::write(&path, "{").unwrap();
        file.look().unwrap_err();
        assert_eq!(file.known[&path].good, Some(users));
    }
}
