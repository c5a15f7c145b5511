//! The limits that [`crate::reading`] keeps, as the OpenAPI documents state them.
//!
//! Types for documents alone: nothing is made of them. Each stands for what one reader takes, in
//! the spelling that a new client should use; the older spellings are taken and not advertised.

#![expect(dead_code, reason = "schemas of the documents: nothing reads their members")]

use utoipa::ToSchema;

/// A text that names something: not blank, none of its characters control.
#[derive(Debug, ToSchema)]
#[schema(
    min_length = 1,
    max_length = 200,
    pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\x00-\x20\x7f-\xa0][^\x00-\x1f\x7f-\x9f]*$"
)]
pub struct Name(String);

/// Any text, none of its characters control.
#[derive(Debug, ToSchema)]
#[schema(max_length = 1000, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
pub struct Text(String);

/// A mail address, without a name and without quotes.
#[derive(Debug, ToSchema)]
#[schema(
    max_length = 320,
    pattern = r#"^[^\s\x00-\x1f\x7f-\x9f"(),:;<>@\[\\\]]{1,64}@[^\s\x00-\x1f\x7f-\x9f"(),:;<>@\[\\\]]{1,255}$"#
)]
pub struct MailAddress(String);

/// A number for calls and text messages.
#[derive(Debug, ToSchema)]
#[schema(max_length = 40, pattern = r"^\+?[ .()\-]*([0-9][ .()\-]*){3,15}$")]
pub struct PhoneNumber(String);

/// What a package weighs.
#[derive(Debug, ToSchema)]
#[schema(exclusive_minimum = 0, maximum = 1000000)]
pub struct Kilograms(f64);

/// The ordinal of a confirmation: `FingerPrint` 0, Picture 1, Voice 2, None 3.
#[derive(Debug, ToSchema)]
#[schema(minimum = 0, maximum = 3)]
pub struct ConfirmationOrdinal(u8);

/// A year of our calendar.
#[derive(Debug, ToSchema)]
#[schema(minimum = 1, maximum = 9998)]
pub struct Year(i16);

/// A month of a year.
#[derive(Debug, ToSchema)]
#[schema(minimum = 1, maximum = 12)]
pub struct Month(i8);

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use utoipa::PartialSchema;

    use super::*;
    use crate::{Body, month_range};

    fn schema<T: PartialSchema>() -> Value {
        serde_json::to_value(T::schema()).unwrap()
    }

    /// Reads a member that is as the schema says at its edge, and one that is beyond.
    #[track_caller]
    fn check<T>(read: impl Fn(&crate::Members<'_>) -> T, inside: &Value, outside: &Value) {
        for (value, fits) in [(inside, true), (outside, false)] {
            let content = json!({"member": value});
            let body = Body::new(&content);
            let read = read(&body.members());
            assert_eq!(body.finish(read).is_ok(), fits, "{value}");
        }
    }

    #[test]
    fn an_address_is_taken_up_to_the_length_that_the_documents_state() {
        let most = |it: Value| usize::try_from(it["maxLength"].as_u64().unwrap()).unwrap();
        let mail = |length: usize| json!(format!("{}@{}", "x".repeat(64), "y".repeat(length - 65)));
        let longest = most(schema::<MailAddress>());
        check(|it| it.optional_mail_address("member"), &mail(longest), &mail(longest + 1));
        let call = |length: usize| json!(format!("112{}", " ".repeat(length - 4)) + "0");
        let longest = most(schema::<PhoneNumber>());
        check(|it| it.optional_phone_number("member"), &call(longest), &call(longest + 1));
    }

    #[test]
    fn a_text_is_taken_up_to_the_length_that_the_documents_state() {
        let long = |it: &Value| usize::try_from(it["maxLength"].as_u64().unwrap()).unwrap();
        let text = |length: usize| json!("x".repeat(length));
        let name = schema::<Name>();
        let most = long(&name);
        check(|it| it.name("member"), &text(most), &text(most + 1));
        check(|it| it.name("member"), &text(1), &text(0));
        assert_eq!(name["minLength"], 1);
        let most = long(&schema::<Text>());
        check(|it| it.optional_text("member"), &text(most), &text(most + 1));
    }

    #[test]
    fn a_number_is_taken_within_the_bounds_that_the_documents_state() {
        let weight = schema::<Kilograms>();
        let most = weight["maximum"].as_f64().unwrap();
        check(|it| it.weight("member"), &json!(most), &json!(most + 1.0));
        check(|it| it.weight("member"), &json!(0.001), &weight["exclusiveMinimum"]);
        let read = |it: &crate::Members<'_>| it.word::<crate::ConfirmationType>("member");
        let most = schema::<ConfirmationOrdinal>()["maximum"].as_u64().unwrap();
        check(read, &json!(most), &json!(most + 1));
    }

    #[test]
    fn every_month_that_the_documents_state_is_one() {
        let (year, month) = (schema::<Year>(), schema::<Month>());
        let bound = |it: &Value, name: &str| i16::try_from(it[name].as_i64().unwrap()).unwrap();
        let month = |name| i8::try_from(bound(&month, name)).unwrap();
        let (first, last) = (bound(&year, "minimum"), bound(&year, "maximum"));
        assert!(month_range(first, month("minimum")).is_some());
        assert!(month_range(last, month("maximum")).is_some());
        assert!(month_range(first - 1, 1).is_none() && month_range(last + 1, 12).is_none());
        assert!(month_range(first, month("minimum") - 1).is_none());
        assert!(month_range(first, month("maximum") + 1).is_none());
    }
}
