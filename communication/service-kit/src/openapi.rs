//! What every OpenAPI document of a service says, whoever wrote it: the parameters of its paths and
//! the answers that come from the kit and not from a handler.
//!
//! A service describes what it knows: its bodies and what its refusals mean. It cannot know what
//! the stack in front of it refuses, and nine copies of that would differ. So the document is
//! completed here, once, from the routes that are served. What a service said itself stays.

use base::{Code, headers::IDEMPOTENCY_KEY};
use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use crate::{
    problem::{self, status_of},
    routes::{MutatingRoute, Repetition},
    system::Audience,
};

/// An answer of the kit: the code decides the status.
type Answer = (Code, &'static str);

/// Whatever is asked.
const ALWAYS: [Answer; 6] = [
    (Code::InvalidRequest, "the path, the query, a header or the body is malformed"),
    (Code::TargetTooLong, "the target is longer than the limit"),
    (Code::HeadTooLarge, "the head has more fields or bytes than the limits"),
    (Code::Internal, "a defect of the service"),
    (Code::StoreUnavailable, "all places are taken, or the store cannot be asked"),
    (Code::DeadlineExpired, "the deadline passed; `deadline_expired` says that nothing was done"),
];
/// Where a body is taken.
const OF_BODIES: [Answer; 3] = [
    (Code::RequestTimeout, "the body did not arrive in time"),
    (Code::BodyTooLarge, "the body is longer than the limit"),
    (Code::UnsupportedMediaType, "the body is not called JSON"),
];
/// Where a path has a parameter.
const OF_PARAMETERS: [Answer; 1] = [(Code::NotFound, "nothing stands under that name")];
/// Where a change is made once for the key of a saga's step.
const OF_KEYS: [Answer; 2] = [
    (Code::Undone, "the step was undone before, or is another owner's by now"),
    (Code::BodyMismatch, "the key was used with another body"),
];
/// Where anybody may ask.
const OF_STRANGERS: [Answer; 1] = [(Code::Backlog, "all places are taken")];

/// Names of the parts that are added.
const PROBLEM: &str = "Problem";
const PROBLEM_REF: &str = "#/components/schemas/Problem";

/// Completes a document; what is no document stays as it is.
pub(crate) fn complete(document: &mut Value, rows: &[MutatingRoute], audience: Audience) {
    let Some(paths) = document.get_mut("paths").and_then(Value::as_object_mut) else { return };
    for (path, item) in paths {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            let is_keyed = rows.iter().any(|it| {
                it.path == path
                    && it.change.method().as_str().eq_ignore_ascii_case(method)
                    && it.repetition == Repetition::Keyed
            });
            if let Some(operation) = operation.as_object_mut().filter(|_| is_method(method)) {
                add_parameters(operation, path);
                if is_keyed {
                    add_key(operation);
                }
                add_answers(operation, &answers(operation, path, is_keyed, audience));
            }
        }
    }
    document["components"]["schemas"][PROBLEM] = problem::schema();
}

/// A path item has other members too.
fn is_method(name: &str) -> bool {
    let known = [Method::GET, Method::PUT, Method::POST, Method::PATCH, Method::DELETE];
    known.iter().any(|it| it.as_str().eq_ignore_ascii_case(name))
}

fn answers(
    operation: &Map<String, Value>,
    path: &str,
    is_keyed: bool,
    audience: Audience,
) -> Vec<Answer> {
    let mut all = ALWAYS.to_vec();
    if operation.contains_key("requestBody") {
        all.extend(OF_BODIES);
    }
    if parameters(path).next().is_some() {
        all.extend(OF_PARAMETERS);
    }
    if is_keyed {
        all.extend(OF_KEYS);
    }
    if audience == Audience::Public {
        all.extend(OF_STRANGERS);
    }
    all
}

/// The parameters of a template, in order.
fn parameters(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|it| it.strip_prefix('{')?.strip_suffix('}'))
}

/// What names something: not blank, none of its characters control.
const NAME: &str = r"^[^\x00-\x1f\x7f-\x9f]*[^\x00-\x20\x7f-\xa0][^\x00-\x1f\x7f-\x9f]*$";

/// Declares those that the service did not, as names of 1 to 200 characters.
fn add_parameters(operation: &mut Map<String, Value>, path: &str) {
    let declared = operation.entry("parameters").or_insert_with(|| json!([]));
    let Some(declared) = declared.as_array_mut() else { return };
    for name in parameters(path) {
        if !declared.iter().any(|it| it["in"] == "path" && it["name"] == name) {
            let schema =
                json!({"type": "string", "minLength": 1, "maxLength": 200, "pattern": NAME});
            declared.push(json!({"name": name, "in": "path", "required": true, "schema": schema}));
        }
    }
}

/// Declares the key of a change that is made once, where the service did not.
fn add_key(operation: &mut Map<String, Value>) {
    let declared = operation.entry("parameters").or_insert_with(|| json!([]));
    let Some(declared) = declared.as_array_mut() else { return };
    let is_key = |it: &Value| {
        it["in"] == "header"
            && it["name"].as_str().is_some_and(|it| it.eq_ignore_ascii_case(IDEMPOTENCY_KEY))
    };
    if !declared.iter().any(is_key) {
        declared.push(json!({"name": "Idempotency-Key", "in": "header", "required": false,
            "description": "the same key and body are one change, with the first reply",
            "schema": {"type": "string", "minLength": 1, "maxLength": 200}}));
    }
}

/// Adds the answers that the service did not name, and the form of all.
fn add_answers(operation: &mut Map<String, Value>, answers: &[Answer]) {
    let responses = operation.entry("responses").or_insert_with(|| json!({}));
    let Some(responses) = responses.as_object_mut() else { return };
    for (code, meaning) in answers {
        let status = status_of(*code).as_str().to_owned();
        responses.entry(status).or_insert_with(|| json!({"description": meaning}));
    }
    for (status, response) in responses {
        let status = status.parse::<StatusCode>().unwrap_or_default();
        let usual = status.canonical_reason().unwrap_or("as asked");
        if response["description"].as_str().is_none_or(str::is_empty) {
            response["description"] = usual.into();
        }
        if status.is_client_error() || status.is_server_error() {
            response["content"] = json!({problem::CONTENT_TYPE: {"schema": {"$ref": PROBLEM_REF}}});
        }
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            response["headers"]["Retry-After"] = json!({
                "description": "seconds until it is worth asking again",
                "schema": {"type": "integer", "minimum": 1}});
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::{Change, Sample, SampleCall};

    fn row(change: Change, path: &'static str) -> MutatingRoute {
        let sample = |_| {
            let call = SampleCall::new(Method::PUT, "/", None);
            Sample { before: vec![], call, other_body: None, undo: None }
        };
        MutatingRoute { change, path, repetition: Repetition::Keyed, sample }
    }

    fn completed(audience: Audience) -> Value {
        let mut document = json!({"openapi": "3.1.0", "paths": {
            "/orders/{id}": {
                "summary": "orders",
                "get": {"responses": {"200": {}, "404": {"description": "no such order"}}},
                "put": {"requestBody": {}, "responses": {"204": {"description": "done"}},
                    "parameters": [{"name": "id", "in": "path", "schema": {"type": "integer"}}]},
            },
            "/orders": {"get": {}},
        }});
        complete(&mut document, &[row(Change::Put, "/orders/{id}")], audience);
        document
    }

    #[track_caller]
    fn check(operation: &Value, expected: &[u16]) {
        let found: Vec<u16> = operation["responses"]
            .as_object()
            .unwrap()
            .keys()
            .map(|it| it.parse().unwrap())
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn each_route_gets_the_answers_that_its_shape_can_have() {
        let paths = &completed(Audience::Operators)["paths"];
        check(&paths["/orders"]["get"], &[400, 414, 431, 500, 503, 504]);
        check(&paths["/orders/{id}"]["get"], &[200, 400, 404, 414, 431, 500, 503, 504]);
        let put = [204, 400, 404, 408, 409, 413, 414, 415, 422, 431, 500, 503, 504];
        check(&paths["/orders/{id}"]["put"], &put);
        let public = &completed(Audience::Public)["paths"];
        check(&public["/orders"]["get"], &[400, 414, 429, 431, 500, 503, 504]);
    }

    #[test]
    fn what_the_service_said_stays_and_what_it_left_out_is_said() {
        let document = completed(Audience::Operators);
        let get = &document["paths"]["/orders/{id}"]["get"];
        assert_eq!(get["responses"]["200"]["description"], "OK");
        assert_eq!(get["responses"]["404"]["description"], "no such order");
        assert_eq!(get["parameters"][0]["name"], "id");
        let put = &document["paths"]["/orders/{id}"]["put"];
        assert_eq!(put["parameters"].as_array().unwrap().len(), 2);
        assert_eq!(put["parameters"][0]["schema"]["type"], "integer");
        assert_eq!(document["paths"]["/orders/{id}"]["summary"], "orders");
    }

    #[test]
    fn a_change_that_is_made_once_for_its_key_says_so_and_no_other_does() {
        let document = completed(Audience::Operators);
        let operations = &document["paths"]["/orders/{id}"];
        let keys = |it: &Value| {
            let all = it["parameters"].as_array().unwrap().iter();
            all.filter(|it| it["name"] == "Idempotency-Key" && it["in"] == "header").count()
        };
        assert_eq!((keys(&operations["put"]), keys(&operations["get"])), (1, 0));
        assert!(operations["put"]["responses"]["422"].is_object());
    }

    #[test]
    fn every_refusal_has_the_form_of_a_problem() {
        let document = completed(Audience::Operators);
        for status in ["400", "404", "503"] {
            let refusal = &document["paths"]["/orders/{id}"]["get"]["responses"][status];
            assert_eq!(refusal["content"][problem::CONTENT_TYPE]["schema"]["$ref"], PROBLEM_REF);
        }
        let members = &document["components"]["schemas"][PROBLEM]["properties"];
        assert!(members["code"].is_object() && members["errors"].is_object(), "{members}");
    }

    #[test]
    fn what_is_no_document_stays_as_it_is() {
        let mut text = json!("a document");
        complete(&mut text, &[], Audience::Public);
        assert_eq!(text, "a document");
    }
}
