//! The control plane and its subscribers over real connections.
//! Numbers in comments are those of the list of behaviours that the mesh is held to.

#[cfg(test)]
mod dns;
#[cfg(test)]
mod identities;
#[cfg(test)]
mod rig;
#[cfg(test)]
mod states;
#[cfg(test)]
mod trust;
