//! The turn of a subject, the answer to what will not follow, and a step that parks.

use super::*;
use crate::definition::Condition;

fn arrive(place: Place) -> Play {
    let mut play = Play::new(definition());
    let accepted = {
        let saga = Saga { id: "s1", definition: &play.definition, input: &play.input };
        accept(&saga, place, moment(START_MS))
    };
    play.history.clear();
    play.effects.clear();
    play.take(accepted);
    play
}

#[test]
fn a_saga_that_waits_for_its_turn_calls_nobody_and_uses_up_no_time() {
    let mut play = arrive(Place::Behind);
    assert_eq!((play.state.status(), play.state.in_line()), (Status::Queued, InLine::Waiting));
    play.run(&mut |_| Done);
    assert!(play.calls.is_empty());
    play.now_ms += 3_600_000;
    play.event(Event::TurnCame);
    assert_eq!(play.state.in_line(), InLine::First);
    play.run(&mut |_| Done);
    assert_eq!(play.state.status(), Status::Completed);
    assert_eq!(play.state.in_line(), InLine::Outside);
}

#[test]
fn a_saga_that_is_turned_away_is_over_with_its_reason_and_without_a_call() {
    let mut play = arrive(Place::TurnedAway);
    play.run(&mut |_| Done);
    assert!(play.calls.is_empty());
    assert_eq!(play.state.status(), Status::Compensated);
    assert_eq!(play.state.cause().unwrap().code, "line_full");
}

#[test]
fn a_turn_that_comes_twice_comes_once() {
    let mut play = arrive(Place::Behind);
    play.event(Event::TurnCame);
    let records = play.history.len();
    play.event(Event::TurnCame);
    assert_eq!(play.history.len(), records);
}

#[test]
fn what_waits_for_a_person_forward_gives_its_turn_up_and_half_an_undo_keeps_it() {
    let forward = play(&[Done, Done, Done, Done, Refused]);
    assert_eq!(
        (forward.state.status(), forward.state.in_line()),
        (Status::Parked, InLine::Outside)
    );
    let undo = play(&[Done, Done, Done, Refused, Refused]);
    assert_eq!((undo.state.status(), undo.state.in_line()), (Status::Parked, InLine::First));
}

#[test]
fn every_word_that_will_not_be_followed_is_answered_by_a_record() {
    let mut play = Play::new(definition());
    play.advance(&mut |_| Done);
    play.cancel(Some("s1/cancel"));
    play.event(Event::Answered { flight: play.state.flight.unwrap(), result: Done.result() });
    play.event(Event::UndoBegun);
    assert_eq!(play.state.status(), Status::Compensating);
    // Another while it is being undone, and one after the end.
    let undo = play.state.flight.unwrap();
    play.cancel(Some("s1/cancel-2"));
    play.event(Event::Answered { flight: undo, result: Done.result() });
    play.run(&mut |_| Done);
    play.cancel(Some("s1/cancel-3"));
    assert_eq!(play.state.status(), Status::Cancelled);
    assert_eq!(play.dropped, ["s1/cancel", "s1/cancel-2", "s1/cancel-3"]);
    assert!(play.started.is_empty());
}

#[test]
fn a_follow_up_takes_the_definition_that_the_replies_ask_for() {
    for (equals, expected) in [(true, "other"), (false, "stop")] {
        let asked = Definition::builder("order", 1)
            .step(Step::compensable("ask", "s", Call::get("/ask")))
            .step(Step::pivot("p", "s", Call::put("/{{steps.ask.body.number}}")))
            .build()
            .unwrap();
        let mut play = Play::new(asked);
        play.run(&mut |_| Done);
        let (step, pointer) = ("ask".to_owned(), "/ok".to_owned());
        let when = vec![Condition { step, pointer, equals: equals.into() }];
        let instead = Some(Instead { when, definition: "other".to_owned() });
        let kind = SignalKind::Then { start: Start { instead, ..start("next") } };
        let saga = Saga { id: "s1", definition: &play.definition, input: &play.input };
        let word = Event::Signalled(Signal { id: "w".to_owned(), kind });
        let next = transition(&saga, play.state.clone(), word, moment(play.now_ms));
        let [Effect::Start(started)] = &next.effects[..] else { panic!("{:?}", next.effects) };
        assert_eq!((started.definition.as_str(), &started.instead), (expected, &None));
    }
}

fn decided_by_one() -> Play {
    let parks = Definition::builder("stop", 1)
        .complete_by_ms(5_000)
        .step(Step::pivot("decide", "s", Call::delete("/x")).attempts_max(1_000).parks())
        .build()
        .unwrap();
    Play::new(parks)
}

#[test]
fn a_step_that_parks_is_given_up_for_nothing_but_a_refusal() {
    for (answer, expected) in [
        (Refused, Status::Compensated),
        (Exception, Status::Parked),
        (Busy, Status::Parked),
        (NoConnection, Status::Parked),
    ] {
        let mut play = decided_by_one();
        play.run(&mut |_| answer);
        assert_eq!(play.state.status(), expected, "{answer:?}");
        assert!(play.calls.len() < 40, "{answer:?}: {} calls", play.calls.len());
    }
}

#[test]
fn a_person_gives_a_parked_step_fresh_time() {
    let mut play = decided_by_one();
    play.run(&mut |_| Busy);
    assert_eq!(play.state.status(), Status::Parked);
    play.operate(Verb::Retry);
    play.run(&mut |_| Done);
    assert_eq!(play.state.status(), Status::Completed);
}
