//! Reading a frame: nothing is believed before the bytes for it are there.

use bytes::{Buf as _, Bytes};

use crate::error::WireError;

/// Bytes of the length that stands before each frame.
pub const FRAME_HEAD_BYTES: usize = 4;

/// The length of a frame, when it may be taken.
///
/// # Errors
/// It is negative or longer than `bytes_max`.
pub fn frame_bytes(head: [u8; FRAME_HEAD_BYTES], bytes_max: usize) -> Result<usize, WireError> {
    let claimed = i32::from_be_bytes(head);
    let bytes = usize::try_from(claimed).ok().filter(|it| *it <= bytes_max);
    bytes.ok_or(WireError::TooLong { bytes: i64::from(claimed), bytes_max })
}

/// The rest of a frame.
#[derive(Debug, Clone)]
pub struct Reader(Bytes);

macro_rules! number {
    ($(#[$doc:meta] $name:ident $type:ty, $get:ident;)*) => {
        $(#[$doc]
        ///
        /// # Errors
        /// The frame ends before it.
        pub fn $name(&mut self) -> Result<$type, WireError> {
            self.need(size_of::<$type>())?;
            Ok(self.0.$get())
        })*
    };
}

impl Reader {
    /// Starts at the beginning of `frame`.
    #[must_use]
    pub const fn new(frame: Bytes) -> Self {
        Self(frame)
    }

    /// How many bytes are left.
    #[must_use]
    pub fn left(&self) -> usize {
        self.0.len()
    }

    fn need(&self, bytes: usize) -> Result<(), WireError> {
        if self.0.len() < bytes { Err(WireError::Short) } else { Ok(()) }
    }

    number! {
        /// One byte.
        i8 i8, get_i8;
        /// Two bytes.
        i16 i16, get_i16;
        /// Four bytes.
        i32 i32, get_i32;
        /// Eight bytes.
        i64 i64, get_i64;
        /// Four bytes without a sign.
        u32 u32, get_u32;
    }

    /// So many bytes, without a copy.
    ///
    /// # Errors
    /// The frame ends before them.
    pub fn take(&mut self, bytes: usize) -> Result<Bytes, WireError> {
        self.need(bytes)?;
        Ok(self.0.split_to(bytes))
    }

    /// A length of two bytes and so much text; `None` for -1.
    ///
    /// # Errors
    /// It is not whole, or no text.
    pub fn nullable_string(&mut self) -> Result<Option<String>, WireError> {
        match self.i16()? {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length).map_err(|_| WireError::Negative)?;
                self.text(length).map(Some)
            }
        }
    }

    /// So many bytes of text.
    ///
    /// # Errors
    /// They are not there, or no text.
    pub fn text(&mut self, bytes: usize) -> Result<String, WireError> {
        let bytes = self.take(bytes)?;
        std::str::from_utf8(&bytes).map(str::to_owned).map_err(|_| WireError::Text)
    }

    /// A length of four bytes and so many; `None` for -1.
    ///
    /// # Errors
    /// It is not whole.
    pub fn nullable_bytes(&mut self) -> Result<Option<Bytes>, WireError> {
        match self.i32()? {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length).map_err(|_| WireError::Negative)?;
                self.take(length).map(Some)
            }
        }
    }

    /// The number of elements that follow, each of `bytes_min` at the least; -1 counts as none.
    ///
    /// # Errors
    /// So many cannot be in what is left.
    pub fn count(&mut self, bytes_min: usize) -> Result<usize, WireError> {
        let count = match self.i32()? {
            -1 => 0,
            count => usize::try_from(count).map_err(|_| WireError::Negative)?,
        };
        let least = count.checked_mul(bytes_min.max(1)).ok_or(WireError::Short)?;
        self.need(least)?;
        Ok(count)
    }

    /// A zigzag varint of at most ten bytes (as records use it).
    ///
    /// # Errors
    /// It is not whole, or longer than a number can be.
    pub fn varint(&mut self) -> Result<i64, WireError> {
        let (mut value, mut shift) = (0_u64, 0);
        loop {
            let byte = self.i8()?.cast_unsigned();
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
            shift += 7;
            if shift > 63 {
                return Err(WireError::TooLong { bytes: 11, bytes_max: 10 });
            }
        }
    }

    /// A length as varint and so many bytes; `None` for -1.
    ///
    /// # Errors
    /// It is not whole.
    pub fn varint_bytes(&mut self) -> Result<Option<Bytes>, WireError> {
        match self.varint()? {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length).map_err(|_| WireError::Negative)?;
                self.take(length).map(Some)
            }
        }
    }

    /// Says that the message ends here.
    ///
    /// # Errors
    /// Something is left.
    pub fn end(&self) -> Result<(), WireError> {
        if self.0.is_empty() { Ok(()) } else { Err(WireError::Left(self.0.len())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_cannot_be_there_is_refused_before_anything_is_allocated() {
        let mut reader = Reader::new(Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff, 1, 2, 3]));
        assert_eq!(reader.count(1), Err(WireError::Short));
        let mut reader = Reader::new(Bytes::from_static(&[0, 0, 0, 3, 1, 2, 3]));
        assert_eq!(reader.count(1), Ok(3));
        let mut reader = Reader::new(Bytes::from_static(&[0x80, 0, 0, 0]));
        assert_eq!(reader.count(1), Err(WireError::Negative));
    }

    #[test]
    fn a_frame_longer_than_may_be_is_refused() {
        assert_eq!(frame_bytes([0, 0, 1, 0], 256), Ok(256));
        assert!(frame_bytes([0, 0, 1, 1], 256).is_err());
        assert!(frame_bytes([0xff, 0xff, 0xff, 0xff], 256).is_err());
    }

    #[test]
    fn a_varint_has_an_end() {
        let mut reader = Reader::new(Bytes::from_static(&[0xff; 12]));
        assert!(reader.varint().is_err());
        let mut reader = Reader::new(Bytes::from_static(&[0x80]));
        assert_eq!(reader.varint(), Err(WireError::Short));
    }
}
