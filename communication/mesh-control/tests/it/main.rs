//! The control plane and its subscribers over real connections.
