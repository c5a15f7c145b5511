//! One thread's share of a mesh: its connections and its chance.

use std::sync::{Mutex, PoisonError};

use base::Random;

use crate::{
    mesh::{self, Mesh},
    upstream::{Pool, h2::Connections},
};

/// What a thread sends with; shared by whatever it has under way.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) mesh: Mesh,
    pub(crate) pool: Pool,
    pub(crate) connections: Connections,
    random: Mutex<Random>,
}

impl Worker {
    /// A worker without connections yet.
    pub(crate) fn new(mesh: Mesh) -> Self {
        let random = Mutex::new(mesh::random());
        Self { mesh, pool: Pool::default(), connections: Connections::default(), random }
    }

    /// Lends the generator. Never held over a wait.
    pub(crate) fn draw<T>(&self, draw: impl FnOnce(&mut Random) -> T) -> T {
        draw(&mut self.random.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Closes what rested too long, or leads to who is listed no more.
    pub(crate) fn sweep(&self) {
        let snapshot = self.mesh.snapshot();
        self.pool.sweep(|target| snapshot.has_target(target));
        self.connections.sweep(|target| snapshot.has_target(target));
    }
}
