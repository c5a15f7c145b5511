//! How events are named: `CloudEvents` types with a version at their end.

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
}
