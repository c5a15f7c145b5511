//! The service behind a real log, on free ports of its own.

#[cfg(test)]
mod archive;
