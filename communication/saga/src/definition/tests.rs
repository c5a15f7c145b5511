use serde_json::json;

use super::*;

fn good() -> Value {
    json!({
        "name": "order", "version": 3,
        "steps": [
            {"name": "stock", "service": "stock", "kind": "compensable",
             "call": {"method": "PUT", "path": "/stock/{{input.id}}", "body": {"count": "{{input.count}}"}},
             "undo": {"call": {"method": "DELETE", "path": "/stock/{{input.id}}"}}},
            {"name": "order", "service": "orders", "kind": "pivot",
             "call": {"method": "PUT", "path": "/orders/{{saga.id}}",
                      "body": {"shelf": "{{steps.stock.body.shelf}}", "note": "for {{input.owner}}"}}}
        ]
    })
}

/// The good document with one place changed.
fn with(pointer: &str, value: Value) -> Value {
    let mut document = good();
    let (parent, member) = pointer.rsplit_once('/').unwrap();
    document.pointer_mut(parent).unwrap()[member] = value;
    document
}

#[track_caller]
fn check(document: &Value, expected: &[&str]) {
    match Definition::from_json(&document.to_string()) {
        Ok(_) => assert!(expected.is_empty(), "accepted, expected {expected:?}"),
        Err(DefinitionError::Malformed { detail }) => {
            assert_eq!(expected, ["malformed"], "{detail}")
        }
        Err(DefinitionError::Invalid { problems }) => {
            let pointers: Vec<&str> = problems.iter().map(|it| it.pointer.as_str()).collect();
            assert_eq!(pointers, expected, "{problems:?}");
        }
    }
}

#[test]
fn a_definition_that_does_not_hold_together_is_refused_at_the_place() {
    check(&good(), &[]);
    check(&with("/name", json!("Order 1")), &["/name"]);
    check(&with("/complete_by_ms", json!(0)), &["/complete_by_ms"]);
    check(&with("/steps", json!([])), &["/steps"]);
    check(&with("/steps/0/name", json!("a/b")), &["/steps/0/name", "/steps/1/call/body"]);
    check(&with("/steps/0/kind", json!("pivot")), &["/steps/1/kind"]);
    check(&with("/steps/0/kind", json!("retriable")), &["/steps/0/kind", "/steps/0/undo"]);
    check(&with("/steps/0/undo", Value::Null), &["/steps/0/undo"]);
    check(&with("/steps/0/call/method", json!("TRACE")), &["/steps/0/call/method"]);
    check(&with("/steps/0/call/path", json!("stock")), &["/steps/0/call/path"]);
    check(&with("/steps/0/call/path", json!("/{{input.id")), &["/steps/0/call/path"]);
    check(&with("/steps/0/call/path", json!("/{{output.id}}")), &["/steps/0/call/path"]);
    check(&with("/steps/0/call/success", json!([503])), &["/steps/0/call/success"]);
    check(&with("/steps/0/attempts_max", json!(0)), &["/steps/0/attempts_max"]);
    check(&with("/steps/0/backoff", json!({"factor": 0})), &["/steps/0/backoff"]);
    check(&with("/steps/0/call/body", json!("{{steps.order.body}}")), &["/steps/0/call"]);
    check(
        &with("/steps/0/undo/call/path", json!("/{{steps.stock.body.id}}")),
        &["/steps/0/undo/call"],
    );
    check(&with("/steps/0/undo/call/path", json!("/{{steps.stock.body.id ?? input.id}}")), &[]);
    check(&with("/steps/0/surprise", json!(1)), &["malformed"]);
}

#[test]
fn a_step_that_may_be_left_out_needs_an_alternative_where_it_is_used() {
    let skip = json!({"step": "ask", "pointer": "/own", "equals": false});
    let ask = json!({"name": "ask", "service": "s", "kind": "compensable",
                     "call": {"method": "GET", "path": "/ask"}});
    let mut document = with("/steps/0/skip_when", skip);
    document["steps"].as_array_mut().unwrap().insert(0, ask);
    check(&document, &["/steps/2/call"]);
    document["steps"][2]["call"]["body"]["shelf"] = json!("{{steps.stock.body.shelf ?? null}}");
    check(&document, &[]);
    document["steps"][1]["skip_when"]["step"] = json!("order");
    check(&document, &["/steps/1/skip_when/step"]);
}

#[test]
fn a_step_that_is_done_only_when_asked_for_asks_an_earlier_one_and_needs_an_alternative_too() {
    let only = json!({"step": "ask", "pointer": "/own", "equals": true});
    let ask = json!({"name": "ask", "service": "s", "kind": "compensable",
                     "call": {"method": "GET", "path": "/ask"}});
    let mut document = with("/steps/0/do_when", only);
    check(&document, &["/steps/0/do_when/step", "/steps/1/call"]);
    document["steps"].as_array_mut().unwrap().insert(0, ask);
    document["steps"][2]["call"]["body"]["shelf"] = json!("{{steps.stock.body.shelf ?? null}}");
    check(&document, &[]);
    let built = Definition::from_json(&document.to_string()).unwrap();
    assert!(built.compiled[0].output_is_used, "what is asked is kept");
}

#[test]
fn every_problem_is_listed_not_just_the_first() {
    let mut document = with("/steps/0/undo", Value::Null);
    document["name"] = json!("");
    document["steps"][1]["timeout_ms"] = json!(0);
    let problems = Definition::from_json(&document.to_string()).unwrap_err().to_string();
    for place in ["/name: ", "/steps/0/undo: ", "/steps/1/timeout_ms: "] {
        assert!(problems.contains(place), "{problems}");
    }
}

#[test]
fn code_and_document_give_the_same_hash_with_defaults_written_or_left_out() {
    let built = Definition::builder("order", 3)
        .step(
            Step::compensable(
                "stock",
                "stock",
                Call::put("/stock/{{input.id}}").body(json!({"count": "{{input.count}}"})),
            )
            .undo(Call::delete("/stock/{{input.id}}")),
        )
        .step(Step::pivot(
            "order",
            "orders",
            Call::put("/orders/{{saga.id}}").body(
                json!({"note": "for {{input.owner}}", "shelf": "{{steps.stock.body.shelf}}"}),
            ),
        ))
        .build()
        .unwrap();
    let read = Definition::from_json(&good().to_string()).unwrap();
    assert_eq!(built, read);
    assert_eq!(built.hash().len(), 64);
    let again = Definition::from_json(&built.to_json()).unwrap();
    assert_eq!(again.hash(), read.hash(), "the stored form has every default written out");
    let other = Definition::from_json(&with("/version", json!(4)).to_string()).unwrap();
    assert_ne!(other.hash(), read.hash());
}

#[test]
fn the_hash_does_not_hang_on_the_order_of_members() {
    let forward: Value =
        serde_json::from_str(r#"{"a": 1, "b": {"c": [1, null], "d": "x"}}"#).unwrap();
    let back: Value = serde_json::from_str(r#"{"b": {"d": "x", "c": [1, null]}, "a": 1}"#).unwrap();
    assert_eq!(hash_of(&forward), hash_of(&back));
    assert_ne!(hash_of(&forward), hash_of(&json!({"a": 1})));
}

#[test]
fn the_settings_that_nobody_gave_are_the_agreed_ones() {
    let read = Definition::from_json(&good().to_string()).unwrap();
    let step = &read.steps()[0];
    assert_eq!(read.document().complete_by_ms, 60_000);
    assert_eq!((step.attempts_max, step.timeout_ms), (4, 2_000));
    let ceilings = [1, 2, 3, 4, 9].map(|it| step.backoff.backoff().ceiling(it).as_millis());
    assert_eq!(ceilings, [100, 400, 1_600, 6_400, 30_000]);
}

struct Values {
    input: Value,
    stock: Option<Value>,
}

impl Scope for Values {
    fn saga_id(&self) -> &str {
        "a/b c"
    }

    fn input(&self) -> &Value {
        &self.input
    }

    fn output(&self, step: usize) -> Option<&Value> {
        self.stock.as_ref().filter(|_| step == 0)
    }
}

#[track_caller]
fn render(call: &Call, input: Value) -> Result<Rendered, Unrenderable> {
    let position = |name: &str| (name == "stock").then_some(0);
    let template = CallTemplate::read(call, &position).unwrap();
    template.render(&Values { input, stock: Some(json!({"shelf": [4, 5]})) })
}

#[test]
fn a_string_that_is_one_placeholder_becomes_the_value_and_others_become_text() {
    let body = json!({
        "whole": "{{input.count}}", "text": "n={{input.count}} {{input.name}}{{input.none ?? null}}",
        "list": ["{{ steps.stock.body.shelf }}", "{{steps.stock.body.shelf.1}}"],
        "else": "{{input.none ?? steps.stock.body.none ?? saga.id}}", "plain": 1
    });
    let rendered = render(&Call::put("/x").body(body), json!({"count": 3, "name": "ü"})).unwrap();
    let expected = json!({
        "whole": 3, "text": "n=3 ü", "list": [[4, 5], 5], "else": "a/b c", "plain": 1
    });
    assert_eq!(rendered.body, Some(expected));
}

#[test]
fn parts_of_a_path_are_percent_encoded() {
    let call = Call::get("/a/{{saga.id}}?owner={{input.owner}}");
    let rendered = render(&call, json!({"owner": "x&y=ü"})).unwrap();
    assert_eq!(rendered.path, "/a/a%2Fb%20c?owner=x%26y%3D%C3%BC");
}

#[test]
fn a_value_that_would_address_another_resource_is_refused() {
    for value in [json!(""), json!("."), json!(".."), json!(null), json!([1]), json!({})] {
        let refused = render(&Call::delete("/a/{{input.id}}"), json!({"id": value}));
        assert!(matches!(refused, Err(Unrenderable::NoPathPart { .. })), "{value}");
    }
    let missing = render(&Call::delete("/a/{{input.id}}"), json!({}));
    assert!(matches!(missing, Err(Unrenderable::Missing { .. })));
}

/// One whose undo looks and takes nothing back.
fn looks() -> Value {
    with("/steps/0/undo", json!({"call": {"method": "GET", "path": "/stock/{{input.id}}"}}))
}

#[test]
fn an_undo_that_only_reads_is_refused_for_a_step_that_changes_something() {
    check(&looks(), &["/steps/0/undo"]);
    let mut reads = looks();
    reads["steps"][0]["call"] = json!({"method": "GET", "path": "/stock"});
    check(&reads, &[]);
}

#[test]
fn a_definition_from_before_a_rule_is_read_for_the_sagas_that_are_pinned_to_it() {
    let stored = Definition::from_stored(&looks().to_string()).unwrap();
    assert_eq!(stored.name(), "order");
    let broken = with("/steps/0/call/path", json!("stock"));
    assert!(Definition::from_stored(&broken.to_string()).is_err(), "the machine cannot run it");
}

#[test]
fn only_a_pivot_at_the_beginning_may_be_parked_instead_of_given_up() {
    check(&with("/steps/1/when_it_fails", json!("park")), &["/steps/1/when_it_fails"]);
    let mut first = with("/steps/1/when_it_fails", json!("park"));
    first["steps"].as_array_mut().unwrap().remove(0);
    first["steps"][0]["call"]["body"] = Value::Null;
    check(&first, &[]);
}
