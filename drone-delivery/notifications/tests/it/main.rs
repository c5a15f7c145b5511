//! People who are told, seen at the receiving end.

#[cfg(test)]
mod alerting;
#[cfg(test)]
mod told;
#[cfg(test)]
mod wait;
