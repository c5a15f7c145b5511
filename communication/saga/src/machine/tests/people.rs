//! Words from outside: cancels, follow-ups, what a person does.

use super::*;

#[test]
fn after_the_pivot_a_refused_step_is_parked_and_a_person_resumes_it() {
    let mut play = play(&[Done, Done, Done, Done, Refused]);
    assert_eq!(play.state.status(), Status::Parked);
    assert_eq!((play.undone().len(), play.alerts.len()), (0, 1));
    play.operate(Verb::Compensate);
    assert_eq!(play.state.status(), Status::Parked, "there is no way back behind the pivot");
    play.operate(Verb::Retry);
    play.run(&mut |_| Done);
    assert_eq!(play.state.status(), Status::Completed);
}

#[test]
fn a_person_may_resolve_what_is_parked_and_nothing_else() {
    let mut running = Play::new(definition());
    running.operate(Verb::Resolve);
    assert_eq!(running.state.status(), Status::Running);
    let mut parked = play(&[Done, Refused, Refused]);
    parked.operate(Verb::Resolve);
    assert_eq!(parked.state.status(), Status::Resolved);
    let acted = parked.history.iter().any(|(_, it)| {
        matches!(it, Record::OperatorActed(it) if it.actor == "ada" && it.reason == "looked into it")
    });
    assert!(acted, "the history names who and why");
}

#[test]
fn a_person_may_undo_a_running_saga_before_its_pivot() {
    let mut play = Play::new(definition());
    assert!(play.advance(&mut |_| Done));
    play.operate(Verb::Compensate);
    play.run(&mut |_| Done);
    assert_eq!(play.state.status(), Status::Compensated);
    assert_eq!(play.undone(), ["stock", "account"], "the call in flight is in doubt");
}

#[test]
fn a_cancel_before_the_pivot_lets_the_call_in_flight_end_and_undoes() {
    for before in 0..3 {
        let mut play = Play::new(definition());
        for _ in 0..before {
            play.advance(&mut |_| Done);
        }
        let call = play.effects.front().cloned();
        play.cancel(Some("s1/cancel"));
        assert_eq!(play.state.status(), Status::Running, "the call in flight is resolved first");
        play.effects.extend(call);
        play.run(&mut |_| Done);
        assert_eq!(play.state.status(), Status::Cancelled);
        assert_eq!(play.undone().len(), before + 1);
        assert!(play.started.is_empty());
        assert_eq!(play.dropped, ["s1/cancel"]);
    }
}

#[test]
fn a_cancel_while_waiting_for_the_next_try_acts_at_once() {
    let mut play = Play::new(definition());
    play.advance(&mut |_| Busy);
    play.cancel(None);
    assert_eq!(play.state.status(), Status::Aborting);
}

#[test]
fn a_cancel_that_loses_to_the_pivot_is_too_late_and_its_follow_up_is_started() {
    let mut play = Play::new(definition());
    for _ in 0..3 {
        play.advance(&mut |_| Done);
    }
    let call = play.effects.front().cloned();
    play.cancel(Some("s1/cancel"));
    play.effects.extend(call);
    play.run(&mut |_| Done);
    assert_eq!(play.state.status(), Status::Completed);
    assert_eq!(play.started, ["s1/cancel"]);
    assert_eq!(play.undone(), [""; 0]);
}

#[test]
fn a_cancel_never_undoes_an_unknown_pivot() {
    let mut play = Play::new(definition());
    for _ in 0..3 {
        play.advance(&mut |_| Done);
    }
    play.advance(&mut |_| Lost);
    play.cancel(Some("s1/cancel"));
    assert_eq!(play.state.status(), Status::Running);
    play.event(Event::Woken);
    play.run(&mut |_| Done);
    assert_eq!(play.state.status(), Status::Completed);
    assert_eq!(play.started, ["s1/cancel"]);
}

#[test]
fn a_cancel_of_a_completed_saga_starts_its_follow_up_at_once() {
    let mut play = play(&[]);
    play.cancel(Some("s1/cancel"));
    assert_eq!(play.state.status(), Status::Completed);
    assert_eq!(play.started, ["s1/cancel"]);
    let (id, start) = ("t".to_owned(), start("s1/move"));
    play.event(Event::Signalled(Signal { id, kind: SignalKind::Then { start } }));
    assert_eq!(play.started, ["s1/cancel", "s1/move"]);
}

#[test]
fn a_cancel_of_a_failed_saga_is_not_forgotten_when_another_try_would_help() {
    let mut play = Play::new(definition());
    while play.state.status() == Status::Running {
        play.advance(&mut |_| TimedOut);
    }
    assert!(play.state.may_be_handed_back(3));
    play.cancel(Some("s1/cancel"));
    assert!(!play.state.may_be_handed_back(3), "it would complete although it was cancelled");
    play.run(&mut |_| Done);
    assert_eq!(play.state.status(), Status::Cancelled);
    assert_eq!((play.started.len(), play.dropped.len()), (0, 1));
}
