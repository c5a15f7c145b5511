//! Behaviours of the decisions over seeded histories. Numbers in comments are those of the list of
//! behaviours that the mesh is held to.

#[cfg(test)]
mod amplification;
#[cfg(test)]
mod balancing;
#[cfg(test)]
mod breaking;
#[cfg(test)]
mod retrying;
#[cfg(test)]
mod simulation;
