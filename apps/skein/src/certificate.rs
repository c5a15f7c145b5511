//! The certificate that an edge shows, from two files: read at the start, followed while it runs, the last
//! good pair kept.
//!
//! A renewal puts two files in the place of two others, one after the other: in between they do not fit,
//! which is refused and read again a second later.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use base::SharedClock;
use identity::{Presented, PublicCertificate, PublicCertificateError};
use mesh_proxy::{Mesh, Subject};
use runtime::Tasks;
use telemetry::{CounterFamily, Gauge, Telemetry};
use tokio::sync::watch;

use crate::{failure::chain, following::look_each_second, mesh::FileStamp};

/// A chain has a few kilobytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where a certificate and its key lie, as PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The own certificate, then those between it and an authority.
    pub chain: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// Why a pair of files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateFilesError {
    /// A file cannot be read.
    #[error("{} cannot be read: {reason}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// What is in them cannot be shown.
    #[error("{} and {} cannot be used", chain.display(), key.display())]
    Unfit {
        /// The chain.
        chain: PathBuf,
        /// The key.
        key: PathBuf,
        /// Why.
        #[source]
        source: PublicCertificateError,
    },
}

impl CertificateFilesError {
    const fn as_str(&self) -> &'static str {
        match self {
            Self::Io { .. } => "unreadable",
            Self::Unfit { source, .. } => source.as_str(),
        }
    }
}

impl CertificateFiles {
    /// Reads them.
    ///
    /// # Errors
    /// [`CertificateFilesError`].
    pub fn read(&self, clock: &SharedClock) -> Result<PublicCertificate, CertificateFilesError> {
        let (chain, key) = (text(&self.chain)?, text(&self.key)?);
        let unfit = |source| {
            let (chain, key) = (self.chain.clone(), self.key.clone());
            CertificateFilesError::Unfit { chain, key, source }
        };
        PublicCertificate::read(&chain, &key, clock.now()).map_err(unfit)
    }

    fn stamps(&self) -> [Option<FileStamp>; 2] {
        [&self.chain, &self.key].map(|it| fs::metadata(it).ok().map(|it| FileStamp::of(&it)))
    }
}

fn text(path: &Path) -> Result<String, CertificateFilesError> {
    let unreadable = |reason: String| CertificateFilesError::Io { path: path.to_owned(), reason };
    let metadata = fs::metadata(path).map_err(|it| unreadable(it.to_string()))?;
    // A pipe would be waited for.
    if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
        let reason = format!("it is no regular file of at most {FILE_BYTES_MAX} bytes");
        return Err(unreadable(reason));
    }
    fs::read_to_string(path).map_err(|it| unreadable(it.to_string()))
}

/// Reads the files now, and whenever they change until the tasks end. What is wrong is shown by the mesh.
pub fn follow(
    files: CertificateFiles,
    mesh: &Mesh,
    clock: SharedClock,
    telemetry: &Telemetry,
    tasks: &Tasks,
) -> Presented {
    let (sender, presented) = watch::channel(None);
    let mut following = Following {
        files,
        mesh: mesh.clone(),
        clock,
        seen: None,
        refused: None,
        sender,
        counts: Counts::new(telemetry),
    };
    look_each_second(tasks, "certificate", move || following.look());
    presented
}

struct Following {
    files: CertificateFiles,
    mesh: Mesh,
    clock: SharedClock,
    seen: Option<[Option<FileStamp>; 2]>,
    /// Why the files cannot be used as they are.
    refused: Option<String>,
    sender: watch::Sender<Option<Arc<PublicCertificate>>>,
    counts: Counts,
}

impl Following {
    fn look(&mut self) {
        let stamps = self.files.stamps();
        if self.seen != Some(stamps) {
            self.seen = Some(stamps);
            self.refused = self.read();
        }
        let trouble = self.refused.clone().or_else(|| self.over());
        let name = self.files.chain.to_string_lossy();
        self.mesh.set_trouble_of(Subject::Certificate, &name, trouble);
    }

    /// That the one which is shown is over.
    fn over(&self) -> Option<String> {
        let end = self.sender.borrow().as_ref()?.not_after();
        (end <= self.clock.now()).then(|| format!("the certificate that is shown ended at {end}"))
    }

    /// Shows what stands in the files; why not, where it cannot be used.
    fn read(&mut self) -> Option<String> {
        match self.files.read(&self.clock) {
            Ok(certificate) => {
                tracing::info!(fingerprint = certificate.fingerprint(), "a certificate is shown");
                self.counts.shown(&certificate);
                self.sender.send_replace(Some(Arc::new(certificate)));
                None
            }
            Err(error) => {
                self.counts.refused.with(&[error.as_str()]).inc();
                let error = chain(&error);
                tracing::error!(%error, "a certificate was refused, the last good one stays");
                Some(error)
            }
        }
    }
}

struct Counts {
    refused: CounterFamily,
    expiry: Gauge,
}

impl Counts {
    fn new(telemetry: &Telemetry) -> Self {
        let metrics = telemetry.metrics();
        Self {
            refused: metrics.counter(
                "edge_certificate_files_refused_total",
                "Certificates and keys of files that could not be used, by reason.",
                &["reason"],
            ),
            expiry: metrics
                .gauge(
                    "edge_certificate_expiry_seconds",
                    "When the certificate that is shown ends, in seconds since 1970; 0 without one.",
                    &[],
                )
                .with(&[]),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "seconds of this century are whole in it")]
    fn shown(&self, certificate: &PublicCertificate) {
        self.expiry.set(certificate.not_after().as_millis() as f64 / 1_000.0);
    }
}

#[cfg(test)]
mod tests {
    use identity::SelfMade;
    use mesh_policy::Policy;
    use runtime::SystemClock;

    use super::*;

    struct Rig {
        folder: tempfile::TempDir,
        following: Following,
        presented: Presented,
    }

    impl Rig {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = |name: &str| folder.path().join(name);
            let files = CertificateFiles { chain: path("chain.pem"), key: path("key.pem") };
            let (sender, presented) = watch::channel(None);
            let counts = Counts::new(&Telemetry::disabled());
            let clock = SystemClock::shared();
            let mesh = Mesh::new("edge", Policy::default(), &Telemetry::disabled()).unwrap();
            let (seen, refused) = (None, None);
            let following = Following { files, mesh, clock, seen, refused, sender, counts };
            Self { folder, following, presented }
        }

        fn put(&self, name: &str, text: &str) {
            let draft = self.folder.path().join("draft");
            fs::write(&draft, text).unwrap();
            fs::rename(draft, self.folder.path().join(name)).unwrap();
        }

        fn shown(&mut self) -> Option<String> {
            self.following.look();
            self.presented.borrow().as_ref().map(|it| it.fingerprint())
        }

        fn trouble(&self) -> Option<String> {
            self.following.mesh.troubles().remove(&Subject::Certificate)
        }

        fn refused(&self, reason: &str) -> u64 {
            self.following.counts.refused.with(&[reason]).get()
        }
    }

    fn made() -> SelfMade {
        let now = SystemClock::shared().now();
        SelfMade::make("tests", &["localhost".to_owned()], now).unwrap()
    }

    #[test]
    fn the_last_good_pair_stays_until_another_is_whole() {
        let mut rig = Rig::new();
        assert_eq!((rig.shown(), rig.refused("unreadable")), (None, 1));
        let (first, second) = (made(), made());
        rig.put("chain.pem", &first.certificate);
        rig.put("key.pem", &first.key);
        let shown = rig.shown().expect("a good pair");
        assert_eq!(rig.trouble(), None);
        assert!(rig.following.counts.expiry.get() > 0.0);
        rig.put("chain.pem", &second.certificate);
        assert_eq!((rig.shown().as_ref(), rig.refused("mismatch")), (Some(&shown), 1));
        assert_eq!((rig.shown().as_ref(), rig.refused("mismatch")), (Some(&shown), 1), "told once");
        assert!(rig.trouble().is_some(), "shown as long as it is so");
        rig.put("key.pem", &second.key);
        let next = rig.shown().unwrap();
        assert_ne!(next, shown);
        rig.put("key.pem", "no key");
        assert_eq!((rig.shown().as_ref(), rig.refused("no_key")), (Some(&next), 1));
        fs::remove_file(rig.folder.path().join("chain.pem")).unwrap();
        assert_eq!((rig.shown().as_ref(), rig.refused("unreadable")), (Some(&next), 2));
    }

    #[test]
    fn what_is_no_file_of_that_size_is_not_read() {
        let mut rig = Rig::new();
        fs::create_dir(rig.folder.path().join("chain.pem")).unwrap();
        assert_eq!((rig.shown(), rig.refused("unreadable")), (None, 1));
        let long = fs::File::create(rig.folder.path().join("key.pem")).unwrap();
        long.set_len(FILE_BYTES_MAX + 1).unwrap();
        let error = text(&rig.following.files.key).unwrap_err().to_string();
        assert!(error.contains("key.pem"), "{error}");
    }
}
