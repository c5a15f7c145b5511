//! One promise, how it is judged, and what came of it.

use std::{future::Future, pin::Pin};

use crate::{capability::Capability, judge::Judged, stage::Stage};

/// What a promise is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// Publishing.
    Produce,
    /// Reading, from where and how.
    Consume,
    /// Sharing the partitions of a topic.
    Groups,
    /// Settling message by message.
    Queues,
    /// Topics and groups as an operator sees them.
    Admin,
    /// Connections that break, peers that fall silent.
    Faults,
}

impl Group {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 6] =
        [Self::Produce, Self::Consume, Self::Groups, Self::Queues, Self::Admin, Self::Faults];

    /// The word in front of a scenario's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Produce => "produce",
            Self::Consume => "consume",
            Self::Groups => "groups",
            Self::Queues => "queues",
            Self::Admin => "admin",
            Self::Faults => "faults",
        }
    }
}

pub(crate) type Running<'a> = Pin<Box<dyn Future<Output = Judged> + Send + 'a>>;
pub(crate) type Run = for<'a> fn(&'a Stage) -> Running<'a>;

/// One promise.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// What it is about.
    pub group: Group,
    /// Its name: a sentence that can be false.
    pub name: &'static str,
    /// What is promised.
    pub promise: &'static str,
    /// By what it is judged.
    pub judged: &'static str,
    /// What a backend must offer.
    pub needs: &'static [Capability],
    pub(crate) run: Run,
}

impl Scenario {
    /// Group and name, by which one is chosen.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}/{}", self.group.as_str(), self.name)
    }

    /// Whether no other may run beside it.
    pub(crate) fn is_alone(&self) -> bool {
        self.needs.contains(&Capability::Restart)
    }
}

/// What came of a scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The promised end was seen.
    Holds,
    /// It was not.
    DoesNotHold {
        /// How that was seen.
        reason: String,
    },
    /// The backend lacks what it needs.
    NotOffered {
        /// What it lacks.
        capability: Capability,
        /// By what that is known.
        reason: String,
    },
}

/// The row of a scenario in its file's table: the function's name, what it needs, the promise, how it
/// is judged.
macro_rules! scenario {
    ($group:ident, $name:ident, [$($needs:expr),*], $promise:literal, $judged:literal) => {
        crate::scenario::Scenario {
            group: crate::scenario::Group::$group,
            name: stringify!($name),
            promise: $promise,
            judged: $judged,
            needs: &[$($needs),*],
            run: |stage| Box::pin($name(stage)),
        }
    };
}
pub(crate) use scenario;
