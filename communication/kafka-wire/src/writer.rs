//! Writing a frame.

use bytes::{BufMut as _, Bytes, BytesMut};

/// A frame that is being written; its length is put in at the end.
#[derive(Debug, Default, Clone)]
pub struct Writer(BytesMut);

impl Writer {
    /// A frame with room for its length.
    #[must_use]
    pub fn frame() -> Self {
        let mut buffer = BytesMut::with_capacity(256);
        buffer.put_i32(0);
        Self(buffer)
    }

    /// Bytes that are no frame, such as a part of one.
    #[must_use]
    pub fn part() -> Self {
        Self::default()
    }

    /// One byte.
    pub fn i8(&mut self, value: i8) {
        self.0.put_i8(value);
    }

    /// Two bytes.
    pub fn i16(&mut self, value: i16) {
        self.0.put_i16(value);
    }

    /// Four bytes.
    pub fn i32(&mut self, value: i32) {
        self.0.put_i32(value);
    }

    /// Eight bytes.
    pub fn i64(&mut self, value: i64) {
        self.0.put_i64(value);
    }

    /// The bytes themselves.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.0.put_slice(bytes);
    }

    /// A length of two bytes and so much text; -1 for `None`. A text past 32,767 bytes is cut: no
    /// name and no message of ours is as long.
    pub fn nullable_string(&mut self, text: Option<&str>) {
        let Some(text) = text else { return self.i16(-1) };
        let mut end = text.len().min(i16::MAX as usize);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.i16(i16::try_from(end).unwrap_or(i16::MAX));
        self.raw(&text.as_bytes()[..end]);
    }

    /// A length of four bytes and so many; -1 for `None`.
    pub fn nullable_bytes(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            None => self.i32(-1),
            Some(bytes) => {
                self.count(bytes.len());
                self.raw(bytes);
            }
        }
    }

    /// The number of elements that follow.
    pub fn count(&mut self, count: usize) {
        self.i32(i32::try_from(count).unwrap_or(i32::MAX));
    }

    /// A zigzag varint.
    pub fn varint(&mut self, value: i64) {
        let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
        while rest >= 0x80 {
            self.0.put_u8(u8::try_from(rest & 0x7f).unwrap_or(0) | 0x80);
            rest >>= 7;
        }
        self.0.put_u8(u8::try_from(rest).unwrap_or(0));
    }

    /// A length as varint and so many bytes; -1 for `None`.
    pub fn varint_bytes(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            None => self.varint(-1),
            Some(bytes) => {
                self.varint(i64::try_from(bytes.len()).unwrap_or(i64::MAX));
                self.raw(bytes);
            }
        }
    }

    /// How much was written.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Overwrites what stands at `position`.
    pub(crate) fn put_at(&mut self, position: usize, bytes: &[u8]) {
        self.0[position..position + bytes.len()].copy_from_slice(bytes);
    }

    pub(crate) fn written(&self, from: usize) -> &[u8] {
        &self.0[from..]
    }

    /// The frame, with its length before it.
    #[must_use]
    pub fn finish(mut self) -> Bytes {
        let length = i32::try_from(self.0.len() - 4).unwrap_or(i32::MAX);
        self.put_at(0, &length.to_be_bytes());
        self.0.freeze()
    }

    /// The bytes of a [`part`](Self::part).
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reader::Reader;

    #[test]
    fn a_varint_is_read_as_it_was_written() {
        for value in [0, 1, -1, 63, -64, 64, 300, -301, i64::from(i32::MAX), i64::MIN, i64::MAX] {
            let mut writer = Writer::part();
            writer.varint(value);
            let mut reader = Reader::new(writer.into_bytes());
            assert_eq!((reader.varint(), reader.left()), (Ok(value), 0));
        }
    }

    #[test]
    fn a_frame_begins_with_its_length() {
        let mut writer = Writer::frame();
        writer.nullable_string(Some("ab"));
        assert_eq!(writer.finish(), [0, 0, 0, 4, 0, 2, b'a', b'b'].as_slice());
    }
}
