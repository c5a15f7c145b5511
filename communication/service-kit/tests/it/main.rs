//! A real service on real sockets: limits, deadlines, overload, faults, drain, and the client.

#[cfg(test)]
mod client;
#[cfg(test)]
mod export;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod forms;
#[cfg(test)]
mod http_in;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod relay;
