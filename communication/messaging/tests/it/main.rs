//! The client against our own broker, on a free port.

#[cfg(test)]
mod between;
#[cfg(test)]
mod damaged_log;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod foreign;
#[cfg(test)]
mod known;
#[cfg(test)]
mod operating;
#[cfg(test)]
mod subscribing;
#[cfg(test)]
mod users;
#[cfg(test)]
mod world;
