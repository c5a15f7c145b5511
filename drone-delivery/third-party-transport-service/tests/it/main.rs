//! The service on free ports of its own.

#[cfg(test)]
mod companies;
#[cfg(test)]
mod compatibility;
#[cfg(test)]
mod conformance;
