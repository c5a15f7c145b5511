//! Stored batches as a fetch returns them.

use bytes::{BufMut as _, Bytes, BytesMut};
use durable_log::Frame;

/// The batches of some frames as one record set. The offset stands outside a batch's checksum, so
/// that it can be set here.
pub(crate) fn record_set(frames: &[Frame]) -> Bytes {
    let bytes = frames.iter().map(|it| it.body.len()).sum();
    let mut set = BytesMut::with_capacity(bytes);
    for frame in frames {
        set.put_u64(frame.base_offset);
        set.put_slice(frame.body.get(8..).unwrap_or_default());
    }
    set.freeze()
}
