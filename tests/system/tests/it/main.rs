//! The whole system, started as a newcomer starts it, seen from outside: HTTP, signals, files.

#[cfg(test)]
mod alerts;
#[cfg(test)]
mod browser;
#[cfg(test)]
mod burst;
#[cfg(test)]
mod canaries;
#[cfg(test)]
mod cancelling;
#[cfg(test)]
mod compatibility;
#[cfg(test)]
mod control_plane;
#[cfg(test)]
mod directory;
#[cfg(test)]
mod doors;
#[cfg(test)]
mod durability;
#[cfg(test)]
mod edge;
#[cfg(test)]
mod event_stream;
#[cfg(test)]
mod failures;
#[cfg(test)]
mod failures_of_changes;
#[cfg(test)]
mod first_minute;
#[cfg(test)]
mod fleet;
#[cfg(test)]
mod foreign;
#[cfg(test)]
mod foreign_clients;
#[cfg(test)]
mod foreign_mesh;
#[cfg(test)]
mod foreign_tls;
#[cfg(test)]
mod http;
#[cfg(test)]
mod instances;
#[cfg(test)]
mod invoices;
#[cfg(test)]
mod kills;
#[cfg(test)]
mod kills_of_changes;
#[cfg(test)]
mod listeners;
#[cfg(test)]
mod log_users;
#[cfg(test)]
mod openssl;
#[cfg(test)]
mod operating;
#[cfg(test)]
mod outside_tls;
#[cfg(test)]
mod owasp;
#[cfg(test)]
mod page;
#[cfg(test)]
mod peers;
#[cfg(test)]
mod people;
#[cfg(test)]
mod program;
mod queues;
#[cfg(test)]
mod steps;
#[cfg(test)]
mod strangers;
#[cfg(test)]
mod strict;
#[cfg(test)]
mod told;
#[cfg(test)]
mod topology;
#[cfg(test)]
mod versions;
#[cfg(test)]
mod wait;
#[cfg(test)]
mod wire;
