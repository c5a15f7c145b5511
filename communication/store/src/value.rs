//! Values that go into statements and come out of rows.
//!
//! Own types instead of a driver's, so that a service compiles unchanged on another database.
//! Nothing is converted silently: a number that does not fit is an error, not a smaller number.

use base::{Monotonic, Timestamp};

/// A value of a parameter or a column, borrowed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ValueRef<'a> {
    /// No value.
    Null,
    /// A whole number.
    Integer(i64),
    /// A floating-point number.
    Real(f64),
    /// UTF-8 text.
    Text(&'a str),
    /// Bytes.
    Blob(&'a [u8]),
}

/// A value of a column, owned.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// No value.
    Null,
    /// A whole number.
    Integer(i64),
    /// A floating-point number.
    Real(f64),
    /// UTF-8 text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

/// Why a value cannot be taken as the type that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// The column holds another kind of value.
    #[error("expected {expected}, found {found}")]
    Type {
        /// What was asked for.
        expected: &'static str,
        /// What is there.
        found: &'static str,
    },
    /// The number does not fit.
    #[error("a number does not fit into {into}")]
    Range {
        /// The type that it was to fit into.
        into: &'static str,
    },
    /// The right kind of value with a content that its type refuses.
    #[error("{0}")]
    Content(String),
}

/// Something that can be a parameter.
pub trait ToValue {
    /// The value as the database takes it.
    ///
    /// # Errors
    /// The number does not fit into 64 signed bits.
    fn to_value(&self) -> Result<ValueRef<'_>, ValueError>;
}

/// Something that can be read from a column.
pub trait FromValue: Sized {
    /// Reads a column.
    ///
    /// # Errors
    /// The column holds another kind of value, or one that this type refuses.
    fn from_value(value: ValueRef<'_>) -> Result<Self, ValueError>;
}

/// The parameters of a statement: `params![id, weight_grams]` stand for `?1`, `?2`.
#[macro_export]
macro_rules! params {
    () => {
        &[] as &[&dyn $crate::ToValue]
    };
    ($($value:expr),+ $(,)?) => {
        &[$(&$value as &dyn $crate::ToValue),+] as &[&dyn $crate::ToValue]
    };
}

impl ValueRef<'_> {
    /// The name of the kind of value, for messages.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Integer(_) => "integer",
            Self::Real(_) => "real",
            Self::Text(_) => "text",
            Self::Blob(_) => "blob",
        }
    }

    const fn refuse(self, expected: &'static str) -> ValueError {
        ValueError::Type { expected, found: self.kind() }
    }
}

macro_rules! whole_numbers {
    ($($number:ty),+) => {$(
        impl ToValue for $number {
            fn to_value(&self) -> Result<ValueRef<'_>, ValueError> {
                i64::try_from(*self)
                    .map(ValueRef::Integer)
                    .map_err(|_| ValueError::Range { into: "a column" })
            }
        }
        impl FromValue for $number {
            fn from_value(value: ValueRef<'_>) -> Result<Self, ValueError> {
                let ValueRef::Integer(number) = value else { return Err(value.refuse("integer")) };
                Self::try_from(number).map_err(|_| ValueError::Range { into: stringify!($number) })
            }
        }
    )+};
}

whole_numbers!(i64, i32, u64, u32, u16, u8, usize);

impl ToValue for bool {
    fn to_value(&self) -> Result<ValueRef<'_>, ValueError> {
        Ok(ValueRef::Integer(i64::from(*self)))
    }
}

impl FromValue for bool {
    fn from_value(value: ValueRef<'_>) -> Result<Self, ValueError> {
        match value {
            ValueRef::Integer(0) => Ok(false),
            ValueRef::Integer(1) => Ok(true),
            ValueRef::Integer(_) => Err(ValueError::Range { into: "bool" }),
            other => Err(other.refuse("integer")),
        }
    }
}

impl ToValue for f64 {
    fn to_value(&self) -> Result<ValueRef<'_>, ValueError> {
        Ok(ValueRef::Real(*self))
    }
}

impl FromValue for f64 {
    fn from_value(value: ValueRef<'_>) -> Result<Self, ValueError> {
        match value {
            ValueRef::Real(number) => Ok(number),
            other => Err(other.refuse("real")),
        }
    }
}

impl ToValue for str {
    fn to_value(&self) -> Result<ValueRef<'_>, ValueError> {
        Ok(ValueRef::Text(self))
    }
}

impl ToValue for String {
    fn to_value(&self) -> Result<ValueRef<'_>, ValueError> {
        Ok(ValueRef::Text(self))
    }
}

impl FromValue for String {
    fn from_value(value: ValueRef<'_>) -> Result<Self, ValueError> {
        match value {
            ValueRef::Text(text) => Ok(text.to_owned()),
            other => Err(other.refuse("text")),
        }
    }
}

impl ToValue for [u8] {
    fn to_value(&self) -> Result<ValueRef<'_>, ValueError> {
        Ok(ValueRef::Blob(self))
    }
}

impl ToValue for Vec<u8> {
    fn to_value(&self) -> Result<ValueRef<'_>, ValueError> {
        Ok(ValueRef::Blob(self))
    }
}

impl FromValue for Vec<u8> {
    fn from_value(value: ValueRef<'_>) -> Result<Self, ValueError> {
        match value {
            ValueRef::Blob(bytes) => Ok(bytes.to_vec()),
            other => Err(other.refuse("blob")),
        }
    }
}

// Wall time is stored as milliseconds since 1970, time since boot as milliseconds since boot.
impl ToValue for Timestamp {
    fn to_value(&self) -> Result<ValueRef<'_>, ValueError> {
        Ok(ValueRef::Integer(self.as_millis()))
    }
}

impl FromValue for Timestamp {
    fn from_value(value: ValueRef<'_>) -> Result<Self, ValueError> {
        i64::from_value(value).map(Self::from_millis)
    }
}

impl ToValue for Monotonic {
    fn to_value(&self) -> Result<ValueRef<'_>, ValueError> {
        i64::try_from(self.as_millis())
            .map(ValueRef::Integer)
            .map_err(|_| ValueError::Range { into: "a column" })
    }
}

impl FromValue for Monotonic {
    fn from_value(value: ValueRef<'_>) -> Result<Self, ValueError> {
        u64::from_value(value).map(Self::from_millis)
    }
}

impl ToValue for Value {
    fn to_value(&self) -> Result<ValueRef<'_>, ValueError> {
        Ok(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Real(number) => ValueRef::Real(*number),
            Self::Text(text) => ValueRef::Text(text),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        })
    }
}

impl FromValue for Value {
    fn from_value(value: ValueRef<'_>) -> Result<Self, ValueError> {
        Ok(match value {
            ValueRef::Null => Self::Null,
            ValueRef::Integer(number) => Self::Integer(number),
            ValueRef::Real(number) => Self::Real(number),
            ValueRef::Text(text) => Self::Text(text.to_owned()),
            ValueRef::Blob(bytes) => Self::Blob(bytes.to_vec()),
        })
    }
}

impl<T: ToValue> ToValue for Option<T> {
    fn to_value(&self) -> Result<ValueRef<'_>, ValueError> {
        self.as_ref().map_or(Ok(ValueRef::Null), ToValue::to_value)
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: ValueRef<'_>) -> Result<Self, ValueError> {
        match value {
            ValueRef::Null => Ok(None),
            other => T::from_value(other).map(Some),
        }
    }
}

impl<T: ToValue + ?Sized> ToValue for &T {
    fn to_value(&self) -> Result<ValueRef<'_>, ValueError> {
        (**self).to_value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_does_not_fit_is_refused_in_both_directions() {
        assert!(u64::MAX.to_value().is_err());
        assert!(u8::from_value(ValueRef::Integer(256)).is_err());
        assert!(u32::from_value(ValueRef::Integer(-1)).is_err());
        assert!(bool::from_value(ValueRef::Integer(2)).is_err());
    }

    #[test]
    fn null_is_none_and_nothing_else() {
        assert_eq!(Option::<u8>::from_value(ValueRef::Null), Ok(None));
        assert_eq!(Option::<u8>::from_value(ValueRef::Integer(3)), Ok(Some(3)));
        assert!(u8::from_value(ValueRef::Null).is_err());
        assert_eq!(None::<String>.to_value(), Ok(ValueRef::Null));
    }

    #[test]
    fn times_are_whole_milliseconds() {
        let time = Timestamp::from_millis(-5);
        assert_eq!(time.to_value(), Ok(ValueRef::Integer(-5)));
        assert_eq!(Timestamp::from_value(ValueRef::Integer(-5)), Ok(time));
        assert!(Monotonic::from_value(ValueRef::Integer(-5)).is_err());
    }
}
