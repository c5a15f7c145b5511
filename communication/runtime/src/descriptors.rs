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
}
