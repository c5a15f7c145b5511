//! The store from outside: grouped writes, shared files, and the built-in tables.

#[cfg(test)]
mod failing_disk;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod operations;
#[cfg(test)]
mod sharing;
#[cfg(test)]
mod writes;
