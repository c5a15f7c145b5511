//! An undo that an outside party finishes.

use super::*;

fn definition() -> Definition {
    let book = Step::compensable("book", "s", Call::put("/b")).undo(Call::delete("/b"));
    Definition::builder("order", 1)
        .step(book.undo_finishes_outside(600_000))
        .step(Step::pivot("p", "s", Call::put("/p")))
        .build()
        .unwrap()
}

fn awaited() -> Play {
    let mut play = Play::new(definition());
    play.advance(&mut |_| Done);
    play.advance(&mut |_| Refused);
    play.event(Event::UndoBegun);
    play.advance(&mut |_| Done);
    assert_eq!(play.state.status(), Status::Compensating, "asking is not enough");
    play
}

fn call_back(play: &mut Play, refused: Option<&str>) {
    let (step, refused) = ("book".to_owned(), refused.map(str::to_owned));
    let kind = SignalKind::UndoFinished { step, refused };
    play.event(Event::Signalled(Signal { id: "b".to_owned(), kind }));
}

#[test]
fn an_undo_by_an_outside_party_waits_for_its_callback() {
    let mut play = awaited();
    call_back(&mut play, None);
    assert_eq!(play.state.status(), Status::Compensated);
}

#[test]
fn an_outside_party_that_cannot_undo_needs_a_person() {
    let mut play = awaited();
    call_back(&mut play, Some("too_late"));
    assert_eq!(play.state.status(), Status::Parked);
}

#[test]
fn a_callback_that_never_comes_is_parked_and_one_that_comes_late_still_counts() {
    let mut play = awaited();
    play.run(&mut |_| Done);
    assert_eq!(play.state.status(), Status::Parked);
    assert_eq!(play.state.parked_reason(), Some("undo of `book`: callback_overdue"));
    call_back(&mut play, None);
    assert_eq!(play.state.status(), Status::Compensated);
}
