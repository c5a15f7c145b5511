//! Who hears what people change. A deed is told by names; who writes it down, and where, is not known here.

use std::{fmt, net::SocketAddr, pin::Pin, sync::Arc};

/// What somebody did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deed {
    /// Who.
    pub who: Actor,
    /// What was asked for. No secret stands in it.
    pub what: String,
    /// What became of it.
    pub decision: String,
}

/// Who did it, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// Somebody who has shown who he is.
    Named(String),
    /// Whoever is at the other end of a connection.
    At(SocketAddr),
}

/// What a deed ended as that nobody waited for.
const UNKNOWN: &str = "unknown: who asked did not wait for the end";

/// Hears of deeds; a cheap handle.
#[derive(Clone)]
pub struct Witness(Arc<Hear>);

type Hear = dyn Fn(Deed) -> Heard + Send + Sync;

/// Something under way. Dropped before its end is told, it is told as unknown.
#[derive(Debug)]
pub struct Undecided {
    witness: Witness,
    begun: Option<(Actor, String)>,
}

/// Ends when a deed has been noted, or cannot be.
pub type Heard = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Witness {
    /// One that calls a function, which takes the deed at once. What it gives is waited for before whoever did it
    /// is answered: it ends soon.
    #[must_use]
    pub fn new(hear: impl Fn(Deed) -> Heard + Send + Sync + 'static) -> Self {
        Self(Arc::new(hear))
    }

    /// Somebody begins something.
    #[must_use]
    pub fn begin(&self, who: Actor, what: String) -> Undecided {
        Undecided { witness: self.clone(), begun: Some((who, what)) }
    }
}

impl Undecided {
    /// Tells what became of it, and waits until that is noted or cannot be.
    pub async fn end(mut self, decision: String) {
        if let Some((who, what)) = self.begun.take() {
            self.witness.0(Deed { who, what, decision }).await;
        }
    }
}

impl Drop for Undecided {
    fn drop(&mut self) {
        if let Some((who, what)) = self.begun.take() {
            // It is taken now; nobody is left who waits.
            drop(self.witness.0(Deed { who, what, decision: UNKNOWN.to_owned() }));
        }
    }
}

impl fmt::Debug for Witness {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Witness")
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        sync::Mutex,
        task::{Context, Waker},
    };

    use super::*;

    #[test]
    fn what_was_begun_is_told_once_however_it_ends() {
        let told: Arc<Mutex<Vec<Deed>>> = Arc::default();
        let hears = Arc::clone(&told);
        let witness = Witness::new(move |deed| {
            hears.lock().unwrap().push(deed);
            Box::pin(std::future::ready(()))
        });
        let begin = |what: &str| witness.begin(Actor::Named("ann".to_owned()), what.to_owned());
        let mut ending = pin!(begin("one").end("done".to_owned()));
        assert!(ending.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
        drop(begin("two"));
        drop(begin("three").end("done".to_owned()));
        let told: Vec<_> =
            told.lock().unwrap().iter().map(|it| (it.what.clone(), it.decision.clone())).collect();
        let unknown = |what: &str| (what.to_owned(), UNKNOWN.to_owned());
        assert_eq!(told, [("one".to_owned(), "done".to_owned()), unknown("two"), unknown("three")]);
    }
}
