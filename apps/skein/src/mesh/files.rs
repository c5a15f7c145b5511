//! Files of policy, and what is wrong with them.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use mesh_policy::{
    Policy,
    route::CompileError,
    schema::{self, FILE_BYTES_MAX, Finding, SourceFile},
};
use mesh_proxy::Mesh;
use telemetry::Telemetry;

use super::kept::Kept;
use crate::{Exit, Failure, failure::chain};

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
    /// A route that no request could be compared with.
    #[error(transparent)]
    Route(#[from] CompileError),
}

impl PolicyError {
    /// How a command ends by it: what is not there is not found.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => Exit::NotFound,
            Self::Io { .. } | Self::Findings(_) | Self::Route(_) => Exit::Failed,
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
    kept: Option<Kept>,
}

/// The texts that a policy was made of.
pub(super) type Texts = Vec<SourceFile>;

/// What tells one state of the files from another.
pub(super) type Stamp = Vec<Option<FileStamp>>;

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

    /// With a copy of each file, as it was when it could last be used, in this folder of ours: who starts
    /// while one is broken goes on by that.
    #[must_use]
    pub fn kept_in(mut self, folder: impl Into<PathBuf>) -> Self {
        self.kept = Some(Kept::new(folder.into()));
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

    /// A mesh by what they say now, or by what they said when it could last be used, and the texts of that.
    pub(super) fn begin(
        &self,
        name: &str,
        telemetry: &Telemetry,
    ) -> Result<(Mesh, Texts), PolicyError> {
        let mesh = |texts: Result<Texts, PolicyError>| {
            let texts = texts?;
            let policy = schema::read(&texts).map_err(PolicyError::Findings)?;
            Ok((Mesh::new(name, policy, telemetry)?, texts))
        };
        mesh(self.sources()).or_else(|error| {
            let kept = self.kept.as_ref().and_then(|it| mesh(self.last_good(it)).ok());
            kept.inspect(|_| {
                tracing::error!(
                    error = chain(&error),
                    "the policy cannot be used; begun with the last good state of each file"
                )
            })
            .ok_or(error)
        })
    }

    /// Each text as it was last kept, as it is now where it never was.
    fn last_good(&self, kept: &Kept) -> Result<Texts, PolicyError> {
        let built_in = self.built_in().map(Ok);
        built_in
            .chain(self.paths.iter().map(|path| match kept.text(path) {
                Some(text) => Ok(source(path, text)),
                None => Ok(source(path, read(path)?)),
            }))
            .collect()
    }

    /// Keeps these texts, which can be used.
    pub(super) fn keep(&self, texts: &[SourceFile]) {
        let Some(kept) = &self.kept else { return };
        for path in &self.paths {
            let name = path.display().to_string();
            if let Some(good) = texts.iter().find(|it| it.name == name) {
                kept.keep(path, &good.text);
            }
        }
    }

    /// Each text, as far as it can be read.
    pub(super) fn texts(&self) -> Vec<Result<SourceFile, PolicyError>> {
        let files = self.paths.iter().map(|path| Ok(source(path, read(path)?)));
        self.built_in().map(Ok).chain(files).collect()
    }

    fn built_in(&self) -> impl Iterator<Item = SourceFile> {
        let one = |(name, text): &(&str, &str)| SourceFile {
            name: (*name).to_owned(),
            text: (*text).to_owned(),
        };
        self.built_in.iter().map(one)
    }

    pub(super) fn stamp(&self) -> Stamp {
        let one = |path: &PathBuf| Some(FileStamp::of(&fs::metadata(path).ok()?));
        self.paths.iter().map(one).collect()
    }
}

fn source(path: &Path, text: String) -> SourceFile {
    SourceFile { name: path.display().to_string(), text }
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
