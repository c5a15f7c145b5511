//! The program: a role per service, and the commands that run and inspect the whole.

fn main() {}
