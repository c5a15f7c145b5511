//! Behaviours of identities: who is refused and why, how identities are issued, renewed and replaced.
//! Numbers in comments are those of the list of behaviours that the mesh is held to.

#[cfg(test)]
mod authority;
#[cfg(test)]
mod branches;
#[cfg(test)]
mod carrying;
#[cfg(test)]
mod handshakes;
#[cfg(test)]
mod keeping;
#[cfg(test)]
mod peers;
#[cfg(test)]
mod pki;
#[cfg(test)]
mod signed;
#[cfg(test)]
mod verdicts;
#[cfg(test)]
mod world;
