//! The certificate of the gateway: that of the files that are named, else one that `up` makes and keeps
//! below the data directory, for the names that the gateway goes by.
//!
//! It is vouched for by an authority of its own, whose key is gone, and not by the one that services have
//! with `tls` strict: that one changes by an operator's command, and whoever believed it outside would
//! believe every service in it.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use base::{SharedClock, Timestamp};
use identity::{PublicCertificate, SelfMade, read_state, write_state};
use runtime::{Shutdown, SystemClock};
use skein::{Failure, certificate::CertificateFiles, failure, folder};
use tokio::time::{Instant, interval_at};

use crate::{keys, roles::Role, settings::Settings};

/// One that ends sooner is made anew.
const RENEWED_BEFORE: Duration = Duration::from_secs(60 * 86_400);
/// How often a system that runs looks at that.
const LOOK_EVERY: Duration = Duration::from_secs(6 * 3_600);

/// Where the certificate of the gateway lies.
pub(crate) fn files(settings: &Settings, data: &Path) -> CertificateFiles {
    named(settings).unwrap_or_else(|| {
        let folder = data.join(keys::FOLDER);
        CertificateFiles {
            chain: folder.join("certificate.pem"),
            key: folder.join("certificate.key"),
        }
    })
}

/// Who vouches for a certificate that we have made; of one that was named its owner knows.
pub(crate) fn authority(settings: &Settings, data: &Path) -> Option<PathBuf> {
    named(settings).is_none().then(|| data.join(keys::FOLDER).join("ca.pem"))
}

fn named(settings: &Settings) -> Option<CertificateFiles> {
    let gateway = &settings.gateway;
    let (chain, key) = gateway.certificate.clone().zip(gateway.certificate_key.clone())?;
    Some(CertificateFiles { chain, key })
}

/// Whether the files that are named can be used, before anything starts.
///
/// # Errors
/// They cannot.
pub(crate) fn check(settings: &Settings) -> Result<(), Failure> {
    let Some(files) = named(settings) else { return Ok(()) };
    let unusable = |error| {
        Failure::new("bad_certificate", "the certificate of the gateway cannot be used")
            .because(failure::chain(&error))
    };
    files.read(&SystemClock::shared()).map(drop).map_err(unusable)
}

/// What is shown to who asks now.
pub(crate) fn shown(settings: &Settings, data: &Path) -> Option<PublicCertificate> {
    files(settings, data).read(&SystemClock::shared()).ok()
}

/// Sees to it that there is one that is good for long: before anything runs, and while it does.
pub(crate) fn prepare(settings: &Settings, data: &Path, now: Timestamp) -> io::Result<()> {
    let Some(authority) = authority(settings, data) else { return Ok(()) };
    let (files, names) = (files(settings, data), names(settings));
    folder::make_private(&data.join(keys::FOLDER))?;
    if is_good(&files, &names, now) {
        return Ok(());
    }
    let made = SelfMade::make(Role::Gateway.name(), &names, now).map_err(io::Error::other)?;
    // Who vouches first: a client that reads it early believes nobody a moment longer.
    let texts =
        [(&authority, &made.authority), (&files.key, &made.key), (&files.chain, &made.certificate)];
    texts.into_iter().try_for_each(|(path, text)| write_state(path, text).map_err(io::Error::other))
}

/// Keeps it good for as long as the system runs.
pub(crate) async fn keep(
    settings: Box<Settings>,
    data: PathBuf,
    clock: SharedClock,
    shutdown: Shutdown,
) {
    let mut ticks = interval_at(Instant::now() + LOOK_EVERY, LOOK_EVERY);
    while shutdown.or_cancel(ticks.tick()).await.is_some() {
        if let Err(error) = prepare(&settings, &data, clock.now()) {
            tracing::warn!(%error, "the certificate of the gateway cannot be renewed");
        }
    }
}

/// Hosts of the gateway as a certificate has them; without any, those of this machine.
fn names(settings: &Settings) -> Vec<String> {
    let hosts = &settings.gateway.hosts;
    if hosts.is_empty() {
        return ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
    }
    hosts.iter().map(|it| it.trim_matches(['[', ']']).to_ascii_lowercase()).collect()
}

fn is_good(files: &CertificateFiles, names: &[String], now: Timestamp) -> bool {
    let text = |path: &Path| read_state(path).ok().flatten();
    let (Some(chain), Some(key)) = (text(&files.chain), text(&files.key)) else { return false };
    PublicCertificate::read(&chain, &key, now)
        .is_ok_and(|it| it.names() == names && it.not_after() > now + RENEWED_BEFORE)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn start() -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000)
    }

    #[test]
    fn one_is_made_once_and_again_for_other_names_and_before_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        let mut settings = Settings::default();
        let prepared = |settings: &Settings, days: u64| {
            let now = start() + Duration::from_secs(days * 86_400);
            prepare(settings, data, now).unwrap();
            let files = files(settings, data);
            let text = |path: &Path| fs::read_to_string(path).unwrap();
            let read =
                PublicCertificate::read(&text(&files.chain), &text(&files.key), now).unwrap();
            assert!(text(&authority(settings, data).unwrap()).contains("BEGIN CERTIFICATE"));
            (read.fingerprint(), read.names().to_vec())
        };
        let first = prepared(&settings, 0);
        assert_eq!(first.1, ["localhost", "127.0.0.1", "::1"]);
        assert_eq!(prepared(&settings, 330), first, "what a browser was told to believe stays");
        let second = prepared(&settings, 340);
        assert_ne!(second.0, first.0);
        settings.gateway.hosts = vec!["Shop.example".to_owned()];
        assert_eq!(prepared(&settings, 340).1, ["shop.example"]);
    }

    #[test]
    fn where_files_are_named_none_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings::default();
        settings.gateway.certificate = Some("/etc/chain.pem".into());
        settings.gateway.certificate_key = Some("/etc/key.pem".into());
        prepare(&settings, folder.path(), start()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_eq!(authority(&settings, folder.path()), None);
        let refused = check(&settings).unwrap_err().to_string();
        assert!(refused.contains("chain.pem"), "{refused}");
    }
}
