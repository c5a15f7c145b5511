//! What is known of a program before it is looked for.

use std::path::PathBuf;

/// A program that may take part.
pub(super) struct Known {
    pub(super) name: &'static str,
    /// Where it may stand, the first that exists is taken.
    pub(super) places: Vec<PathBuf>,
    pub(super) version: &'static [&'static str],
    pub(super) processes: &'static [&'static [&'static str]],
    pub(super) environment: Vec<(&'static str, String)>,
    pub(super) templates: &'static [&'static str],
}
