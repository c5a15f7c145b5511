//! Bodies in chunks (RFC 9112 7.1).
//!
//! The decoder says which bytes of its input are data; it copies nothing but trailers, which are
//! rare. A size has at most 16 digits and ends with its line or at a `;` at once: white space
//! there, and a line feed alone anywhere, is where readers differ.

use super::{
    Field, Malformed,
    class::{self, VALUE},
    facts::read_fields,
};

/// Digits of a size; as many as fit in 64 bits.
const SIZE_DIGITS_MAX: u8 = 16;
/// Bytes of the extensions of one chunk, with the first `;`.
pub const EXTENSION_BYTES_MAX: u16 = 256;
/// Bytes of the extensions of a whole body: a byte of data a chunk with an extension each would
/// else cost a hundred times what it carries.
pub const EXTENSIONS_BYTES_MAX: u16 = 16 * 1024;
/// Bytes of all trailers with their empty line.
pub const TRAILERS_BYTES_MAX: usize = 32 * 1024;
/// Trailer fields.
pub const TRAILER_FIELDS_MAX: usize = 100;

/// What the next bytes of a body are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// `skip` bytes of framing, then `length` bytes of data, at least one. Nothing behind them was
    /// looked at: step again with the rest.
    Data {
        /// Bytes of framing before the data.
        skip: usize,
        /// Bytes of data.
        length: usize,
    },
    /// All of the input was framing and more is needed. `consumed` is its length.
    More {
        /// The length of the input.
        consumed: usize,
    },
    /// The body ended after `consumed` bytes of framing; what follows is the next message. The
    /// trailers are in [`Decoder::trailers`].
    End {
        /// Bytes of framing before the next message.
        consumed: usize,
    },
}

/// Reads one body; make a new one for the next.
#[derive(Debug, Clone)]
pub struct Decoder {
    state: State,
    /// The size so far, then the data that is still to come.
    left: u64,
    extensions: u16,
    trailers: Trailers,
}

/// Where in the framing the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size {
        digits: u8,
    },
    Extension {
        bytes: u16,
    },
    SizeLineFeed,
    Data,
    DataCarriageReturn,
    DataLineFeed,
    /// At the start of a line after the last chunk.
    TrailerStart,
    TrailerLine,
    TrailerLineFeed,
    LastLineFeed,
    Ended,
}

/// Lines of trailers as they came, and what they say.
#[derive(Debug, Clone, Default)]
struct Trailers {
    bytes: Vec<u8>,
    fields: Vec<Field>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// At the start of a body. Allocates nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            state: State::Size { digits: 0 },
            left: 0,
            extensions: 0,
            trailers: Trailers { bytes: Vec::new(), fields: Vec::new() },
        }
    }

    /// Says what the first bytes of `input` are: the bytes that follow those of earlier steps.
    ///
    /// # Errors
    /// When the framing is not exactly that of RFC 9112 7.1 or over a bound. Every later step of a
    /// refused body is undefined, but does not panic: close the connection.
    pub fn step(&mut self, input: &[u8]) -> Result<Step, Malformed> {
        let mut at = 0;
        loop {
            if self.state == State::Ended {
                return Ok(Step::End { consumed: at });
            }
            let rest = input.get(at..).unwrap_or_default();
            let Some(byte) = rest.first() else {
                return Ok(Step::More { consumed: at });
            };
            match self.state {
                State::Data => {
                    let length = self.take(rest.len());
                    return Ok(Step::Data { skip: at, length });
                }
                State::TrailerLine => at += self.trailer_bytes(rest)?,
                State::Extension { bytes } => at += self.extension_bytes(rest, bytes)?,
                _ => {
                    self.framing_byte(*byte)?;
                    at += 1;
                }
            }
        }
    }

    /// Whether the body has ended.
    #[must_use]
    pub const fn is_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// The trailers once the body has ended: their lines and the fields in them.
    #[must_use]
    pub fn trailers(&self) -> (&[u8], &[Field]) {
        (&self.trailers.bytes, &self.trailers.fields)
    }

    /// Takes data out of the chunk, as much as it has and `available` allows.
    fn take(&mut self, available: usize) -> usize {
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(available);
        self.left -= length as u64;
        if self.left == 0 {
            self.state = State::DataCarriageReturn;
        }
        length
    }

    fn framing_byte(&mut self, byte: u8) -> Result<(), Malformed> {
        self.state = match (self.state, byte) {
            (State::Size { digits }, _) => self.size_byte(byte, digits)?,
            (State::SizeLineFeed, b'\n') if self.left == 0 => State::TrailerStart,
            (State::SizeLineFeed, b'\n') => State::Data,
            (State::DataCarriageReturn, b'\r') => State::DataLineFeed,
            (State::DataLineFeed, b'\n') => State::Size { digits: 0 },
            (State::DataCarriageReturn | State::DataLineFeed, _) => {
                return Err(Malformed::ChunkEnd);
            }
            (State::TrailerStart, b'\r') => State::LastLineFeed,
            (State::TrailerStart, b' ' | b'\t') => return Err(Malformed::FoldedField),
            (State::TrailerStart, b'\n') => return Err(Malformed::BareLineFeed),
            (State::TrailerStart, _) => {
                self.trailers.push(&[byte])?;
                State::TrailerLine
            }
            (State::TrailerLineFeed, b'\n') => {
                self.trailers.push(b"\r\n")?;
                State::TrailerStart
            }
            (State::LastLineFeed, b'\n') => {
                self.trailers.read()?;
                State::Ended
            }
            (State::SizeLineFeed | State::TrailerLineFeed | State::LastLineFeed, _) => {
                return Err(Malformed::BareCarriageReturn);
            }
            (
                state @ (State::Extension { .. } | State::Data | State::TrailerLine | State::Ended),
                _,
            ) => state,
        };
        Ok(())
    }

    fn size_byte(&mut self, byte: u8, digits: u8) -> Result<State, Malformed> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b'\r' if digits > 0 => return Ok(State::SizeLineFeed),
            b';' if digits > 0 => {
                self.extensions += 1;
                return Ok(State::Extension { bytes: 1 });
            }
            b'\n' => return Err(Malformed::BareLineFeed),
            _ => return Err(Malformed::ChunkSize),
        };
        if digits == SIZE_DIGITS_MAX {
            return Err(Malformed::ChunkSizeTooLong);
        }
        // The size before is used up: a chunk ends with nothing left.
        self.left = self.left << 4 | u64::from(digit);
        Ok(State::Size { digits: digits + 1 })
    }

    /// Passes over an extension up to its carriage return, which it takes.
    fn extension_bytes(&mut self, rest: &[u8], before: u16) -> Result<usize, Malformed> {
        let length = class::run(rest, VALUE);
        let counted = u16::try_from(length).unwrap_or(u16::MAX);
        let bytes = before.saturating_add(counted);
        self.extensions = self.extensions.saturating_add(counted);
        if bytes > EXTENSION_BYTES_MAX || self.extensions > EXTENSIONS_BYTES_MAX {
            return Err(Malformed::ChunkExtensionTooLong);
        }
        match rest.get(length) {
            None => {
                self.state = State::Extension { bytes };
                Ok(length)
            }
            Some(b'\r') => {
                self.state = State::SizeLineFeed;
                Ok(length + 1)
            }
            Some(b'\n') => Err(Malformed::BareLineFeed),
            Some(_) => Err(Malformed::ChunkExtension),
        }
    }

    /// Keeps a trailer line up to its carriage return, which it takes.
    fn trailer_bytes(&mut self, rest: &[u8]) -> Result<usize, Malformed> {
        let length = memchr::memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
        self.trailers.push(&rest[..length])?;
        match rest.get(length) {
            None => Ok(length),
            Some(b'\n') => Err(Malformed::BareLineFeed),
            Some(_) => {
                self.state = State::TrailerLineFeed;
                Ok(length + 1)
            }
        }
    }
}

impl Trailers {
    fn push(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        // Two bytes are left for the empty line.
        if self.bytes.len() + bytes.len() + 2 > TRAILERS_BYTES_MAX {
            return Err(Malformed::TrailersTooLarge);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn read(&mut self) -> Result<(), Malformed> {
        let Self { bytes, fields } = self;
        read_fields(bytes, 0, TRAILER_FIELDS_MAX, fields, |field| {
            if field.known.is_trailer() { Ok(()) } else { Err(Malformed::TrailerForbidden) }
        })
    }
}
