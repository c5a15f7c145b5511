//! The way back: what is undone, in which order, and what is given up.

use super::*;

#[test]
fn a_refused_step_undoes_the_done_ones_in_reverse() {
    check(&[Refused], Status::Compensated, &[]);
    check(&[Done, Refused], Status::Compensated, &["account"]);
    check(&[Done, Done, Refused], Status::Compensated, &["stock", "account"]);
}

#[test]
fn a_refused_pivot_is_undone_as_in_doubt_with_all_before_it() {
    let all = ["order", "carrier", "stock", "account"];
    check(&[Done, Done, Done, Refused], Status::Compensated, &all);
    check(&[Done, Done, Done, Exception], Status::Compensated, &all);
}

#[test]
fn a_step_that_fails_as_often_as_it_may_is_undone_when_in_doubt() {
    check(
        &[Done, TimedOut, TimedOut, TimedOut, TimedOut],
        Status::Compensated,
        &["stock", "account"],
    );
    check(&[Done, Lost, Lost, Lost, Lost], Status::Compensated, &["stock", "account"]);
    check(
        &[Done, NoConnection, NoConnection, NoConnection, NoConnection],
        Status::Compensated,
        &["account"],
    );
    let failed = play(&[NoConnection, NoConnection, NoConnection, NoConnection]);
    let cause = failed.state.cause().unwrap();
    assert_eq!((cause.kind, cause.attempts), (CauseKind::Attempts, 4));
}

#[test]
fn one_attempt_in_doubt_is_enough_for_the_undo() {
    let answers = [Done, Lost, NoConnection, NoConnection, NoConnection];
    check(&answers, Status::Compensated, &["stock", "account"]);
}

#[test]
fn a_failing_undo_never_blocks_the_others_and_is_parked_for_a_person() {
    let mut play = Play::new(definition());
    play.run(&mut |call| match (call.flight.step, call.flight.direction) {
        (2, Direction::Do) => Refused,
        (1, Direction::Undo) => Busy,
        _ => Done,
    });
    assert_eq!(play.state.status(), Status::Parked);
    assert_eq!(play.undone()[..2], ["stock", "account"]);
    assert_eq!(play.undone().iter().filter(|it| **it == "stock").count(), 12);
    assert_eq!(play.alerts, ["undo of `stock`: http_503"]);
    for verb in [Verb::Retry, Verb::Compensate] {
        let mut again = play.clone();
        again.operate(verb);
        again.run(&mut |_| Done);
        assert_eq!(again.state.status(), Status::Compensated);
    }
}

#[test]
fn a_refused_undo_is_given_up_at_once_and_an_exception_is_not() {
    let parked = play(&[Done, Refused, Refused]);
    assert_eq!(parked.state.status(), Status::Parked);
    check(&[Done, Refused, Exception, Exception, Done], Status::Compensated, &["account"; 3]);
}

#[test]
fn what_holds_something_scarce_is_undone_first() {
    let step = |name: &str| Step::compensable(name, "s", Call::put("/x")).undo(Call::delete("/x"));
    let scarce = Definition::builder("order", 1)
        .step(step("a").undo_first())
        .step(step("b"))
        .step(step("c"))
        .step(Step::pivot("p", "s", Call::put("/p")))
        .build()
        .unwrap();
    let mut play = Play::new(scarce);
    play.run(&mut |call| if call.flight.step == 3 { Refused } else { Done });
    assert_eq!(play.undone(), ["a", "c", "b"]);
}
