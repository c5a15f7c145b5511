//! Behaviors of the decisions over files and seeded histories.

#[cfg(test)]
mod analyze;
#[cfg(test)]
mod schema;
#[cfg(test)]
mod schema_bounds;
#[cfg(test)]
mod schema_mutations;
#[cfg(test)]
mod schema_refusals;
