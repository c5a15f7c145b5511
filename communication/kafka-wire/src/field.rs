//! Parts of messages: how each is read and written, and how few bytes it can take.

use bytes::Bytes;

use crate::{
    error::{ErrorCode, WireError},
    reader::Reader,
    writer::Writer,
};

/// A part of a message.
pub trait Field: Sized {
    /// Fewest bytes that it takes in any version: what bounds the length of an array.
    const BYTES_MIN: usize;

    /// Reads it.
    ///
    /// # Errors
    /// It is not whole.
    fn read(reader: &mut Reader, version: i16) -> Result<Self, WireError>;

    /// Writes it.
    fn write(&self, writer: &mut Writer, version: i16);
}

macro_rules! number {
    ($($type:ident),*) => {
        $(impl Field for $type {
            const BYTES_MIN: usize = size_of::<$type>();

            fn read(reader: &mut Reader, _version: i16) -> Result<Self, WireError> {
                reader.$type()
            }

            fn write(&self, writer: &mut Writer, _version: i16) {
                writer.$type(*self);
            }
        })*
    };
}

number!(i8, i16, i32, i64);

impl Field for bool {
    const BYTES_MIN: usize = 1;

    fn read(reader: &mut Reader, _version: i16) -> Result<Self, WireError> {
        Ok(reader.i8()? != 0)
    }

    fn write(&self, writer: &mut Writer, _version: i16) {
        writer.i8(i8::from(*self));
    }
}

impl Field for ErrorCode {
    const BYTES_MIN: usize = 2;

    fn read(reader: &mut Reader, _version: i16) -> Result<Self, WireError> {
        reader.i16().map(Self::of)
    }

    fn write(&self, writer: &mut Writer, _version: i16) {
        writer.i16(self.code());
    }
}

impl Field for String {
    const BYTES_MIN: usize = 2;

    fn read(reader: &mut Reader, _version: i16) -> Result<Self, WireError> {
        reader.nullable_string()?.ok_or(WireError::Negative)
    }

    fn write(&self, writer: &mut Writer, _version: i16) {
        writer.nullable_string(Some(self));
    }
}

impl Field for Option<String> {
    const BYTES_MIN: usize = 2;

    fn read(reader: &mut Reader, _version: i16) -> Result<Self, WireError> {
        reader.nullable_string()
    }

    fn write(&self, writer: &mut Writer, _version: i16) {
        writer.nullable_string(self.as_deref());
    }
}

impl Field for Bytes {
    const BYTES_MIN: usize = 4;

    fn read(reader: &mut Reader, _version: i16) -> Result<Self, WireError> {
        Ok(reader.nullable_bytes()?.unwrap_or_default())
    }

    fn write(&self, writer: &mut Writer, _version: i16) {
        writer.nullable_bytes(Some(self));
    }
}

impl<T: Field> Field for Vec<T> {
    const BYTES_MIN: usize = 4;

    fn read(reader: &mut Reader, version: i16) -> Result<Self, WireError> {
        let count = reader.count(T::BYTES_MIN)?;
        (0..count).map(|_| T::read(reader, version)).collect()
    }

    fn write(&self, writer: &mut Writer, version: i16) {
        writer.count(self.len());
        for element in self {
            element.write(writer, version);
        }
    }
}

/// Declares a message: its fields in the order of the wire, each with the version that brought it, or the
/// last one that has it.
macro_rules! message {
    ($($(#[$doc:meta])* $name:ident {
        $($(#[$field_doc:meta])* $field:ident: $type:ty $(, $edge:ident $at:literal)?;)*
    })*) => {
        $($(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Default)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
        }

        impl $crate::Field for $name {
            const BYTES_MIN: usize = 0 $(+ $crate::field::message!(@min $type $(, $edge $at)?))*;

            fn read(
                reader: &mut $crate::Reader,
                version: i16,
            ) -> Result<Self, $crate::WireError> {
                // A message may have no field, or none that is new.
                let _ = (&reader, version);
                Ok(Self {
                    $($field: $crate::field::message!(@read reader, version, $type $(, $edge $at)?),)*
                })
            }

            fn write(&self, writer: &mut $crate::Writer, version: i16) {
                let _ = (&writer, version);
                $($crate::field::message!(@write self.$field, writer, version $(, $edge $at)?);)*
            }
        })*
    };
    (@has $version:ident, since $at:literal) => { $version >= $at };
    (@has $version:ident, until $at:literal) => { $version <= $at };
    (@min $type:ty) => { <$type as $crate::Field>::BYTES_MIN };
    (@min $type:ty, $edge:ident $at:literal) => { 0 };
    (@read $reader:ident, $version:ident, $type:ty) => {
        <$type as $crate::Field>::read($reader, $version)?
    };
    (@read $reader:ident, $version:ident, $type:ty, $edge:ident $at:literal) => {
        if $crate::field::message!(@has $version, $edge $at) {
            <$type as $crate::Field>::read($reader, $version)?
        } else {
            Default::default()
        }
    };
    (@write $value:expr, $writer:ident, $version:ident) => {
        $crate::Field::write(&$value, $writer, $version)
    };
    (@write $value:expr, $writer:ident, $version:ident, $edge:ident $at:literal) => {
        if $crate::field::message!(@has $version, $edge $at) {
            $crate::Field::write(&$value, $writer, $version);
        }
    };
}

pub(crate) use message;
