//! What is asked of a piece when it comes, as the current configuration says it.
//!
//! Everybody who commits a piece takes it from here, so that a reload concerns the next piece and never half of one.

use std::sync::{Arc, Mutex, PoisonError};

use crate::store::write::PieceRules;

/// The rules of the current configuration. Clones share them.
#[derive(Clone, Default)]
pub struct SharedRules(Arc<Mutex<Arc<PieceRules>>>);

impl SharedRules {
    /// As they are now.
    pub fn now(&self) -> Arc<PieceRules> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on.
    pub fn replace(&self, rules: PieceRules) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }
}
