//! A producer's number, asked for in the flexible form (KIP-482): some logs give none in the plain one.
//!
//! Only the client asks so, and only where the log says that it speaks it: our broker does not.

use crate::{
    error::{ErrorCode, WireError},
    field::Field,
    messages::InitProducerIdResponse,
    reader::Reader,
    writer::Writer,
};

/// The version that is written here.
pub const FLEXIBLE_NUMBER: i16 = 3;
/// No tagged fields follow.
const NO_TAGS: i8 = 0;
/// A text that is none, in the flexible form.
const NO_TEXT: i8 = 0;

/// Asks for a number that no other producer has, for no transaction; with the tags of its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FlexibleNumberRequest;

impl Field for FlexibleNumberRequest {
    const BYTES_MIN: usize = 17;

    fn read(reader: &mut Reader, _version: i16) -> Result<Self, WireError> {
        reader.take(Self::BYTES_MIN)?;
        Ok(Self)
    }

    fn write(&self, writer: &mut Writer, _version: i16) {
        writer.i8(NO_TAGS);
        writer.i8(NO_TEXT);
        // How long a transaction may take that there is none of.
        writer.i32(60_000);
        // It has had no number and no life before.
        writer.i64(-1);
        writer.i16(-1);
        writer.i8(NO_TAGS);
    }
}

/// The answer, with the tags of its head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlexibleNumberResponse(pub InitProducerIdResponse);

impl Field for FlexibleNumberResponse {
    const BYTES_MIN: usize = 18;

    fn read(reader: &mut Reader, _version: i16) -> Result<Self, WireError> {
        let _tags = reader.i8()?;
        let (throttle_ms, error) = (reader.i32()?, ErrorCode::of(reader.i16()?));
        let (producer_id, producer_epoch) = (reader.i64()?, reader.i16()?);
        let _tags = reader.i8()?;
        Ok(Self(InitProducerIdResponse { throttle_ms, error, producer_id, producer_epoch }))
    }

    fn write(&self, writer: &mut Writer, _version: i16) {
        writer.i8(NO_TAGS);
        self.0.write(writer, 0);
        writer.i8(NO_TAGS);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_number_is_asked_for_and_answered_as_the_protocol_guide_says() {
        let mut writer = Writer::part();
        FlexibleNumberRequest.write(&mut writer, FLEXIBLE_NUMBER);
        let asked = b"\0\0\0\0\xea\x60\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0";
        assert_eq!(&writer.into_bytes()[..], asked);
        // As a foreign log answered.
        let answer = b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x05\0\0\0";
        let mut reader = Reader::new(Bytes::from_static(answer));
        let FlexibleNumberResponse(found) =
            FlexibleNumberResponse::read(&mut reader, FLEXIBLE_NUMBER).unwrap();
        assert_eq!((found.error, found.producer_id, found.producer_epoch), (ErrorCode::None, 5, 0));
        assert_eq!(reader.end(), Ok(()));
    }
}
