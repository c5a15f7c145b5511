//! Owners that come and go: time, doubt, hand-backs, answers that are nobody's.

use super::*;

#[test]
fn a_transiently_failed_saga_is_handed_back_with_fresh_time_and_its_doubt() {
    let mut play = Play::new(definition());
    play.advance(&mut |_| Done);
    while play.state.status() == Status::Running {
        play.advance(&mut |_| TimedOut);
    }
    assert!(play.state.may_be_handed_back(3));
    assert!(!play.state.may_be_handed_back(0));
    play.event(Event::HandedBack);
    assert_eq!(play.state.status(), Status::Running);
    assert_eq!(play.state.budget.left_ms(Monotonic::from_millis(play.now_ms)), 60_000);
    play.event(Event::Claimed { was_owned: false });
    let mut silent = 0;
    play.run(&mut |call| {
        silent += 1;
        // The second step was in doubt before it was handed back, so it must still be undone.
        if call.flight.step == 1 && silent == 1 { Refused } else { Done }
    });
    assert_eq!(play.state.status(), Status::Compensated);
    assert_eq!(play.undone(), ["stock", "account"]);
}

#[test]
fn a_saga_whose_time_is_up_is_not_handed_back() {
    let mut play = Play::new(definition());
    while play.state.status() == Status::Running {
        play.advance(&mut |_| Busy);
    }
    assert!(!play.state.may_be_handed_back(3));
}

#[test]
fn time_without_an_owner_does_not_count() {
    let mut play = Play::new(definition());
    play.advance(&mut |_| Done);
    let before = play.state.budget.left_ms(Monotonic::from_millis(play.now_ms));
    play.now_ms += 3_600_000;
    play.event(Event::Claimed { was_owned: true });
    let after = play.state.budget.left_ms(Monotonic::from_millis(play.now_ms));
    assert_eq!(before - after, 3_000, "one lease is counted");
    play.run(&mut |_| Done);
    assert_eq!(play.state.status(), Status::Completed);
}

#[test]
fn a_crash_after_any_record_leads_to_an_end_that_the_run_without_it_allows() {
    for (answers, allowed) in [
        (&[][..], Status::Completed),
        (&[Done, Busy, Done, Lost, Done, TimedOut], Status::Completed),
        (&[Done, Done, Refused, Busy, Done], Status::Compensated),
    ] {
        let whole = play(answers);
        for kept in 1..=whole.history.len() {
            let mut play = Play::new(definition());
            play.effects.clear();
            play.history = whole.history[..kept].to_vec();
            play.now_ms = play.history.last().unwrap().0.monotonic.as_millis() + 3_500;
            play.state = State::of(&play.definition, &play.history).unwrap();
            play.event(Event::Claimed { was_owned: true });
            let refused = allowed == Status::Compensated;
            play.run(&mut |call| match call.flight {
                Flight { step: 2, direction: Direction::Do, .. } if refused => Refused,
                _ => Done,
            });
            assert_eq!(play.state.status(), allowed, "after {kept} records of {answers:?}");
        }
    }
}

#[test]
fn who_takes_over_treats_the_step_at_hand_as_in_doubt() {
    let mut play = Play::new(definition());
    play.advance(&mut |_| Done);
    play.event(Event::Claimed { was_owned: true });
    play.run(&mut |call| if call.flight.step == 1 { Refused } else { Done });
    assert_eq!(play.undone()[0], "stock");
}

#[test]
fn a_stale_epoch_stops_the_owner_without_a_record() {
    let mut play = Play::new(definition());
    let records = play.history.len();
    play.advance(&mut |_| Stale);
    assert!(play.stopped);
    assert_eq!(play.history.len(), records);
    assert!(play.effects.is_empty());
}

#[test]
fn an_answer_to_an_earlier_attempt_is_nobodys() {
    let mut play = Play::new(definition());
    let Some(Effect::Call(first)) = play.effects.pop_front() else { panic!("no call") };
    play.event(Event::Answered { flight: first.flight, result: TimedOut.result() });
    play.advance(&mut |_| Done);
    let before = play.history.len();
    play.event(Event::Answered { flight: first.flight, result: Refused.result() });
    assert_eq!(play.history.len(), before);
    assert_eq!(play.state.status(), Status::Running);
}
