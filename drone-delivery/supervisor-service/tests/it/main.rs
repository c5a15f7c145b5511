//! The Supervisor beside an engine that goes forward, with services that answer as they are told.

#[cfg(test)]
mod failures;
#[cfg(test)]
mod fixture;
