//! Behaviours of the decisions over files and seeded histories.

#[cfg(test)]
mod schema;
