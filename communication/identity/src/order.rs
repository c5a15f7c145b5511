//! What a person may have an authority do.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::certificate::Serial;

/// An order to an authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Order {
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
    /// Make a branch for another machine.
    Branch {
        /// Its issuer signs for so long, in seconds; as long as one does where nothing is said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        life_s: Option<u64>,
    },
}

impl Order {
    /// What a person does with it, in words; nothing where he only looks.
    #[must_use]
    pub fn deed(&self) -> Option<String> {
        Some(match self {
            Self::Show => return None,
            Self::RotateIssuer => "rotate the issuer".to_owned(),
            Self::RotateAnchor => "rotate the anchor".to_owned(),
            Self::Drop { anchor } => format!("drop anchor {anchor}"),
            Self::Deny { serial } => format!("deny {serial}"),
            Self::Branch { .. } => "make a branch".to_owned(),
        })
    }

    /// Whom it has denied, by what the authority stands on then; nothing where it does not know, and of other
    /// orders.
    #[must_use]
    pub fn denied<'a>(&self, standing: &'a Value) -> Option<&'a str> {
        let Self::Deny { serial } = self else { return None };
        let serial = Serial::parse(serial)?.to_string();
        let mut all = standing["denied"].as_array()?.iter();
        all.find(|it| it["serial"] == *serial)?["id"].as_str()
    }
}
