//! How many files and connections a process may have open.

use std::io;

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the number of descriptors that this process may have to what the system lets it. Gives
/// the number; none is no bound.
///
/// The usual default of 1,024 is from the days of `select`, which takes no more. What a process
/// starts inherits it: one that starts programs of others leaves it alone.
///
/// # Errors
/// The system refuses.
pub fn raise_descriptor_limit() -> io::Result<Option<u64>> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    Ok(getrlimit(Resource::Nofile).current)
}

/// How many connections a listener may take that would like to take `wanted`: no more than a quarter of the
/// descriptors that this process may have now. What is left is for its files, for connections to others, and for
/// its other listeners, so that who holds connections open and says nothing stops none of them. HAProxy
/// works out its `maxconn` likewise.
#[must_use]
pub fn connections_within_descriptors(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    within(wanted, limit.map(|it| usize::try_from(it).unwrap_or(usize::MAX)))
}

/// One at the least; no limit bounds nothing.
fn within(wanted: usize, limit: Option<usize>) -> usize {
    limit.map_or(wanted, |it| wanted.min(it / 4).max(1))
}

#[cfg(test)]
mod tests {
    use rustix::process::Rlimit;

    use super::*;

    #[test]
    fn a_process_may_have_as_many_descriptors_as_the_system_lets_it() {
        let before = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(200), ..before }).unwrap();
        let raised = raise_descriptor_limit().unwrap();
        assert_eq!(raised, before.maximum);
        assert_eq!(getrlimit(Resource::Nofile).current, before.maximum);
    }

    #[test]
    fn a_listener_takes_a_quarter_of_the_descriptors_at_the_most() {
        assert_eq!(within(1_024, None), 1_024);
        assert_eq!(within(1_024, Some(1 << 20)), 1_024);
        assert_eq!(within(1_024, Some(1_024)), 256);
        assert_eq!(within(1_024, Some(3)), 1);
        setrlimit(Resource::Nofile, Rlimit { current: Some(200), ..getrlimit(Resource::Nofile) })
            .unwrap();
        assert_eq!(connections_within_descriptors(1_024), 50);
    }
}
