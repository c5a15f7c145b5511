//! The topics that there are, as a file: which, and how each is kept.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{config::TopicConfig, files};

/// The format that this program reads and writes.
const FORMAT: u32 = 1;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Document {
    format: u32,
    /// How often a broker was started on these files: numbers its producers.
    starts: u64,
    topics: Vec<TopicConfig>,
    /// First offsets that clients have asked for, by topic and partition.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    starts_at: BTreeMap<String, BTreeMap<u32, u64>>,
    /// Topics that are removed, whose files may still be there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    removed: Vec<String>,
}

/// Why the file was not read.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// It cannot be read or written.
    #[error("{} cannot be used", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is not what we wrote.
    #[error("{} cannot be read: {reason}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// It is missing, and there are topics: to begin anew would forget them, and number producers
    /// as others were.
    #[error("{} is missing, and {} is not empty", path.display(), topics.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// Where the topics are.
        topics: PathBuf,
    },
    /// Another program wrote it.
    #[error("{} has catalog format {found}, this program knows {FORMAT}", path.display())]
    Format {
        /// Which file.
        path: PathBuf,
        /// The version in it.
        found: u64,
    },
}

/// The file and what it says.
#[derive(Debug)]
pub(crate) struct Catalog {
    path: PathBuf,
    document: Document,
}

impl Catalog {
    /// Reads the file, or begins one where no topic is; counts this start.
    pub(crate) fn open(path: PathBuf, topics: &Path) -> Result<Self, CatalogError> {
        let io = |source| CatalogError::Io { path: path.clone(), source };
        let document = match files::read(&path).map_err(io)? {
            Some(content) => read(&path, &content)?,
            None if files::has_entries(topics).map_err(io)? => {
                return Err(CatalogError::Missing { path, topics: topics.to_owned() });
            }
            None => Document {
                format: FORMAT,
                starts: 0,
                topics: Vec::new(),
                starts_at: BTreeMap::new(),
                removed: Vec::new(),
            },
        };
        let mut catalog = Self { path, document };
        catalog.document.starts += 1;
        catalog.write()?;
        Ok(catalog)
    }

    pub(crate) fn topics(&self) -> &[TopicConfig] {
        &self.document.topics
    }

    pub(crate) const fn starts(&self) -> u64 {
        self.document.starts
    }

    /// Adds a topic; it is durable when this returns.
    pub(crate) fn add(&mut self, topic: TopicConfig) -> Result<(), CatalogError> {
        self.change(|it| it.topics.push(topic))
    }

    /// Changes a topic.
    pub(crate) fn alter(&mut self, topic: &TopicConfig) -> Result<(), CatalogError> {
        self.change(|it| {
            let known = it.topics.iter_mut().find(|it| it.name == topic.name);
            known.into_iter().for_each(|it| *it = topic.clone());
        })
    }

    /// First offsets of a topic's partitions that clients have asked for.
    pub(crate) fn starts_of(&self, topic: &str) -> BTreeMap<u32, u64> {
        self.document.starts_at.get(topic).cloned().unwrap_or_default()
    }

    /// Lets a partition begin at an offset.
    pub(crate) fn move_start(
        &mut self,
        topic: &str,
        partition: u32,
        offset: u64,
    ) -> Result<(), CatalogError> {
        self.change(|it| {
            it.starts_at.entry(topic.to_owned()).or_default().insert(partition, offset);
        })
    }

    /// Removes a topic; its files may go from now on.
    pub(crate) fn remove(&mut self, topic: &str) -> Result<(), CatalogError> {
        self.change(|it| {
            it.topics.retain(|it| it.name != topic);
            it.starts_at.remove(topic);
            it.removed.push(topic.to_owned());
        })
    }

    /// Topics that are removed, whose files may still be there.
    pub(crate) fn removed(&self) -> &[String] {
        &self.document.removed
    }

    /// The files of a removed topic are gone.
    pub(crate) fn forget(&mut self, topic: &str) -> Result<(), CatalogError> {
        self.change(|it| it.removed.retain(|it| it != topic))
    }

    /// Changes what is written, or nothing; it is durable when this returns.
    fn change(&mut self, change: impl FnOnce(&mut Document)) -> Result<(), CatalogError> {
        let before = self.document.clone();
        change(&mut self.document);
        let written = self.write();
        if written.is_err() {
            self.document = before;
        }
        written
    }

    fn write(&self) -> Result<(), CatalogError> {
        let io = |source| CatalogError::Io { path: self.path.clone(), source };
        let content = serde_json::to_vec_pretty(&self.document).map_err(|it| io(it.into()))?;
        files::replace(&self.path, &content).map_err(io)
    }
}

fn read(path: &Path, content: &[u8]) -> Result<Document, CatalogError> {
    let malformed = |reason: String| CatalogError::Malformed { path: path.to_owned(), reason };
    let value: serde_json::Value =
        serde_json::from_slice(content).map_err(|it| malformed(it.to_string()))?;
    match value["format"].as_u64() {
        Some(found) if found == u64::from(FORMAT) => {}
        Some(found) => return Err(CatalogError::Format { path: path.to_owned(), found }),
        None => return Err(malformed("it says no format".to_owned())),
    }
    serde_json::from_value(value).map_err(|it| malformed(it.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_and_starts_survive_and_another_format_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("catalog.json");
        let topics = directory.path().join("topics");
        let topic = TopicConfig {
            name: "orders".to_owned(),
            partitions: 4,
            synced: true,
            retention_ms: Some(5),
            retention_bytes: None,
        };
        let mut catalog = Catalog::open(path.clone(), &topics).unwrap();
        catalog.add(topic.clone()).unwrap();
        let again = Catalog::open(path.clone(), &topics).unwrap();
        assert_eq!((again.starts(), again.topics()), (2, &[topic][..]));
        std::fs::write(&path, r#"{"format": 9}"#).unwrap();
        assert!(matches!(
            Catalog::open(path.clone(), &topics),
            Err(CatalogError::Format { found: 9, .. })
        ));
        std::fs::write(&path, "{").unwrap();
        assert!(matches!(Catalog::open(path, &topics), Err(CatalogError::Malformed { .. })));
    }
    #[test]
    fn topics_without_a_catalog_are_never_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("catalog.json");
        let topics = directory.path().join("topics");
        std::fs::create_dir_all(topics.join("orders")).unwrap();
        let refused = Catalog::open(path.clone(), &topics).unwrap_err();
        assert!(matches!(refused, CatalogError::Missing { .. }), "{refused}");
        assert!(!path.exists());
    }
}
