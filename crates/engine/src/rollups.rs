//! The state of declared roll-ups: the store's figures, what follows from them, and when each was last used.

use tidewater_store::RollupStatus;

use crate::engine::Engine;
use crate::error::EngineResult;
use crate::questions::RollupUse;
use crate::reserved::is_own_dataset;

/// Where a tier of a roll-up stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RollupState {
    /// Segments from before its declaration are still being derived; questions read their raw rows.
    Building,
    /// Every segment keeps it.
    Stored,
    /// Some segments keep it; in the others it would take too large a part of their bytes.
    Partly,
    /// No segment keeps it: it would take too large a part of the raw bytes everywhere.
    NotPaying,
}

impl RollupState {
    /// What the figures say.
    pub fn of(status: &RollupStatus) -> Self {
        let RollupStatus {
            segments_built: built, segments_total: total, skipped_not_paying: skipped, ..
        } = status;
        match (built < total, *skipped) {
            (true, _) => RollupState::Building,
            (false, 0) => RollupState::Stored,
            (false, skipped) if skipped >= *total && status.rows == 0 => RollupState::NotPaying,
            (false, _) => RollupState::Partly,
        }
    }

    /// For replies.
    pub fn name(self) -> &'static str {
        match self {
            RollupState::Building => "building",
            RollupState::Stored => "stored",
            RollupState::Partly => "partly",
            RollupState::NotPaying => "not_paying",
        }
    }
}

/// One tier of a declared roll-up.
#[derive(Clone, Debug)]
pub struct RollupTierStatus {
    /// The store's figures.
    pub status: RollupStatus,
    /// What they say.
    pub state: RollupState,
    /// When the roll-up was last used; `None` before it was first seen declared.
    pub uses: Option<RollupUse>,
}

impl Engine {
    /// Every tier of every declared roll-up, of one dataset or all.
    pub fn rollup_tiers(&self, dataset: Option<&str>) -> EngineResult<Vec<RollupTierStatus>> {
        if let Some(name) = dataset {
            self.dataset(name)?;
        }
        self.questions.follow(self.now());
        let statuses = self.store.rollup_status().into_iter();
        let tiers = statuses
            .filter(|status| match dataset {
                None => !is_own_dataset(&status.dataset),
                Some(name) => *status.dataset == *name,
            })
            .map(|status| {
                let uses = self.questions.uses(&status.dataset).get(&*status.rollup).copied();
                RollupTierStatus { state: RollupState::of(&status), uses, status }
            });
        Ok(tiers.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_tell_the_state() {
        let check = |built, total, skipped, rows, state| {
            let status = RollupStatus {
                dataset: "d".into(),
                rollup: "r".into(),
                tier: "1h",
                segments_built: built,
                segments_total: total,
                rows,
                bytes: 0,
                raw_bytes: 0,
                skipped_not_paying: skipped,
            };
            assert_eq!(RollupState::of(&status), state, "{status:?}");
        };
        check(1, 4, 0, 10, RollupState::Building);
        check(1, 4, 1, 0, RollupState::Building);
        check(4, 4, 0, 10, RollupState::Stored);
        check(0, 0, 0, 0, RollupState::Stored);
        check(4, 4, 1, 10, RollupState::Partly);
        check(4, 4, 4, 0, RollupState::NotPaying);
        // Segments skip it, history keeps it.
        check(4, 4, 4, 10, RollupState::Partly);
    }
}
