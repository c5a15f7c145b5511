//! The data plane of the mesh: what carries a request from one service to another.
//!
//! It does what `mesh-policy` decides and decides nothing itself. It is strict where peers are
//! lenient: a message that two programs could read in two ways is refused at the first of them.

pub mod h1;
