//! Messages from outside: round trips in every version, and frames that lie.

#[cfg(test)]
mod frames;
