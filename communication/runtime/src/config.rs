//! Settings in layers: each value remembers which layer gave it, and an unknown key is an error.
//!
//! The layers are JSON documents; a later one overrides an earlier one member by member. The
//! program in `apps` reads them (built-in defaults, file, environment, flags) and passes values.
//! It refuses to guess: a key that the target type does not have is named, with its nearest kin.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

/// Where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// The value that the code has.
    Default,
    /// The settings file.
    File,
    /// An environment variable.
    Environment,
    /// A command-line flag.
    Flag,
}

impl Origin {
    /// The word that `config --print` shows.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::File => "file",
            Self::Environment => "environment",
            Self::Flag => "flag",
        }
    }
}

/// One value of the whole, with its origin.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// Dotted path, such as `scheduler.lease_ms`.
    pub path: String,
    /// The value in force.
    pub value: Value,
    /// The layer that gave it.
    pub origin: Origin,
}

/// Why settings were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A layer has a key that no setting has.
    #[error("unknown setting `{path}` from {}{}", origin.as_str(), suggestion.as_ref().map(|it| format!("; did you mean `{it}`?")).unwrap_or_default())]
    UnknownKey {
        /// Dotted path as it was given.
        path: String,
        /// The layer that has it.
        origin: Origin,
        /// The nearest that exists, as a whole path.
        suggestion: Option<String>,
    },
    /// A value does not fit its setting.
    #[error("settings do not fit: {reason}")]
    Malformed {
        /// What did not fit.
        reason: String,
    },
}

/// Layers of settings over the defaults of `T`.
#[derive(Debug, Clone)]
pub struct Layers {
    merged: Value,
    origins: BTreeMap<String, Origin>,
    /// Maps that are empty by default: any key may be added to them.
    open: BTreeSet<String>,
}

impl Layers {
    /// Starts from the defaults.
    ///
    /// # Errors
    /// `defaults` cannot be written as JSON.
    pub fn over<T: Serialize>(defaults: &T) -> Result<Self, ConfigError> {
        let merged = serde_json::to_value(defaults).map_err(|it| malformed(&it))?;
        let mut open = BTreeSet::new();
        collect_open(&merged, "", &mut open);
        Ok(Self { merged, origins: BTreeMap::new(), open })
    }

    /// Lays a document over what is there.
    ///
    /// # Errors
    /// The document has a key that does not exist; nothing of it was taken.
    pub fn lay(&mut self, origin: Origin, document: &Value) -> Result<(), ConfigError> {
        let mut merged = self.merged.clone();
        let mut origins = self.origins.clone();
        overlay(&mut merged, document, (origin, &self.open), "", &mut origins)
            .map_err(|it| it.suggesting(&self.merged))?;
        (self.merged, self.origins) = (merged, origins);
        Ok(())
    }

    /// Lays one value at a dotted path, as an environment variable or a flag gives it. Text that
    /// reads as JSON is taken as such, any other text as a string.
    ///
    /// # Errors
    /// No setting stands at that path.
    pub fn set(&mut self, origin: Origin, path: &str, text: &str) -> Result<(), ConfigError> {
        let value = serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
        let nested = path
            .rsplit('.')
            .fold(value, |inner, key| Value::Object(Map::from_iter([(key.to_owned(), inner)])));
        self.lay(origin, &nested)
    }

    /// The settings as the component takes them.
    ///
    /// # Errors
    /// A value does not fit.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        serde_path_to_error::deserialize(self.merged.clone()).map_err(|error| {
            let path = error.path().to_string();
            ConfigError::Malformed { reason: format!("{path}: {}", error.into_inner()) }
        })
    }

    /// Every value in force, in the order of its path.
    #[must_use]
    pub fn settings(&self) -> Vec<Setting> {
        let mut all = Vec::new();
        collect(&self.merged, String::new(), Origin::Default, &self.origins, &mut all);
        all
    }
}

impl ConfigError {
    /// The same with the nearest of all paths, where none beside the unknown key is near.
    fn suggesting(self, known: &Value) -> Self {
        let Self::UnknownKey { path, origin, suggestion } = self else { return self };
        let mut all = Vec::new();
        collect(known, String::new(), Origin::Default, &BTreeMap::new(), &mut all);
        let paths = || all.iter().map(|it| &it.path);
        let last = |it: &str| it.rsplit('.').next().map(str::to_owned);
        let namesakes = || paths().filter(|it| last(it) == last(&path));
        let namesake = || namesakes().min_by_key(|it| distance(&path, it)).cloned();
        let near = nearest(&path, paths()).map(str::to_owned);
        let suggestion = near.or_else(namesake).or(suggestion);
        Self::UnknownKey { path, origin, suggestion }
    }
}

/// The whole of a path whose first part is known: as far as there is no choice.
fn to_leaf(path: String, value: &Value) -> String {
    match value {
        Value::Object(members) if members.len() == 1 => {
            let only = members.iter().next();
            only.map_or_else(|| path.clone(), |(key, inner)| to_leaf(join(&path, key), inner))
        }
        _ => path,
    }
}

fn malformed(error: &serde_json::Error) -> ConfigError {
    ConfigError::Malformed { reason: error.to_string() }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn overlay(
    below: &mut Value,
    above: &Value,
    (origin, open): (Origin, &BTreeSet<String>),
    path: &str,
    origins: &mut BTreeMap<String, Origin>,
) -> Result<(), ConfigError> {
    let (Value::Object(members), Value::Object(given)) = (&mut *below, above) else {
        *below = above.clone();
        origins.insert(path.to_owned(), origin);
        return Ok(());
    };
    for (key, value) in given {
        let here = join(path, key);
        if open.contains(path) {
            members.insert(key.clone(), value.clone());
            origins.insert(here, origin);
        } else if let Some(member) = members.get_mut(key) {
            overlay(member, value, (origin, open), &here, origins)?;
        } else {
            let suggestion = nearest(key, members.keys()).map(|it| join(path, it));
            let path = to_leaf(here, value);
            return Err(ConfigError::UnknownKey { path, origin, suggestion });
        }
    }
    Ok(())
}

fn collect_open(value: &Value, path: &str, open: &mut BTreeSet<String>) {
    let Value::Object(members) = value else { return };
    if members.is_empty() {
        open.insert(path.to_owned());
    }
    for (key, member) in members {
        collect_open(member, &join(path, key), open);
    }
}

fn collect(
    value: &Value,
    path: String,
    inherited: Origin,
    origins: &BTreeMap<String, Origin>,
    all: &mut Vec<Setting>,
) {
    let origin = origins.get(&path).copied().unwrap_or(inherited);
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (key, member) in members {
                collect(member, join(&path, key), origin, origins, all);
            }
        }
        _ => all.push(Setting { path, value: value.clone(), origin }),
    }
}

fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a String>) -> Option<&'a str> {
    known
        .map(|it| (distance(word, it), it.as_str()))
        .filter(|(edits, it)| *edits * 3 <= it.len().max(word.len()))
        .min()
        .map(|(_, it)| it)
}

/// Levenshtein's edit distance, in bytes.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, letter) in from.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], index + 1);
        for (column, other) in to.bytes().enumerate() {
            let substituted = diagonal + usize::from(letter != other);
            diagonal = row[column + 1];
            row[column + 1] = substituted.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Lease {
        expiry_ms: u64,
        renewal_ms: u64,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Whole {
        name: String,
        lease: Lease,
        replicas: BTreeMap<String, u32>,
    }

    fn layers() -> Layers {
        let lease = Lease { expiry_ms: 3_000, renewal_ms: 1_000 };
        Layers::over(&Whole { name: "a".to_owned(), lease, replicas: BTreeMap::new() }).unwrap()
    }

    #[test]
    fn a_later_layer_wins_member_by_member_and_is_named() {
        let mut layers = layers();
        layers.lay(Origin::File, &json!({"name": "b", "lease": {"expiry_ms": 9}})).unwrap();
        layers.set(Origin::Flag, "lease.expiry_ms", "7").unwrap();
        let whole: Whole = layers.read().unwrap();
        assert_eq!(whole.lease, Lease { expiry_ms: 7, renewal_ms: 1_000 });
        let origins: Vec<_> =
            layers.settings().into_iter().map(|it| (it.path, it.origin)).collect();
        assert!(origins.contains(&("name".to_owned(), Origin::File)));
        assert!(origins.contains(&("lease.expiry_ms".to_owned(), Origin::Flag)));
        assert!(origins.contains(&("lease.renewal_ms".to_owned(), Origin::Default)));
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_nearest_kin_and_changes_nothing() {
        let mut layers = layers();
        let refused =
            layers.lay(Origin::File, &json!({"name": "b", "lease": {"expiri_ms": 9}})).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "unknown setting `lease.expiri_ms` from file; did you mean `lease.expiry_ms`?"
        );
        assert_eq!(layers.read::<Whole>().unwrap().name, "a");
    }

    #[test]
    fn what_is_suggested_is_a_whole_path_wherever_the_mistake_is() {
        let suggested = |path: &str| match layers().set(Origin::Flag, path, "1").unwrap_err() {
            ConfigError::UnknownKey { path: told, suggestion, .. } => {
                assert_eq!(told, path);
                suggestion
            }
            other => panic!("{other}"),
        };
        for path in ["leas.expiry_ms", "lease.expiri_ms", "expiry_ms", "nope.expiry_ms"] {
            assert_eq!(suggested(path).as_deref(), Some("lease.expiry_ms"), "{path}");
        }
        assert_eq!(suggested("leas.x").as_deref(), Some("lease"));
        assert_eq!(suggested("nope.x"), None);
    }

    #[test]
    fn a_map_that_is_empty_by_default_takes_any_keys() {
        let mut layers = layers();
        layers.set(Origin::Environment, "replicas.scheduler", "2").unwrap();
        layers.set(Origin::Flag, "replicas.account", "3").unwrap();
        let replicas = layers.read::<Whole>().unwrap().replicas;
        assert_eq!((replicas["scheduler"], replicas["account"]), (2, 3));
    }

    #[test]
    fn a_value_of_the_wrong_type_is_refused() {
        let mut layers = layers();
        layers.set(Origin::Flag, "lease.expiry_ms", "soon").unwrap();
        let Err(error) = layers.read::<Whole>() else { panic!("it fits") };
        assert!(error.to_string().starts_with("settings do not fit: lease.expiry_ms: "), "{error}");
    }
}
