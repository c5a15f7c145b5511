//! Behaviours of the decisions: tables of cases, files and seeded histories. Numbers in comments are
//! those of the list of behaviours that the mesh is held to.

#[cfg(test)]
mod amplification;
#[cfg(test)]
mod analyze;
#[cfg(test)]
mod balancing;
#[cfg(test)]
mod breaking;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod retrying;
#[cfg(test)]
mod routing;
#[cfg(test)]
mod routing_filters;
#[cfg(test)]
mod routing_paths;
#[cfg(test)]
mod routing_request;
#[cfg(test)]
mod schema;
#[cfg(test)]
mod schema_bounds;
#[cfg(test)]
mod schema_mutations;
#[cfg(test)]
mod schema_refusals;
#[cfg(test)]
mod simulation;
