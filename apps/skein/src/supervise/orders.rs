//! What a person may have the authority of a system do, over the control socket.
//!
//! The supervisor knows no authority: whoever starts it says who carries orders out.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An order to the authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum IdentityOrder {
    /// Say what it stands on.
    Show,
    /// Sign with a new issuer from now on.
    RotateIssuer,
    /// Begin to replace the anchor, and sign with a new issuer from now on.
    RotateAnchor,
    /// Drop an anchor that nobody needs.
    Drop {
        /// Its short name.
        anchor: String,
    },
    /// Deny a certificate from now on.
    Deny {
        /// Its number, hexadecimal.
        serial: String,
    },
}

/// Who carries orders out: what the authority stands on then, or why it refused. The control socket
/// waits for it, and for the disk below it.
#[derive(Clone)]
pub struct Orders(Arc<CarryOut>);

type CarryOut = dyn Fn(&IdentityOrder) -> Result<Value, String> + Send + Sync;

impl Orders {
    /// Calls a function.
    #[must_use]
    pub fn new(
        carry_out: impl Fn(&IdentityOrder) -> Result<Value, String> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(carry_out))
    }

    pub(super) fn carry_out(&self, order: &IdentityOrder) -> Result<Value, String> {
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
