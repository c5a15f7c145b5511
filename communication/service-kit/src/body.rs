//! Request bodies: taken in whole before the handler starts, within limits of size, time and memory.
//!
//! A slow sender therefore never holds a place of the concurrency cap.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use base::Code;
use bytes::{Bytes, BytesMut};
use mesh_proxy::body::{BodyError, RequestBody, Upload};

use crate::{config::Limits, problem::Problem};

/// Memory that all bodies of a process share.
#[derive(Debug, Clone)]
pub(crate) struct Memory(Arc<AtomicUsize>, usize);

/// A part of that memory; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Share {
    memory: Memory,
    bytes: usize,
}

impl Memory {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self(Arc::default(), bytes_max)
    }

    pub(crate) fn share(&self) -> Share {
        Share { memory: self.clone(), bytes: 0 }
    }
}

impl Share {
    fn grow(&mut self, by: usize) -> Result<(), Problem> {
        let taken = self.memory.0.fetch_add(by, Ordering::Relaxed);
        self.bytes += by;
        if taken.saturating_add(by) > self.memory.1 {
            return Err(Problem::of(Code::Overloaded, "too many bodies are being received"));
        }
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.memory.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Reads a body to its end.
///
/// # Errors
/// 413 beyond the limit, 408 when nothing comes for too long, 503 when all bodies together are
/// too much, 400 when it breaks off.
pub(crate) async fn read<B: RequestBody>(
    upload: &mut Upload<B>,
    limits: &Limits,
    share: &mut Share,
) -> Result<Bytes, Problem> {
    let too_large = || {
        Problem::of(
            Code::BodyTooLarge,
            format!("a body holds at most {} bytes", limits.body_bytes_max),
        )
    };
    let announced = upload.length().unwrap_or(0);
    if usize::try_from(announced).unwrap_or(usize::MAX) > limits.body_bytes_max {
        return Err(too_large());
    }
    let mut whole = BytesMut::new();
    loop {
        let frame = poll_fn(|context| upload.poll_piece(context)).await;
        let Some(frame) = frame else { return Ok(whole.freeze()) };
        let frame = frame.map_err(|error| match error {
            BodyError::TooLong => too_large(),
            BodyError::TimedOut => {
                Problem::of(Code::RequestTimeout, "the body did not arrive in time")
            }
            error => Problem::of(Code::InvalidRequest, format!("the body broke off: {error}")),
        })?;
        // Trailers are of no use to us.
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + data.len() > limits.body_bytes_max {
            return Err(too_large());
        }
        share.grow(data.len())?;
        whole.extend_from_slice(&data);
    }
}
