//! What companies outside are asked before a decision is written down.

use base::Code;
use service_kit::{Deadline, Problem};

use super::Shared;
use crate::{
    booking::{
        RelocateError,
        outside::{self, Answers},
    },
    domain::{Move, MoveError, PickedUp, Wish},
    outside::{Change, NoAnswer, Taken},
    store::{self as table, Found, outside as companies},
};

/// When to ask again where a company gave no answer.
const AGAIN_AFTER: std::time::Duration = std::time::Duration::from_millis(500);

/// Asks company after company to take a trip, until one does or it is settled without them.
pub(super) async fn who_takes(
    shared: &Shared,
    id: &str,
    wish: &Wish,
    deadline: Deadline,
) -> Result<Answers, Problem> {
    let mut answers = Answers::default();
    while !shared.companies.is_empty() {
        let (depot, asked, wanted) = (shared.depot.clone(), id.to_owned(), wish.clone());
        let refused = answers.refused.clone();
        let next = shared.store.write(move |it| {
            outside::next_to_ask(it, &depot, &asked, &wanted, &refused).map_err(Problem::from)
        });
        let Some(carrier) = next.await? else { break };
        let taken = shared.companies.book(&carrier, id, wish, Some(deadline)).await;
        match taken.map_err(|it| no_answer(&it))? {
            Taken::Yes { delivery_eta: Some(eta) } if wish.deadline.is_some_and(|it| eta > it) => {
                let let_go = shared.companies.call_off(&carrier, id, Some(deadline)).await;
                // It has the package already: late is better than never.
                if let_go.map_err(|it| no_answer(&it))? == Change::PickedUp {
                    answers.agreed = Some((carrier, Some(eta)));
                    break;
                }
                answers.too_late.get_or_insert((carrier.clone(), eta));
                declined(shared, id, carrier, &mut answers).await?;
            }
            Taken::Yes { delivery_eta } => {
                answers.agreed = Some((carrier, delivery_eta));
                break;
            }
            Taken::No => declined(shared, id, carrier, &mut answers).await?,
        }
    }
    Ok(answers)
}

/// A company does not take it, and nothing is booked there.
async fn declined(
    shared: &Shared,
    id: &str,
    carrier: String,
    answers: &mut Answers,
) -> Result<(), Problem> {
    let (asked, by) = (id.to_owned(), carrier.clone());
    let forgotten =
        shared.store.write(move |it| companies::forget(it, &asked, &by).map_err(Problem::from));
    forgotten.await?;
    answers.refused.push(carrier);
    Ok(())
}

/// Calls a delivery off at every company that was asked to take it.
pub(super) async fn all_let_go(
    shared: &Shared,
    id: &str,
    deadline: Deadline,
) -> Result<Result<(), PickedUp>, Problem> {
    if shared.companies.is_empty() {
        return Ok(Ok(()));
    }
    let wanted = id.to_owned();
    let asked = shared.store.read(move |it| {
        let over = matches!(table::find(it, &wanted)?, Some(Found::Released));
        if over { Ok(Vec::new()) } else { companies::of(it, &wanted) }
    });
    for carrier in asked.await? {
        let done = shared.companies.call_off(&carrier, id, Some(deadline)).await;
        if done.map_err(|it| no_answer(&it))? == Change::PickedUp {
            return Ok(Err(PickedUp));
        }
    }
    Ok(Ok(()))
}

/// Asks the company that serves a delivery to go elsewhere, where one does.
pub(super) async fn goes_there(
    shared: &Shared,
    id: &str,
    change: &Move,
    deadline: Deadline,
) -> Result<Result<(), RelocateError>, Problem> {
    if shared.companies.is_empty() {
        return Ok(Ok(()));
    }
    let (depot, wanted, change) = (shared.depot.clone(), id.to_owned(), change.clone());
    let asked = shared.store.read(move |it| {
        Ok(match table::find(it, &wanted)? {
            Some(Found::Shipment(found)) if outside::is_asked(&found, &depot, &change) => {
                let whole = change.with_doors_of(&found.trip);
                Some((found.carrier, whole))
            }
            _ => None,
        })
    });
    let Some((carrier, change)) = asked.await? else { return Ok(Ok(())) };
    let done = shared.companies.relocate(&carrier, id, &change, Some(deadline)).await;
    Ok(match done.map_err(|it| no_answer(&it))? {
        Change::Done => Ok(()),
        Change::PickedUp => Err(RelocateError::Refused(MoveError::PickedUp(PickedUp))),
        Change::Refused => Err(RelocateError::Declined { carrier }),
    })
}

fn no_answer(error: &NoAnswer) -> Problem {
    tracing::warn!(%error, "a company was asked in vain");
    // We answer, and have decided nothing: the workflow waits as long as its time lasts.
    Problem::of(Code::DependencyUnavailable, error.to_string()).retryable(AGAIN_AFTER)
}
