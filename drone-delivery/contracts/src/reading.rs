//! Reading a JSON body as the original's clients write it, with every fault named at once.
//!
//! Property names match in any letter case, so an object that gives one in two spellings is wrong:
//! whoever reads after us might take the other (one spelling given twice is refused where the text is
//! parsed). Enumerations are read as ordinals or words; numbers and
//! flags also as text. A reader goes on after a fault with a harmless value, so that the caller
//! learns of all of them, and [`Body::finish`] gives the value only when there was none.

use std::{cell::RefCell, ops::RangeInclusive};

use base::{Timestamp, is_id};
use serde_json::{Map, Value};

use crate::{
    Location, Words,
    addresses::{is_mail_address, is_phone_number},
    parse_time,
};

/// Characters of any other text.
const TEXT_CHARS_MAX: usize = 1_000;
/// Kilograms; past it the number is a mistake.
const WEIGHT_KG_MAX: f64 = 1_000_000.0;

/// Times, in milliseconds since 1970: what is written with four digits of a year at any offset. An earlier
/// one is a slip, such as a number that was never set.
const TIMES_MS: RangeInclusive<i64> = 0..=253_402_207_199_999;

/// Where a body is wrong, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// JSON pointer, with the name as it is documented.
    pub pointer: String,
    /// What is wrong there.
    pub detail: String,
}

impl From<Fault> for (String, String) {
    fn from(fault: Fault) -> Self {
        (fault.pointer, fault.detail)
    }
}

/// A body that is being read.
#[derive(Debug)]
pub struct Body<'v> {
    value: &'v Value,
    faults: RefCell<Vec<Fault>>,
}

/// The members of one object in it.
#[derive(Debug)]
pub struct Members<'b> {
    object: Option<&'b Map<String, Value>>,
    faults: &'b RefCell<Vec<Fault>>,
    pointer: String,
}

impl<'v> Body<'v> {
    /// Starts to read.
    #[must_use]
    pub const fn new(value: &'v Value) -> Self {
        Self { value, faults: RefCell::new(Vec::new()) }
    }

    /// The value itself.
    #[must_use]
    pub const fn value(&self) -> &'v Value {
        self.value
    }

    /// The members of the body, which must be an object.
    pub fn members(&self) -> Members<'_> {
        let object = self.value.as_object();
        if object.is_none() {
            let detail = "an object is expected".to_owned();
            self.faults.borrow_mut().push(Fault { pointer: String::new(), detail });
        }
        Members::of(object, &self.faults, String::new())
    }

    /// Gives what was read, when nothing was wrong.
    ///
    /// # Errors
    /// Everything that was wrong.
    pub fn finish<T>(&self, read: T) -> Result<T, Vec<Fault>> {
        let faults = self.faults.take();
        if faults.is_empty() { Ok(read) } else { Err(faults) }
    }
}

impl<'b> Members<'b> {
    fn of(
        object: Option<&'b Map<String, Value>>,
        faults: &'b RefCell<Vec<Fault>>,
        pointer: String,
    ) -> Self {
        let members = Self { object, faults, pointer };
        if let Some((one, other)) = object.and_then(two_spellings) {
            members.fault(one, format!("this member is given twice, also as `{other}`"));
        }
        members
    }

    /// The member of that name, in any letter case; an explicit null counts as absent.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'b Value> {
        let object = self.object?;
        let found = object
            .get(name)
            .or_else(|| object.iter().find(|it| it.0.eq_ignore_ascii_case(name)).map(|it| it.1));
        found.filter(|it| !it.is_null())
    }

    /// Notes that a member is wrong.
    pub fn fault(&self, name: &str, detail: impl Into<String>) {
        // Below a body that is no object every member is missing; saying so once is enough.
        if self.object.is_some() {
            let pointer = format!("{}/{name}", self.pointer);
            let fault = Fault { pointer, detail: detail.into() };
            let mut faults = self.faults.borrow_mut();
            // An object may be read in two places.
            if !faults.contains(&fault) {
                faults.push(fault);
            }
        }
    }

    fn missing(&self, name: &str) {
        self.fault(name, "this member is required");
    }

    /// A text that names something: not blank, at most 200 characters, none of them control.
    #[must_use]
    pub fn name(&self, name: &str) -> String {
        let read = self.optional_name(name);
        if read.is_none() && self.get(name).is_none() {
            self.missing(name);
        }
        read.unwrap_or_default()
    }

    /// The same, or nothing.
    #[must_use]
    pub fn optional_name(&self, name: &str) -> Option<String> {
        let text = self.get(name)?.as_str();
        let read = text.filter(|it| is_id(it)).map(str::to_owned);
        if read.is_none() {
            self.fault(name, "a text of 1 to 200 characters is expected, none of them control");
        }
        read
    }

    /// Any text of at most 1,000 characters, none of them control, or nothing.
    #[must_use]
    pub fn optional_text(&self, name: &str) -> Option<String> {
        let text = self.get(name)?.as_str();
        let read = text.filter(|it| is_plain(it, TEXT_CHARS_MAX)).map(str::to_owned);
        if read.is_none() {
            self.fault(name, "a text of at most 1000 characters is expected, none of them control");
        }
        read
    }

    /// A mail address, or nothing. A blank text counts as nothing.
    #[must_use]
    pub fn optional_mail_address(&self, name: &str) -> Option<String> {
        self.optional_address(name, is_mail_address, "a mail address such as `ann@example.org`")
    }

    /// A number for calls and text messages, or nothing. A blank text counts as nothing.
    #[must_use]
    pub fn optional_phone_number(&self, name: &str) -> Option<String> {
        self.optional_address(name, is_phone_number, "a phone number such as `+358 40 123`")
    }

    fn optional_address(&self, name: &str, is_one: fn(&str) -> bool, what: &str) -> Option<String> {
        let text = self.optional_text(name)?;
        let given = Some(text.trim()).filter(|it| !it.is_empty())?;
        if is_one(given) {
            return Some(given.to_owned());
        }
        self.fault(name, format!("{what} is expected"));
        None
    }

    /// A finite number, also as text.
    #[must_use]
    pub fn number(&self, name: &str) -> f64 {
        let read = self.optional_number(name);
        if read.is_none() && self.get(name).is_none() {
            self.missing(name);
        }
        read.unwrap_or_default()
    }

    /// The same, or nothing.
    #[must_use]
    pub fn optional_number(&self, name: &str) -> Option<f64> {
        let value = self.get(name)?;
        let number = value.as_f64().or_else(|| short(value)?.parse().ok());
        let read = number.filter(|it| it.is_finite());
        if read.is_none() {
            self.fault(name, "a number is expected");
        }
        read
    }

    /// Kilograms: more than nothing.
    #[must_use]
    pub fn weight(&self, name: &str) -> f64 {
        let before = self.faults.borrow().len();
        let weight = self.number(name);
        let fits = weight > 0.0 && weight <= WEIGHT_KG_MAX;
        if !fits && self.faults.borrow().len() == before {
            self.fault(name, "kilograms are expected, more than 0 and at most 1000000");
        }
        weight
    }

    /// A whole number that is not negative, also as text, or nothing.
    #[must_use]
    pub fn optional_count(&self, name: &str) -> Option<u64> {
        let value = self.get(name)?;
        let read = value.as_u64().or_else(|| short(value)?.parse().ok());
        if read.is_none() {
            self.fault(name, "a whole number is expected, not negative");
        }
        read
    }

    /// A flag, also as text; `otherwise` when it is absent.
    #[must_use]
    pub fn flag_or(&self, name: &str, otherwise: bool) -> bool {
        let Some(value) = self.get(name) else { return otherwise };
        let word = || match short(value)?.to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        };
        value.as_bool().or_else(word).unwrap_or_else(|| {
            self.fault(name, "true or false is expected");
            otherwise
        })
    }

    /// A value of an enumeration, as ordinal or word.
    #[must_use]
    pub fn word<T: Words>(&self, name: &str) -> T {
        if self.get(name).is_none() {
            self.missing(name);
        }
        self.word_or(name, T::ALL[0].0)
    }

    /// The same; `otherwise` when it is absent.
    #[must_use]
    pub fn word_or<T: Words>(&self, name: &str, otherwise: T) -> T {
        let Some(value) = self.get(name) else { return otherwise };
        let of_text = |it: &str| T::from_word(it).or_else(|| T::from_ordinal(it.parse().ok()?));
        let read = value.as_u64().and_then(T::from_ordinal).or_else(|| of_text(short(value)?));
        read.unwrap_or_else(|| {
            self.fault(name, format!("{} is expected", T::WHAT));
            otherwise
        })
    }

    /// A point in time, or nothing. An empty text counts as nothing.
    #[must_use]
    pub fn optional_time(&self, name: &str) -> Option<Timestamp> {
        let value = self.get(name)?;
        if short(value).is_some_and(str::is_empty) {
            return None;
        }
        let of_number = || TIMES_MS.contains(&value.as_i64()?).then_some(value.as_i64()?);
        let of_text = || parse_time(short(value)?).map(Timestamp::as_millis);
        let millis = of_text().filter(|it| TIMES_MS.contains(it)).or_else(of_number);
        let read = millis.map(Timestamp::from_millis);
        if read.is_none() {
            let detail = "a time of the years 1970 to 9999 is expected: RFC 3339, or milliseconds since 1970";
            self.fault(name, detail);
        }
        read
    }

    /// A point on earth.
    #[must_use]
    pub fn location(&self, name: &str) -> Location {
        self.inner(name).as_location()
    }

    /// A point on earth, or nothing.
    #[must_use]
    pub fn optional_location(&self, name: &str) -> Option<Location> {
        self.optional_inner(name).map(|it| it.as_location())
    }

    /// These members as a point on earth.
    #[must_use]
    pub fn as_location(&self) -> Location {
        let before = self.faults.borrow().len();
        let location = Location {
            altitude: self.optional_number("altitude").unwrap_or(0.0),
            latitude: self.number("latitude"),
            longitude: self.number("longitude"),
        };
        if self.faults.borrow().len() == before && !location.is_valid() {
            self.fault("latitude", "a latitude is -90 to 90, a longitude -180 to 180 degrees");
        }
        location
    }

    /// The members of an object that stands here.
    #[must_use]
    pub fn inner(&self, name: &str) -> Self {
        let object = self.get(name).and_then(Value::as_object);
        match (object, self.get(name)) {
            (None, None) => self.missing(name),
            (None, Some(_)) => self.fault(name, "an object is expected"),
            (Some(_), _) => {}
        }
        Self::of(object, self.faults, format!("{}/{name}", self.pointer))
    }

    /// The same, or nothing when it is absent.
    #[must_use]
    pub fn optional_inner(&self, name: &str) -> Option<Self> {
        self.get(name).map(|_| self.inner(name))
    }
}

/// A value that is written as text. What surrounds it is no reason to keep it at any length.
fn short(value: &Value) -> Option<&str> {
    value.as_str().filter(|it| it.len() <= TEXT_CHARS_MAX).map(str::trim)
}

/// Two names of one member, when there are.
fn two_spellings(object: &Map<String, Value>) -> Option<(&str, &str)> {
    fn folded(name: &str) -> impl Iterator<Item = u8> {
        name.bytes().map(|it| it.to_ascii_lowercase())
    }
    let mut names: Vec<&str> = object.keys().map(String::as_str).collect();
    names.sort_by(|one, other| folded(one).cmp(folded(other)));
    names.windows(2).find(|it| it[0].eq_ignore_ascii_case(it[1])).map(|it| (it[0], it[1]))
}

fn is_plain(text: &str, chars_max: usize) -> bool {
    text.chars().count() <= chars_max && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::PackageSize;

    #[test]
    fn names_match_in_any_letter_case_and_null_is_absent() {
        let value = json!({"OWNERID": "o", "tag": null, "Size": 2, "heavy": " TRUE"});
        let body = Body::new(&value);
        let members = body.members();
        assert_eq!(members.name("ownerId"), "o");
        assert_eq!(members.optional_text("tag"), None);
        assert_eq!(members.word::<PackageSize>("size"), PackageSize::Large);
        assert!(members.flag_or("heavy", false));
        assert_eq!(body.finish(()), Ok(()));
    }

    #[test]
    fn what_is_wrong_is_named_where_it_stands() {
        let value = json!({"a": {"latitude": 99, "longitude": 1}, "w": -1, "n": "x\ny", "c": 1.5});
        let body = Body::new(&value);
        let members = body.members();
        let _read = (members.location("a"), members.weight("w"), members.name("n"));
        let _read = (members.optional_count("c"), members.inner("none"));
        let faults = body.finish(()).unwrap_err();
        let pointers: Vec<_> = faults.iter().map(|it| it.pointer.as_str()).collect();
        assert_eq!(pointers, ["/a/latitude", "/w", "/n", "/c", "/none"]);
    }

    #[test]
    fn a_body_that_is_no_object_has_one_fault() {
        let value = json!([1]);
        let body = Body::new(&value);
        drop(body.members().name("ownerId"));
        assert_eq!(body.finish(()).unwrap_err().len(), 1);
    }

    #[test]
    fn an_address_has_the_form_of_one_and_a_blank_one_is_none() {
        let value =
            json!({"mail": " a@b.c ", "sms": " ", "mailTo": "http://b", "call": "a@b.c", "n": 1});
        let body = Body::new(&value);
        let members = body.members();
        assert_eq!(members.optional_mail_address("mail").as_deref(), Some("a@b.c"));
        assert_eq!(members.optional_phone_number("sms"), None);
        let wrong =
            (members.optional_mail_address("mailTo"), members.optional_phone_number("call"));
        assert_eq!(wrong, (None, None));
        assert_eq!(members.optional_phone_number("n"), None);
        let pointers: Vec<_> =
            body.finish(()).unwrap_err().into_iter().map(|it| it.pointer).collect();
        assert_eq!(pointers, ["/mailTo", "/call", "/n"]);
    }

    #[test]
    fn a_time_is_read_as_text_or_milliseconds() {
        let value = json!({"iso": "2026-05-14T20:00:00Z", "ms": 1_778_789_400_500_i64, "none": ""});
        let body = Body::new(&value);
        let members = body.members();
        assert!(members.optional_time("iso").is_some());
        assert_eq!(members.optional_time("ms").unwrap().as_millis(), 1_778_789_400_500);
        assert_eq!(members.optional_time("none"), None);
        assert_eq!(body.finish(()), Ok(()));
    }

    #[test]
    fn a_time_is_of_the_same_years_in_either_form() {
        #[track_caller]
        fn check(value: &Value, fits: bool) {
            let value = json!({"at": value});
            let body = Body::new(&value);
            let read = body.members().optional_time("at");
            assert_eq!((read.is_some(), body.finish(()).is_ok()), (fits, fits), "{value}");
        }
        for (text, millis, fits) in [
            ("0000-01-01T00:00:00Z", -62_167_219_200_000_i64, false),
            ("1969-12-31T23:59:59.999Z", -1, false),
            ("1970-01-01T00:00:00Z", 0, true),
            ("9999-12-30T21:59:59.999Z", 253_402_207_199_999, true),
            ("9999-12-31T00:00:00Z", 253_402_214_400_000, false),
        ] {
            check(&json!(text), fits);
            check(&json!(millis), fits);
        }
        check(&json!(i64::MAX), false);
        check(&json!(i64::MIN), false);
    }

    #[test]
    fn a_member_in_two_spellings_is_named_and_wrong() {
        let value = json!({
            "ownerId": "o", "OWNERID": "p", "inner": {"Size": 1, "size": null}, "rest": 1,
        });
        let body = Body::new(&value);
        let members = body.members();
        // Read twice, said once.
        let _read = (body.members().name("ownerId"), members.inner("inner"));
        let faults = body.finish(()).unwrap_err();
        let said: Vec<_> =
            faults.iter().map(|it| format!("{} {}", it.pointer, it.detail)).collect();
        assert_eq!(
            said,
            [
                "/OWNERID this member is given twice, also as `ownerId`",
                "/inner/Size this member is given twice, also as `size`",
            ]
        );
    }
}
