//! Which fields go on to the next program (RFC 9110 7.6.1).
//!
//! A Connection field of the sender may name fields of its own to be removed, but none that is
//! meant for everybody: [`super::request`] and [`super::response`] refuse a message whose
//! Connection lists such a field, so that none of them gets here. [`Hops::keeps`] would not remove
//! it either.

use super::{Field, Known, facts::members};

/// What becomes of Upgrade and of the Connection option that goes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upgrades {
    /// Removed: the next program is not asked.
    Removed,
    /// Upgrade goes on. The writer adds `connection: upgrade`.
    HandedOn,
}

/// What the fields of a message say about each other.
#[derive(Debug, Clone, Copy)]
pub struct Hops<'a> {
    buffer: &'a [u8],
    fields: &'a [Field],
    upgrades: Upgrades,
    /// Whether Connection lists anything but the options that name no field or a known one.
    lists: bool,
    /// Whether the sender takes trailers.
    trailers: bool,
}

impl<'a> Hops<'a> {
    /// Looks through the Connection and TE fields among `fields` of `buffer`.
    #[must_use]
    pub fn of(buffer: &'a [u8], fields: &'a [Field], upgrades: Upgrades) -> Self {
        let (mut lists, mut trailers) = (false, false);
        for field in fields {
            let value = field.value.of_bytes(buffer);
            match field.known {
                Known::Connection => lists |= members(value).any(|it| !is_plain_option(it)),
                Known::Te => {
                    trailers |= members(value).any(|it| it.eq_ignore_ascii_case(b"trailers"));
                }
                _ => {}
            }
        }
        Self { buffer, fields, upgrades, lists, trailers }
    }

    /// Whether `field` is copied to the next program.
    #[inline]
    #[must_use]
    pub fn keeps(&self, field: &Field) -> bool {
        if field.known.is_hop_by_hop() {
            return field.known == Known::Upgrade && self.upgrades == Upgrades::HandedOn;
        }
        !self.lists || field.known.is_end_to_end() || !self.is_listed(field)
    }

    /// Whether the sender takes trailers: the writer then adds `te: trailers`, and `te` to its own
    /// Connection. Any other TE speaks of codings that are not used here.
    #[must_use]
    pub const fn takes_trailers(&self) -> bool {
        self.trailers
    }

    /// At most `CONNECTION_OPTIONS_MAX` comparisons, as the parser admits no more options.
    fn is_listed(&self, field: &Field) -> bool {
        let name = field.name.of_bytes(self.buffer);
        self.fields
            .iter()
            .filter(|it| it.known == Known::Connection)
            .flat_map(|it| members(it.value.of_bytes(self.buffer)))
            .any(|option| option.eq_ignore_ascii_case(name))
    }
}

fn is_plain_option(option: &[u8]) -> bool {
    option.eq_ignore_ascii_case(b"keep-alive")
        || option.eq_ignore_ascii_case(b"close")
        || Known::of(option).is_hop_by_hop()
}

#[cfg(test)]
mod tests;
