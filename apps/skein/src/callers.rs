//! Whom an edge knows, from the files that its policy names: read at the start, followed while it runs,
//! the last good state of each kept.
//!
//! A key that is taken back is refused within a second and a request. A file that cannot be used changes
//! nothing, is logged and counted; one of keys that never was there means that there are none. Keys of an
//! issuer may come from an address of its own (`published`).

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use base::SharedClock;
use callers::{Callers, Issuer, KeyFile, Signers};
use mesh_policy::edge_access::{EdgeAccess, SignerSource, TokenIssuer};
use mesh_proxy::{Mesh, Subject};
use runtime::Tasks;
use rustix::fs::OFlags;
use telemetry::Telemetry;

mod published;

use published::{Publications, Surroundings};

use crate::{failure::chain, following::look_each_second, mesh::FileStamp};

/// A file of as many keys as may be has less.
const FILE_BYTES_MAX: u64 = 8 << 20;

/// Lets the edges of a mesh know whom the files of its policy name, now and from now on. Relative paths
/// begin at `root`. Issuers whose keys come by `https` prove their names by the machine's own list, or by
/// the authorities of a file.
pub fn follow(
    mesh: &Mesh,
    root: &Path,
    authorities: Option<&Path>,
    clock: SharedClock,
    telemetry: &Telemetry,
    tasks: &Tasks,
) {
    let metrics = telemetry.metrics();
    let refused = metrics
        .counter(
            "mesh_caller_files_refused_total",
            "Changes of files of keys and signers that could not be used.",
            &[],
        )
        .with(&[]);
    let published = Publications::new(Surroundings {
        authorities: authorities.map(Path::to_owned),
        clock: clock.clone(),
        telemetry: telemetry.clone(),
        tasks: tasks.clone(),
    });
    let (mesh, mut known) = (mesh.clone(), Known::new(root, published));
    let look = move || {
        let policies = mesh.policy().edge_access;
        let (changed, troubles) = known.read(&policies);
        for trouble in troubles {
            refused.inc();
            tracing::error!(%trouble, "a file of callers was refused, its last good state stays");
        }
        let (published, troubles) = known.look_at_published(&policies);
        for trouble in troubles {
            tracing::error!(%trouble, "keys of an issuer did not come");
        }
        mesh.set_trouble(Subject::Callers, known.troubles(&policies));
        if changed || published {
            mesh.recognize(known.callers(&policies), clock.clone());
        }
    };
    look_each_second(tasks, "callers", look);
}

/// What the files said when they could last be used.
#[derive(Debug)]
struct Known {
    root: PathBuf,
    policies: Vec<EdgeAccess>,
    keys: BTreeMap<PathBuf, Last<KeyFile>>,
    signers: BTreeMap<PathBuf, Last<Signers>>,
    published: Publications,
}

/// A file as it was last seen, and what it said when it could last be used.
#[derive(Debug)]
pub(crate) struct Last<T> {
    stamp: Option<FileStamp>,
    pub(crate) good: Option<T>,
    /// Why it cannot be used as it is.
    pub(crate) trouble: Option<String>,
}

impl Known {
    fn new(root: &Path, published: Publications) -> Self {
        let (policies, keys, signers) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        Self { root: root.to_owned(), policies, keys, signers, published }
    }

    /// The same of what issuers publish.
    fn look_at_published(&mut self, policies: &[EdgeAccess]) -> (bool, Vec<String>) {
        let sources = policies.iter().flat_map(|it| &it.tokens).map(|it| &it.keys);
        let wanted = sources.filter_map(|it| match it {
            SignerSource::Published(published) => Some(published),
            SignerSource::File(_) => None,
        });
        self.published.follow(&wanted.collect::<Vec<_>>())
    }

    /// Reads what has changed. Whether that changes whom anybody knows, and what cannot be used.
    fn read(&mut self, policies: &[EdgeAccess]) -> (bool, Vec<String>) {
        let mut look = Look { changed: self.policies != policies, troubles: Vec::new() };
        self.policies = policies.to_vec();
        let (keys, sets) = (policies.iter().filter_map(|it| it.keys.as_ref()), policies.iter());
        for path in keys {
            let parse = |text: &str| KeyFile::read(text).map_err(|it| chain(&it));
            let read = refresh(&mut self.keys, &self.root, path, parse);
            look.note(read, self.keys.get_mut(path));
        }
        for source in sets.flat_map(|it| &it.tokens).map(|it| &it.keys) {
            let SignerSource::File(path) = source else { continue };
            let parse = |text: &str| Signers::read(text).map_err(|it| chain(&it));
            let read = refresh(&mut self.signers, &self.root, path, parse);
            let read = read.and_then(|it| match self.signers[path].good {
                Some(_) => Ok(it),
                None if it => Err(format!("{}: there is no such file", path.display())),
                None => Ok(false),
            });
            look.note(read, self.signers.get_mut(path));
        }
        (look.changed, look.troubles)
    }

    /// Everything that cannot be used as it is now.
    fn troubles(&self, policies: &[EdgeAccess]) -> Option<String> {
        let keys =
            policies.iter().filter_map(|it| self.keys.get(it.keys.as_ref()?)?.trouble.clone());
        let sources = policies.iter().flat_map(|it| &it.tokens).map(|it| &it.keys);
        let signers = sources.filter_map(|it| match it {
            SignerSource::File(path) => self.signers.get(path)?.trouble.clone(),
            SignerSource::Published(published) => self.published.trouble(published),
        });
        let all: Vec<String> = keys.chain(signers).collect();
        (!all.is_empty()).then(|| all.join("\n"))
    }

    fn callers(&self, policies: &[EdgeAccess]) -> Callers {
        let keys = policies.iter().filter_map(|it| self.keys.get(it.keys.as_ref()?)?.good.as_ref());
        let issuers = policies.iter().flat_map(|it| &it.tokens).map(|it| self.issuer(it));
        Callers::new(keys, issuers.collect())
    }

    fn issuer(&self, told: &TokenIssuer) -> Issuer {
        let signers = match &told.keys {
            SignerSource::File(path) => self.signers.get(path).and_then(|it| it.good.clone()),
            SignerSource::Published(published) => self.published.signers(published),
        };
        Issuer {
            name: told.issuer.clone(),
            audience: told.audience.clone(),
            roles_claim: told.roles_claim.clone(),
            // Both are labels of the same letters.
            roles: told.roles.iter().filter_map(|it| it.parse().ok()).collect(),
            signers: signers.unwrap_or_default(),
        }
    }
}

/// What a look at all files has found.
struct Look {
    changed: bool,
    troubles: Vec<String>,
}

impl Look {
    /// One file was read: whether it says something new, or why it cannot be used.
    fn note<T>(&mut self, read: Result<bool, String>, last: Option<&mut Last<T>>) {
        let trouble = match read {
            Ok(false) => return,
            Ok(true) => None,
            Err(trouble) => Some(trouble),
        };
        self.changed |= trouble.is_none();
        self.troubles.extend(trouble.clone());
        if let Some(last) = last {
            last.trouble = trouble;
        }
    }
}

/// Reads a file that is not as it was. Whether it says something since.
pub(crate) fn refresh<T>(
    known: &mut BTreeMap<PathBuf, Last<T>>,
    root: &Path,
    path: &PathBuf,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<bool, String> {
    let whole = root.join(path);
    let stamp = fs::metadata(&whole).ok().map(|it| FileStamp::of(&it));
    let is_first = !known.contains_key(path);
    let last = known.entry(path.clone()).or_insert(Last { stamp: None, good: None, trouble: None });
    if last.stamp == stamp && !is_first {
        return Ok(false);
    }
    let had = last.stamp.is_some();
    last.stamp = stamp;
    let gone = |what: String| format!("{}: {what}", path.display());
    match read(&whole) {
        Ok(text) => {
            last.good = Some(parse(&text).map_err(gone)?);
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && !had => Ok(is_first),
        Err(error) => Err(gone(error.to_string())),
    }
}

/// A regular file, whole, up to a bound.
fn read(path: &Path) -> io::Result<String> {
    // Not waited for: a pipe has nobody at its other end.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = fs::File::options().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        let what = format!("it is longer than {FILE_BYTES_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use base::Timestamp;
    use callers::{ApiKey, Grant, Refused};
    use runtime::SystemClock;

    use super::*;

    fn policies() -> Vec<EdgeAccess> {
        vec![EdgeAccess {
            name: "front".to_owned(),
            gateway: "front".to_owned(),
            keys: Some("keys.json".into()),
            tokens: Vec::new(),
            anonymous: Vec::new(),
            rules: Vec::new(),
        }]
    }

    #[test]
    fn what_is_good_of_a_file_stays_until_something_better_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let surroundings = Surroundings {
            authorities: None,
            clock: SystemClock::shared(),
            telemetry: Telemetry::disabled(),
            tasks: Tasks::new(),
        };
        let mut known = Known::new(folder.path(), Publications::new(surroundings));
        let now = Timestamp::from_millis(0);
        let ask = |known: &Known, key: &ApiKey| {
            let bearer = format!("Bearer {}", key.reveal());
            let callers = known.callers(&policies());
            callers.identify([bearer.as_bytes()].into_iter(), now).map(|it| it.name.to_string())
        };
        let put = |text: &str| {
            let draft = folder.path().join("draft");
            fs::write(&draft, text).unwrap();
            fs::rename(&draft, &path).unwrap();
        };
        // No file yet: nobody is known, and that is nobody's mistake.
        assert_eq!(known.read(&policies()), (true, Vec::new()));
        assert_eq!(known.read(&policies()), (false, Vec::new()));

        let mut file = KeyFile::default();
        let grant =
            Grant { principal: "ann".parse().unwrap(), roles: Vec::new(), expires_at: None };
        let drawn = file.create(grant, now).unwrap();
        assert_eq!(ask(&known, &drawn.key), Err(Refused::UnknownKey));
        put(&file.text());
        assert_eq!(known.read(&policies()), (true, Vec::new()));
        assert_eq!(ask(&known, &drawn.key), Ok("ann".to_owned()));

        put("{\"version\": 1, \"keys\": [");
        let (changed, troubles) = known.read(&policies());
        assert!(
            !changed && troubles.len() == 1 && troubles[0].starts_with("keys.json"),
            "{troubles:?}"
        );
        assert_eq!(known.read(&policies()), (false, Vec::new()), "it is told once");
        fs::remove_file(&path).unwrap();
        assert_eq!(known.read(&policies()).1.len(), 1);
        assert_eq!(ask(&known, &drawn.key), Ok("ann".to_owned()));
        // A pipe is not waited for, and the process goes on.
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let (changed, troubles) = known.read(&policies());
        assert!(!changed && troubles[0].contains("no regular file"), "{troubles:?}");
        assert_eq!(ask(&known, &drawn.key), Ok("ann".to_owned()));

        file.revoke(&drawn.entry.sha256.id(), now).unwrap();
        put(&file.text());
        assert_eq!(known.read(&policies()), (true, Vec::new()));
        assert_eq!(ask(&known, &drawn.key), Err(Refused::RevokedKey));
    }
}
