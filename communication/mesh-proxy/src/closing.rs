//! The word that connections are to end.

use tokio::sync::watch;

/// Says when connections are to end after their present request.
#[derive(Debug, Clone)]
pub(crate) struct Closing(watch::Receiver<bool>);

impl Closing {
    /// Hears what this channel says.
    pub(crate) const fn of(channel: watch::Receiver<bool>) -> Self {
        Self(channel)
    }

    pub(crate) fn is_closing(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits for the word, or for the end of whoever would give it. Cancel-safe.
    pub(crate) async fn said(&mut self) {
        while !*self.0.borrow_and_update() {
            if self.0.changed().await.is_err() {
                return;
            }
        }
    }
}
