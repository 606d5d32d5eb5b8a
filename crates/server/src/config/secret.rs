//! A text of the configuration that must not be shown.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A secret; Debug shows only whether there is one.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// What to print instead.
    const SHOWN: &str = "(set)";

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Forgets the text.
    pub fn redact(&mut self) {
        if !self.is_empty() {
            Self::SHOWN.clone_into(&mut self.0);
        }
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Secret(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "(none)" } else { Self::SHOWN })
    }
}
