//! How events are named: `CloudEvents` types with a version at their end. And how one is read: a
//! body of another version than this program's is refused by its name, before its members can be
//! taken for what they no longer mean.

use serde::de::DeserializeOwned;

/// The part of a type that names the context and the event, with its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventType {
    /// Such as `shipping`.
    pub context: &'static str,
    /// Such as `DeliveryCreated`.
    pub name: &'static str,
    /// Of the body's form.
    pub version: u32,
}

impl EventType {
    /// Version 1 of an event.
    #[must_use]
    pub const fn new(context: &'static str, name: &'static str) -> Self {
        Self { context, name, version: 1 }
    }
}

impl std::fmt::Display for EventType {
    /// `com.fabrikam.<context>.<event>.v<version>`.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "com.fabrikam.{}.{}.v{}", self.context, self.name, self.version)
    }
}

/// The event's name inside a type, with its version; `None` for a type that is not ours.
#[must_use]
pub fn name_of(kind: &str) -> Option<(&str, u32)> {
    let mut parts = kind.strip_prefix("com.fabrikam.")?.split('.');
    let (_context, name, version) = (parts.next()?, parts.next()?, parts.next()?);
    let version = version.strip_prefix('v')?.parse().ok()?;
    parts.next().is_none().then_some((name, version))
}

/// A body that is published under certain types.
pub trait Event: DeserializeOwned {
    /// The types whose bodies have this form.
    fn types() -> Vec<EventType>;
}

/// An event of ours, in a version that this program does not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("version {found} of event `{name}` is not known, only version {known}")]
pub struct OtherVersion {
    /// Its name.
    pub name: String,
    /// The version that came.
    pub found: u32,
    /// The version that is read.
    pub known: u32,
}

/// Why an event was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Another program wrote it.
    #[error(transparent)]
    Version(#[from] OtherVersion),
    /// It is an event of ours, and none that is read here: a newer program tells of more.
    #[error("event `{name}` is not read here")]
    Unknown {
        /// Its name.
        name: String,
    },
    /// The body has another form.
    #[error("the body cannot be read: {0}")]
    Body(serde_json::Error),
}

impl ReadError {
    /// Whether it is to be passed over, and no record that was damaged.
    #[must_use]
    pub const fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown { .. })
    }
}

/// Reads the body of a record under its type. One without a type, or with a type that is not ours,
/// comes from a foreign producer: its form decides.
///
/// # Errors
/// [`ReadError`]; the same record is never read later.
pub fn read<E: Event>(kind: &str, body: &[u8]) -> Result<E, ReadError> {
    let known = E::types();
    check_version(kind, &known)?;
    if let Some((name, _)) = name_of(kind)
        && known.iter().all(|it| it.name != name)
    {
        return Err(ReadError::Unknown { name: name.to_owned() });
    }
    serde_json::from_slice(body).map_err(ReadError::Body)
}

/// Refuses a type that names one of the known events in another version.
///
/// # Errors
/// [`OtherVersion`].
pub fn check_version(kind: &str, known: &[EventType]) -> Result<(), OtherVersion> {
    let Some((name, found)) = name_of(kind) else { return Ok(()) };
    match known.iter().find(|it| it.name == name) {
        Some(event) if event.version != found => {
            Err(OtherVersion { name: name.to_owned(), found, known: event.version })
        }
        Some(_) | None => Ok(()),
    }
}

/// `source` of the messages of a role.
#[must_use]
pub fn source_of(role: &str) -> String {
    format!("/services/{role}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_says_context_event_and_version() {
        let kind = EventType::new("shipping", "DeliveryCreated").to_string();
        assert_eq!(kind, "com.fabrikam.shipping.DeliveryCreated.v1");
        assert_eq!(name_of(&kind), Some(("DeliveryCreated", 1)));
        assert_eq!(name_of("com.example.x.Y.v1"), None);
        assert_eq!(name_of("com.fabrikam.shipping.DeliveryCreated.v1.x"), None);
    }

    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Shipped {
        by: String,
    }

    impl Event for Shipped {
        fn types() -> Vec<EventType> {
            vec![EventType::new("shipping", "Shipped")]
        }
    }

    #[track_caller]
    fn check_read(kind: &str, body: &str, expected: Result<&str, &str>) {
        let read = read::<Shipped>(kind, body.as_bytes());
        let read = read.map(|it| it.by).map_err(|it| it.to_string());
        assert_eq!(read, expected.map(str::to_owned).map_err(str::to_owned), "{kind}");
    }

    #[test]
    fn a_known_event_of_another_version_is_refused_by_name() {
        let body = r#"{"by": "air"}"#;
        let refused =
            |found| format!("version {found} of event `Shipped` is not known, only version 1");
        check_read("com.fabrikam.shipping.Shipped.v1", body, Ok("air"));
        check_read("com.fabrikam.shipping.Shipped.v2", body, Err(&refused(2)));
        check_read("com.fabrikam.shipping.Shipped.v0", "no JSON", Err(&refused(0)));
    }

    #[test]
    fn what_foreign_producers_send_is_read_by_its_form() {
        let body = r#"{"by": "air", "more": 1}"#;
        for kind in ["", "Shipped", "org.example.Shipped.v2"] {
            check_read(kind, body, Ok("air"));
        }
        let why = "the body cannot be read: missing field `by` at line 1 column 2";
        check_read("", "{}", Err(why));
    }

    #[test]
    fn an_event_of_ours_that_is_not_known_is_not_taken_for_one_that_is() {
        let kind = "com.fabrikam.shipping.Delayed.v1";
        let read = read::<Shipped>(kind, br#"{"by": "air"}"#).unwrap_err();
        assert!(read.is_unknown(), "{read}");
        let newer = read_error("com.fabrikam.shipping.Shipped.v2");
        assert!(!newer.is_unknown(), "a known one in another version waits for who reads it");
    }

    fn read_error(kind: &str) -> ReadError {
        read::<Shipped>(kind, b"{}").unwrap_err()
    }
}
