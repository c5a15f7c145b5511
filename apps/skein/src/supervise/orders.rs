//! What a person may have the authority of a system do, over the control socket.
//!
//! The supervisor knows no authority: whoever starts it says who carries orders out.

use std::{fmt, sync::Arc};

use identity::Order;
use serde_json::Value;

/// Who carries orders out: what the authority stands on then, or why it refused. The control socket
/// waits for it, and for the disk below it.
#[derive(Clone)]
pub struct Orders(Arc<CarryOut>);

type CarryOut = dyn Fn(&Order) -> Result<Value, String> + Send + Sync;

impl Orders {
    /// Calls a function.
    #[must_use]
    pub fn new(
        carry_out: impl Fn(&Order) -> Result<Value, String> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(carry_out))
    }

    pub(super) fn carry_out(&self, order: &Order) -> Result<Value, String> {
        self.0(order)
    }
}

/// There is no authority.
impl Default for Orders {
    fn default() -> Self {
        Self::new(|_| Err("this system has no authority: nobody shows who he is".to_owned()))
    }
}

impl fmt::Debug for Orders {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Orders")
    }
}
