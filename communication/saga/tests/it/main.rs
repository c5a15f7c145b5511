//! The engine over a real store, with services that live in the test.

#[cfg(test)]
mod engine;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod takeover;
#[cfg(test)]
mod upgrade;
