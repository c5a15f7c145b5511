//! Reads JSON into a value in which no member of an object was given twice.
//!
//! `serde_json::Value` by itself keeps the last of them and says nothing.

use std::{cell::RefCell, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Why a text is no such value.
#[derive(Debug)]
pub(super) enum Error {
    /// It is not JSON.
    Syntax(serde_json::Error),
    /// An object has a member twice.
    Twice {
        /// JSON pointer to it (RFC 6901).
        pointer: String,
    },
}

/// Reads a text whose nesting was checked.
///
/// # Errors
/// [`Error`]
pub(super) fn parse(text: &[u8]) -> Result<Value, Error> {
    let twice = RefCell::new(None);
    let mut reader = serde_json::Deserializer::from_slice(text);
    let place = Place { step: Step::Root, parent: None, twice: &twice };
    let read = place.deserialize(&mut reader).and_then(|it| reader.end().map(|()| it));
    read.map_err(|error| match twice.take() {
        Some(pointer) => Error::Twice { pointer },
        None => Error::Syntax(error),
    })
}

/// Where in the text a value stands; made into words only when it is wrong.
#[derive(Clone, Copy)]
struct Place<'a> {
    step: Step<'a>,
    parent: Option<&'a Self>,
    /// What was found to be there twice.
    twice: &'a RefCell<Option<String>>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Member(&'a str),
    Item(usize),
}

impl Place<'_> {
    fn pointer(&self) -> String {
        let before = self.parent.map(Place::pointer).unwrap_or_default();
        match self.step {
            Step::Root => before,
            Step::Member(name) => {
                format!("{before}/{}", name.replace('~', "~0").replace('/', "~1"))
            }
            Step::Item(index) => format!("{before}/{index}"),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Place<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut read = Vec::new();
        loop {
            let step = Step::Item(read.len());
            let place = Place { step, parent: Some(&self), twice: self.twice };
            let Some(item) = items.next_element_seed(place)? else { return Ok(read.into()) };
            read.push(item);
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut read = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let place = Place { step: Step::Member(&name), parent: Some(&self), twice: self.twice };
            if read.contains_key(&name) {
                *self.twice.borrow_mut() = Some(place.pointer());
                return Err(A::Error::custom("a member is given twice"));
            }
            let value = members.next_value_seed(place)?;
            read.insert(name, value);
        }
        Ok(read.into())
    }
}
