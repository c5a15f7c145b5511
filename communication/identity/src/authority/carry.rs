//! Whom to trust, as it goes from machine to machine: signed where the keys of the anchors are, heard in branches.

use std::sync::Arc;

use super::{
    Authority,
    state::{AnchorState, ReadStateError, Stands},
};
use crate::bundle::{CarriedError, SignedBundle};

/// Why a bundle was not signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The key of an anchor cannot be read.
    #[error(transparent)]
    State(#[from] ReadStateError),
    /// The signature could not be made.
    #[error("the bundle could not be signed")]
    Sign(#[from] rcgen::Error),
}

impl Authority {
    /// Takes in whom to trust, as somebody carried it here; whether that is new. Who has the anchors' keys
    /// learns nothing by it.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn hear(&mut self, signed: SignedBundle) -> Result<bool, CarriedError> {
        let Stands::Branch(held) = &mut self.state.stands else { return Ok(false) };
        let signed = Arc::new(signed);
        let Some(trust) = held.trust.carried(Arc::clone(&signed))? else { return Ok(false) };
        (held.trust, held.signed) = (trust, signed);
        Ok(true)
    }

    /// Whom to trust, as anybody may carry it.
    ///
    /// # Errors
    /// A key cannot be read, or does not sign.
    pub fn signed(&mut self) -> Result<Arc<SignedBundle>, SignError> {
        let first = match &self.state.stands {
            Stands::First(first) => first,
            Stands::Branch(branch) => return Ok(Arc::clone(&branch.signed)),
        };
        let version = first.bundle_version;
        if let Some((_, known)) = self.signed.as_ref().filter(|(of, _)| *of == version) {
            return Ok(Arc::clone(known));
        }
        let read = |it: &AnchorState| Ok((it.id.clone(), it.pair.signer()?));
        let keys = first.anchors.iter().map(read).collect::<Result<Vec<_>, ReadStateError>>()?;
        let keys = keys.iter().map(|(id, signer)| (id, signer.key()));
        let signed = Arc::new(SignedBundle::sign(&self.state.bundle(), keys)?);
        self.signed = Some((version, Arc::clone(&signed)));
        Ok(signed)
    }
}
