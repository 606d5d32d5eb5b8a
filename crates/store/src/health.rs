//! Whether the store may still write. Once poisoned it stays so until the process restarts: after a failed write or sync
//! nobody knows what the disk holds, and trying again would acknowledge rows that may not be there.

use std::sync::{Arc, OnceLock};

use crate::error::StoreError;

/// The first failure, if there was one.
#[derive(Debug, Default)]
pub struct Health {
    cause: OnceLock<Arc<str>>,
}

impl Health {
    /// Why nothing more is written.
    pub fn poisoned(&self) -> Option<Arc<str>> {
        self.cause.get().cloned()
    }

    /// Notes the first failure; true when this was it.
    pub fn poison(&self, error: &StoreError) -> bool {
        self.cause.set(Arc::from(error.chain())).is_ok()
    }

    /// An error while poisoned.
    pub fn check(&self) -> Result<(), StoreError> {
        match self.poisoned() {
            Some(cause) => Err(StoreError::Poisoned { cause }),
            None => Ok(()),
        }
    }
}
