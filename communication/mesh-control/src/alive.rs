//! How long two ends of the wire may be silent to each other.

use std::time::Duration;

/// Each side says something so often.
pub(crate) const SAY_EVERY: Duration = Duration::from_secs(5);
/// Who hears nothing for so long takes the other for gone: three of its words would have been lost.
pub(crate) const SILENT_MAX: Duration = Duration::from_secs(15);
