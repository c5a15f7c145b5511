//! The service on free ports of its own.

#[cfg(test)]
mod compatibility;
#[cfg(test)]
mod conformance;
#[cfg(test)]
mod flying;
#[cfg(test)]
mod upgrade;
