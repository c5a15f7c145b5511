//! Policy from files: read at the start, followed while the process runs, the last good one kept.
//!
//! A file is replaced by renaming another one into its place, so that it is seen whole. What cannot be
//! used changes nothing: the error is logged with its place, counted, and shown until it is mended. Of
//! each file the last good state stays by itself: what a person wrote wrongly, or took away, never keeps
//! a process from hearing where the others are.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use mesh_control::{
    Registration, State, Upstream,
    sources::{Contribution, Source},
};
use mesh_policy::{
    Policy,
    schema::{self, FILE_BYTES_MAX, Finding, SourceFile},
};
use mesh_proxy::Mesh;
use runtime::Tasks;
use telemetry::Telemetry;
use tokio::{sync::watch, time::interval};

use crate::{Exit, Failure, failure::chain};

/// How often the files are looked at. An instance that died is avoided by its callers' breakers long
/// before it would matter; this bounds how late a new one gets work.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Why there is no policy.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// A file cannot be read.
    #[error("{} cannot be read", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Files say what cannot be done; each place is named.
    #[error("{}", lines(.0))]
    Findings(Vec<Finding>),
}

impl PolicyError {
    /// How a command ends by it: what is not there is not found.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => Exit::NotFound,
            Self::Io { .. } | Self::Findings(_) => Exit::Failed,
        }
    }
}

/// The failure of a command that cannot use its policy.
#[must_use]
pub fn refused(what: &str, error: &PolicyError) -> Failure {
    Failure::new("bad_policy", what).because(chain(error)).exit(error.exit())
}

fn lines(findings: &[Finding]) -> String {
    findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Files of policy, and texts that come with the program.
#[derive(Debug, Clone, Default)]
pub struct PolicyFiles {
    built_in: Vec<(&'static str, &'static str)>,
    paths: Vec<PathBuf>,
}

/// What tells one state of the files from another.
type Stamp = Vec<Option<FileStamp>>;

/// What tells one state of a file from another. Times that were copied and lengths may be the same; which
/// file it is, and when it last changed in any way, are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileStamp {
    number: u64,
    length: u64,
    changed: (i64, i64),
}

impl FileStamp {
    pub(crate) fn of(metadata: &fs::Metadata) -> Self {
        Self {
            number: metadata.ino(),
            length: metadata.len(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl PolicyFiles {
    /// No file yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With a text that comes with the program.
    #[must_use]
    pub fn with_text(mut self, name: &'static str, text: &'static str) -> Self {
        self.built_in.push((name, text));
        self
    }

    /// With a file.
    #[must_use]
    pub fn with_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.paths.push(path.into());
        self
    }

    /// The folder of the first file, from which paths in it are counted.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.paths.first().and_then(|it| it.parent()).unwrap_or_else(|| Path::new("."))
    }

    /// With files.
    #[must_use]
    pub fn with_files<P: Into<PathBuf>>(self, paths: impl IntoIterator<Item = P>) -> Self {
        paths.into_iter().fold(self, Self::with_file)
    }

    /// What they say now.
    ///
    /// # Errors
    /// [`PolicyError`] with everything that is wrong, each with its place.
    pub fn read(&self) -> Result<Policy, PolicyError> {
        schema::read(&self.sources()?).map_err(PolicyError::Findings)
    }

    /// The texts, by name.
    ///
    /// # Errors
    /// [`PolicyError::Io`] for a file that cannot be read.
    pub fn sources(&self) -> Result<Vec<SourceFile>, PolicyError> {
        self.texts().into_iter().collect()
    }

    /// Each text, as far as it can be read.
    fn texts(&self) -> Vec<Result<SourceFile, PolicyError>> {
        let built_in = self.built_in.iter().map(|(name, text)| {
            Ok(SourceFile { name: (*name).to_owned(), text: (*text).to_owned() })
        });
        let files = self
            .paths
            .iter()
            .map(|path| Ok(SourceFile { name: path.display().to_string(), text: read(path)? }));
        built_in.chain(files).collect()
    }

    fn stamp(&self) -> Stamp {
        let one = |path: &PathBuf| Some(FileStamp::of(&fs::metadata(path).ok()?));
        self.paths.iter().map(one).collect()
    }
}

fn read(path: &Path) -> Result<String, PolicyError> {
    let io = |source| PolicyError::Io { path: path.to_owned(), source };
    let metadata = fs::metadata(path).map_err(io)?;
    if !metadata.is_file() {
        // A pipe would be waited for, and with it everything that this thread does.
        return Err(io(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")));
    }
    if metadata.len() > FILE_BYTES_MAX as u64 {
        let detail = format!("it is longer than {FILE_BYTES_MAX} bytes");
        return Err(io(io::Error::new(io::ErrorKind::FileTooLarge, detail)));
    }
    let bytes = fs::read(path).map_err(io)?;
    String::from_utf8(bytes).map_err(|it| io(no_text(it.utf8_error().valid_up_to(), it.as_bytes())))
}

/// Where what is no UTF-8 begins, by line, as an editor shows it.
fn no_text(at: usize, bytes: &[u8]) -> io::Error {
    let line = bytes[..at].iter().filter(|it| **it == b'\n').count() + 1;
    let detail =
        format!("line {line} is no UTF-8: byte {:#04x} in it is part of no character", bytes[at]);
    io::Error::new(io::ErrorKind::InvalidData, detail)
}

/// What of the files, and of a control plane, is in use.
#[derive(Debug)]
struct Used {
    meshes: Vec<Mesh>,
    /// Each as it was when it could last be used.
    texts: Vec<SourceFile>,
    /// What the control plane said when it could last be used.
    state: State,
    /// What is wrong with the files, and with what the control plane says.
    troubles: [Option<String>; 2],
}

impl Used {
    /// By meshes that were made of these files.
    fn new(files: &PolicyFiles, meshes: Vec<Mesh>) -> Self {
        Self {
            meshes,
            texts: files.texts().into_iter().flatten().collect(),
            state: State::default(),
            troubles: [None, None],
        }
    }

    /// Takes in what the control plane says now.
    fn hear(&mut self, state: &State) -> Result<(), String> {
        let heard = self.put(&self.texts, state);
        if heard.is_ok() {
            self.state.clone_from(state);
        }
        let [_, trouble] = &mut self.troubles;
        *trouble = heard.clone().err();
        self.show();
        heard
    }

    /// Has every mesh show what is wrong.
    fn show(&self) {
        let all: Vec<&str> = self.troubles.iter().flatten().map(String::as_str).collect();
        let trouble = (!all.is_empty()).then(|| all.join("\n"));
        self.meshes.iter().for_each(|it| it.set_trouble(trouble.clone()));
    }

    /// Takes in what the files say now. Where that cannot be used as a whole, each file is that can be
    /// used beside the last good states of the others.
    fn take(&mut self, files: &PolicyFiles) -> Result<(), String> {
        let taken = self.try_take(files);
        let [trouble, _] = &mut self.troubles;
        *trouble = taken.clone().err();
        self.show();
        taken
    }

    fn try_take(&mut self, files: &PolicyFiles) -> Result<(), String> {
        let (mut new, mut error) = (Vec::new(), None);
        for text in files.texts() {
            match text {
                Ok(it) => new.push(it),
                Err(it) => error = error.or_else(|| Some(chain(&it))),
            }
        }
        let error = match error.map_or_else(|| self.put(&new, &self.state), Err) {
            Ok(()) => {
                self.texts = new;
                return Ok(());
            }
            Err(error) => error,
        };
        for text in new {
            let mut with = self.texts.clone();
            match with.iter_mut().find(|it| it.name == text.name) {
                Some(known) if *known == text => continue,
                Some(known) => *known = text,
                None => with.push(text),
            }
            if self.put(&with, &self.state).is_ok() {
                self.texts = with;
            }
        }
        Err(error)
    }

    /// Makes them the policy of every mesh. Where a text lists a service, it alone is believed.
    fn put(&self, texts: &[SourceFile], state: &State) -> Result<(), String> {
        let all: Vec<SourceFile> = texts.iter().chain(&state.documents).cloned().collect();
        let mut policy = schema::read(&all).map_err(|it| chain(&PolicyError::Findings(it)))?;
        for (service, set) in &state.sets {
            policy.endpoints.entry(service.clone()).or_insert_with(|| set.clone());
        }
        let mut meshes = self.meshes.iter();
        meshes.try_for_each(|it| it.replace(policy.clone()).map_err(|it| it.to_string()))
    }
}

/// What is followed; a cheap handle.
#[derive(Debug, Clone)]
pub struct Following(Arc<Mutex<Used>>);

impl Following {
    /// Locked while a policy is made, never while anything waits.
    fn used(&self) -> MutexGuard<'_, Used> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hears a control plane besides the files, from now on, and registers `instances` there.
    pub fn hear(
        &self,
        control: Upstream,
        name: &str,
        instances: watch::Receiver<Vec<Registration>>,
        telemetry: &Telemetry,
        tasks: &Tasks,
    ) {
        let following = self.clone();
        let apply = move |state: &State| following.used().hear(state);
        mesh_control::subscribe(control, name.to_owned(), instances, apply, telemetry, tasks);
    }
}

/// Follows the files: each good state of them becomes the policy of the meshes.
pub fn follow(
    files: PolicyFiles,
    meshes: Vec<Mesh>,
    telemetry: &Telemetry,
    tasks: &Tasks,
) -> Following {
    let metrics = telemetry.metrics();
    let refused = metrics
        .counter("mesh_policy_refused_total", "Changes of policy that could not be used.", &[])
        .with(&[]);
    let following = Following(Arc::new(Mutex::new(Used::new(&files, meshes))));
    let handle = following.clone();
    tasks.spawn("policy files", move |shutdown| async move {
        let (mut seen, mut was_refused) = (Stamp::new(), false);
        let mut ticks = interval(LOOK_EVERY);
        while shutdown.or_cancel(ticks.tick()).await.is_some() {
            let stamp = files.stamp();
            if stamp == seen {
                continue;
            }
            seen = stamp;
            let used = following.used().take(&files);
            match &used {
                Err(error) => {
                    refused.inc();
                    tracing::error!(%error, "the policy was refused, the last good state of each file stays");
                }
                Ok(()) if was_refused => tracing::info!("the policy is accepted again"),
                Ok(()) => {}
            }
            was_refused = used.is_err();
        }
    });
    handle
}

/// Files as a source of a control plane.
#[derive(Debug)]
pub struct FileSource {
    files: PolicyFiles,
    seen: Option<Stamp>,
    said: Result<Contribution, String>,
}

impl FileSource {
    /// Of these files.
    #[must_use]
    pub fn new(files: PolicyFiles) -> Self {
        Self { files, seen: None, said: Ok(Contribution::default()) }
    }
}

impl Source for FileSource {
    fn name(&self) -> &'static str {
        "files"
    }

    fn every(&self) -> Duration {
        LOOK_EVERY
    }

    async fn look(&mut self) -> Result<Contribution, String> {
        let stamp = self.files.stamp();
        if self.seen.as_ref() != Some(&stamp) {
            let documents = self.files.sources().map_err(|it| chain(&it));
            self.said =
                documents.map(|it| Contribution { documents: it, ..Contribution::default() });
            self.seen = Some(stamp);
        }
        self.said.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(name: &str) -> String {
        format!(
            "apiVersion: skein/v1\nkind: Endpoints\nmetadata: {{name: {name}}}\n\
             spec: {{endpoints: []}}\n"
        )
    }

    #[test]
    fn a_file_that_is_broken_or_gone_keeps_no_other_from_being_heard() {
        let folder = tempfile::tempdir().unwrap();
        let (places, rules) = (folder.path().join("places.yaml"), folder.path().join("rules.yaml"));
        let files = PolicyFiles::new().with_file(&rules).with_file(&places);
        fs::write(&places, endpoints("stock")).unwrap();
        fs::write(&rules, endpoints("mail")).unwrap();
        let mesh = Mesh::new("it", files.read().unwrap(), &Telemetry::disabled()).unwrap();
        let mut used = Used::new(&files, vec![mesh.clone()]);
        let known = || ["stock", "shop", "bank", "mail"].map(|it| mesh.knows(it));
        assert_eq!(used.take(&files), Ok(()));
        assert_eq!(known(), [true, false, false, true]);

        fs::write(&rules, "kind: Nonsense\n").unwrap();
        fs::write(&places, endpoints("shop")).unwrap();
        assert!(used.take(&files).unwrap_err().contains("rules.yaml"));
        assert_eq!(known(), [false, true, false, true], "what was good of it stays");

        fs::remove_file(&rules).unwrap();
        fs::write(&places, endpoints("bank")).unwrap();
        assert!(used.take(&files).unwrap_err().contains("rules.yaml"));
        assert_eq!(known(), [false, false, true, true]);

        fs::write(&rules, endpoints("stock")).unwrap();
        assert_eq!(used.take(&files), Ok(()));
        assert_eq!(known(), [true, false, true, false]);
    }
}
