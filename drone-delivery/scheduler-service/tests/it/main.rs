//! The Scheduler between a real log and services that answer as they are told.

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod handing_over;
#[cfg(test)]
mod operations;
#[cfg(test)]
mod requests;
#[cfg(test)]
mod town;
#[cfg(test)]
mod versions;
