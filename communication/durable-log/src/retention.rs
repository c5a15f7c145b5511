//! What goes, in which order, and what is used again.
//!
//! The oldest segment goes first, and its name is off the disk before the next goes or its file is
//! written anew: after a power cut at any moment what is found is a row of segments without a gap.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use base::Timestamp;

use crate::{
    config::LogConfig,
    segment::{Segment, is_aside_of},
    view::View,
};

/// Name of a retired file that waits for its next life.
pub(crate) const SPARE: &str = "spare.log";
/// Segments that one call retires: each costs a sync. The rest goes with the next.
const RETIRED_MAX: usize = 64;

/// Retires segments; one caller at a time.
#[derive(Debug)]
pub(crate) struct Retention {
    view: Arc<View>,
    /// A retired file that the next segment may take, by name.
    spare: Mutex<Option<String>>,
    names: Mutex<Names>,
}

#[derive(Debug, PartialEq, Eq)]
enum Names {
    Durable,
    /// A file was removed or renamed, and that may not have reached the disk.
    Changed,
}

impl Retention {
    pub(crate) fn new(view: Arc<View>, spare: Option<String>) -> Self {
        Self { view, spare: Mutex::new(spare), names: Mutex::new(Names::Durable) }
    }

    fn spare(&self) -> MutexGuard<'_, Option<String>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A file for the next segment.
    pub(crate) fn take_spare(&self) -> Option<String> {
        self.spare().take()
    }

    /// As [`crate::Log::enforce_retention`].
    pub(crate) fn enforce(&self, config: &LogConfig, now: Timestamp) -> io::Result<usize> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        self.sync_names(&mut names)?;
        let mut retired = 0;
        if self.view.segments().expired(config, now).is_none() {
            return Ok(retired);
        }
        let asides = self.view.disk.list()?;
        while retired < RETIRED_MAX
            && let Some(segment) = self.pop_expired(config, now)
        {
            let asides = asides.iter().filter(|it| is_aside_of(it, &segment.name));
            if let Err(error) = self.retire(&segment, asides, config, &mut names) {
                if *names == Names::Durable {
                    // It is still there.
                    self.view.segments_mut().sealed.push_front(segment);
                }
                return Err(error);
            }
            retired += 1;
        }
        Ok(retired)
    }

    fn sync_names(&self, names: &mut Names) -> io::Result<()> {
        if *names == Names::Changed {
            self.view.disk.sync_names()?;
            *names = Names::Durable;
        }
        Ok(())
    }

    fn pop_expired(&self, config: &LogConfig, now: Timestamp) -> Option<Arc<Segment>> {
        let mut segments = self.view.segments_mut();
        segments.expired(config, now)?;
        segments.sealed.pop_front()
    }

    fn retire<'a>(
        &self,
        segment: &Arc<Segment>,
        asides: impl Iterator<Item = &'a String>,
        config: &LogConfig,
        names: &mut Names,
    ) -> io::Result<()> {
        let disk = &*self.view.disk;
        for aside in asides {
            disk.remove(aside)?;
        }
        let bytes = match disk.open(&segment.name) {
            // Somebody else removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.view.forget(segment);
                return Ok(());
            }
            file => file?.bytes()?,
        };
        let fits = bytes == config.segment_bytes;
        let recycled = self.spare().is_none() && fits;
        if recycled {
            disk.rename(&segment.name, SPARE)?;
        } else {
            disk.remove(&segment.name)?;
        }
        *names = Names::Changed;
        self.view.forget(segment);
        self.sync_names(names)?;
        if recycled {
            *self.spare() = Some(SPARE.to_owned());
        }
        Ok(())
    }
}
