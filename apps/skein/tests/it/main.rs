//! The commands: about a mesh, on proxies and services over real sockets, and about files.

#[cfg(test)]
mod branches;
#[cfg(test)]
mod conformance_command;
#[cfg(test)]
mod control_plane;
#[cfg(test)]
mod edges;
#[cfg(test)]
mod file_commands;
#[cfg(test)]
mod following;
#[cfg(test)]
mod identities;
#[cfg(test)]
mod log_commands;
#[cfg(test)]
mod mesh_commands;
#[cfg(test)]
mod process;
