//! The service on free ports of its own.

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod ownership;
