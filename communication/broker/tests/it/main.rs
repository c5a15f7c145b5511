//! A broker on a port of its own, spoken to in frames.

#[cfg(test)]
mod admin;
#[cfg(test)]
mod connections;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod producing;
