//! The suite against our own broker, and against foreign ones where they are installed.

#[cfg(test)]
mod backends;
#[cfg(test)]
mod known;
#[cfg(test)]
mod table;
