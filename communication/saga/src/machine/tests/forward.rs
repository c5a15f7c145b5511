//! The way forward: retries, waits, the pivot, what comes after it.

use super::*;

#[test]
fn a_saga_whose_steps_are_all_done_completes() {
    check(&[Done, Done, Done, Done, Done], Status::Completed, &[]);
    assert_eq!(play(&[]).calls.len(), 5);
}

#[test]
fn an_exception_gets_no_second_call_and_leaves_the_step_in_doubt() {
    let play = play(&[Done, Exception]);
    assert_eq!(play.calls, ["do account", "do stock", "undo stock", "undo account"]);
    assert_eq!(play.state.cause().unwrap().kind, CauseKind::Refused);
}

#[test]
fn a_transient_failure_is_retried_and_completes() {
    for failure in [Busy, TimedOut, Lost, NoConnection] {
        check(&[failure, failure, failure, Done], Status::Completed, &[]);
    }
}

#[test]
fn a_service_that_is_busy_for_ever_is_undone_at_complete_by() {
    let mut play = Play::new(definition());
    play.run(&mut |call| match (call.flight.step, call.flight.direction) {
        (1, Direction::Do) => Busy,
        _ => Done,
    });
    assert_eq!(play.state.status(), Status::Compensated);
    assert_eq!(play.state.cause().unwrap().kind, CauseKind::CompleteBy);
    assert_eq!(play.undone(), ["stock", "account"]);
    let asked = play.calls.iter().filter(|it| *it == "do stock").count();
    assert!((4..30).contains(&asked), "{asked}");
    let took = play.now_ms - START_MS;
    assert!((60_000..62_100).contains(&took), "{took} ms");
}

#[test]
fn a_wish_to_wait_is_honoured() {
    let mut play = Play::new(definition());
    let Some(Effect::Call(call)) = play.effects.pop_front() else { panic!("no call") };
    let busy = CallResult::replied(503, Value::Null).retry_after(Duration::from_secs(7));
    play.event(Event::Answered { flight: call.flight, result: busy });
    let until = Monotonic::from_millis(START_MS + 7_000);
    assert_eq!(play.effects, [Effect::WakeAt(until)]);
}

#[test]
fn an_unknown_pivot_is_repeated_until_known_and_never_undone() {
    let mut lost = 0;
    let mut play = Play::new(definition());
    play.run(&mut |call| {
        if call.flight.step == 3 && lost < 40 {
            lost += 1;
            // Neither silence nor exceptions nor a busy service break the silence of the first.
            return [Lost, TimedOut, Exception, Busy][lost % 4];
        }
        Done
    });
    assert_eq!(play.state.status(), Status::Completed);
    assert_eq!(play.undone(), [""; 0]);
    assert_eq!(play.alerts.len(), 1, "{:?}", play.alerts);
    assert!(play.now_ms - START_MS > 60_000, "complete-by does not end it");
}

#[test]
fn a_refusal_breaks_the_silence_about_the_pivot() {
    let all = ["order", "carrier", "stock", "account"];
    check(&[Done, Done, Done, Lost, Refused], Status::Compensated, &all);
}

#[test]
fn a_pivot_that_was_never_reached_is_neither_waited_for_nor_undone() {
    let answers = [Done, Done, Done, NoConnection, NoConnection, NoConnection, NoConnection];
    check(&answers, Status::Compensated, &["carrier", "stock", "account"]);
}

#[test]
fn a_pivot_that_one_call_of_many_reached_is_undone() {
    // Silence is ended by a refusal alone; that a service is busy counts as no failure.
    for (seen, last) in [(Busy, NoConnection), (Lost, Refused)] {
        let tries = [NoConnection, seen, NoConnection, NoConnection, last];
        let answers = [&[Done, Done, Done], &tries[..]].concat();
        check(&answers, Status::Compensated, &["order", "carrier", "stock", "account"]);
    }
}

/// Whoever takes over cannot know whether the owner before had a call under way.
#[test]
fn a_pivot_that_nobody_is_known_to_have_reached_is_undone_after_a_take_over() {
    let mut play = Play::new(definition());
    for answer in [Done, Done, Done, NoConnection] {
        play.advance(&mut |_| answer);
    }
    play.event(Event::Claimed { was_owned: true });
    play.run(&mut |call| if call.flight.step == 3 { Refused } else { Done });
    assert_eq!(play.undone()[0], "order");
}

#[test]
fn a_service_that_is_gone_for_good_when_the_pivot_is_due_leaves_nothing_to_a_person() {
    let mut play = Play::new(definition());
    play.run(&mut |call| if call.flight.step == 3 { NoConnection } else { Done });
    assert_eq!(play.state.status(), Status::Compensated, "{:?}", play.state);
    assert_eq!(play.alerts, [""; 0]);
}

#[test]
fn after_the_pivot_a_step_is_repeated_past_its_attempts_with_one_alert() {
    let mut failures = 0;
    let mut play = Play::new(definition());
    play.run(&mut |call| {
        failures += u32::from(call.flight.step == 4);
        if call.flight.step == 4 && failures < 50 { NoConnection } else { Done }
    });
    assert_eq!(play.state.status(), Status::Completed);
    assert_eq!(play.alerts.len(), 1);
}

#[test]
fn a_step_is_left_out_when_an_earlier_reply_says_so() {
    let skips = Definition::builder("order", 1)
        .step(Step::compensable("ask", "stock", Call::get("/ask")))
        .step(
            Step::compensable("own", "stock", Call::put("/own"))
                .undo(Call::delete("/own"))
                .skip_when("ask", "/ok", true),
        )
        .step(Step::pivot(
            "order",
            "orders",
            Call::put("/o")
                .body(json!({"by": "{{steps.own.body.number ?? steps.ask.body.number}}"})),
        ))
        .build()
        .unwrap();
    let mut play = Play::new(skips);
    let mut bodies = Vec::new();
    play.run(&mut |call| {
        bodies.push(call.request.body.clone());
        Done
    });
    assert_eq!(play.calls, ["do ask", "do order"]);
    assert_eq!(bodies[1], Some(json!({"by": 7})));
}

#[test]
fn a_step_is_done_only_when_an_earlier_reply_asks_for_it_and_not_when_that_was_left_out() {
    for (skip_asking, equals, expected) in [
        (false, true, &["do see", "do ask", "do other", "do order"][..]),
        (false, false, &["do see", "do ask", "do order"][..]),
        (true, true, &["do see", "do order"][..]),
    ] {
        let asks = Step::compensable("ask", "s", Call::get("/ask"));
        let other = Step::compensable("other", "s", Call::put("/x")).undo(Call::delete("/x"));
        let document = Definition::builder("order", 1)
            .step(Step::compensable("see", "s", Call::get("/see")))
            .step(asks.skip_when("see", "/ok", skip_asking))
            .step(other.do_when("ask", "/ok", equals))
            .step(Step::pivot("order", "orders", Call::put("/o")))
            .build()
            .unwrap();
        let mut play = Play::new(document);
        play.run(&mut |_| Done);
        assert_eq!(play.calls, expected, "{skip_asking} {equals}");
        assert_eq!(play.state.status(), Status::Completed);
    }
}

#[test]
fn an_input_that_does_not_fill_the_call_is_refused_without_a_call() {
    let needs = Definition::builder("order", 1)
        .step(Step::pivot("p", "s", Call::put("/p/{{input.absent}}")))
        .build()
        .unwrap();
    let mut play = Play::new(needs);
    play.run(&mut |_| Done);
    assert!(play.calls.is_empty());
    assert_eq!(play.state.cause().unwrap().code, "unrenderable");
    assert_eq!(play.state.status(), Status::Compensated);
}

#[test]
fn after_the_pivot_a_service_that_is_busy_for_ever_is_told_to_a_person_once() {
    let mut play = Play::new(definition());
    let mut busy = 40;
    play.run(&mut |call| {
        busy -= i32::from(call.flight.step == 4);
        if call.flight.step == 4 && busy > 0 { Busy } else { Done }
    });
    assert_eq!(play.state.status(), Status::Completed);
    assert_eq!(play.alerts, ["the time was up, and `mail` is not done yet"]);
}
