//! Tidy: the rules of the tree that no compiler checks.

#[cfg(test)]
mod circles;
#[cfg(test)]
mod dependencies;
#[cfg(test)]
mod documents;
#[cfg(test)]
mod floors;
#[cfg(test)]
mod modules;
#[cfg(test)]
mod proofs;
#[cfg(test)]
mod risks;
#[cfg(test)]
mod services;
#[cfg(test)]
mod sources;
#[cfg(test)]
mod tree;
#[cfg(test)]
mod words;
