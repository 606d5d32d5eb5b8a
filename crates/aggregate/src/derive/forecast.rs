//! Which tiers cannot pay, told from a sample of a segment's rows before all of them are taken.
//!
//! The finest tiers cost the most to make and pay least often. While rows come project by project it takes most of a segment to see that
//! one does not pay; a sample of whole buckets has about as many groups and bytes to its rows as all rows have. Like every giving up
//! it only saves work: what is near to paying is tried. Not here: which rows are the sample (`store`).

use std::sync::Arc;

use tidewater_model::schema::{Dataset, Tier};

use super::give_up::is_clearly_too_much;
use super::{Building, Derivation, RowsExpected, TierSlices};
use crate::rollup::RollupTier;

impl Derivation {
    /// Of a sample: the derivation of the tiers up to `widest`, `None` where there is none that could be left out. `sample` is what is
    /// known of the sample's rows, which are all of the rows in some buckets of that tier.
    pub fn of_sample(dataset: &Arc<Dataset>, sample: RowsExpected, widest: Tier) -> Option<Self> {
        let can_be_left_out = |tier: &RollupTier| tier.tier <= widest && !tier.outlives_raw;
        let derivation = Derivation::of_tiers(dataset, sample, Vec::new(), can_be_left_out)?;
        (!derivation.rollups.is_empty()).then_some(derivation)
    }

    /// Ends the derivation of a sample: roll-ups and tiers that have clearly too many groups or bytes for its rows.
    pub fn hopeless(mut self) -> Vec<(String, Tier)> {
        self.end_rows();
        let mut hopeless = Vec::new();
        for Building { head, tiers, .. } in &self.rollups {
            for tier in tiers {
                let groups = tier.slices.iter().map(|slice| slice.rows).sum();
                let bytes = bytes_of_groups(tier, head.dimensions.len());
                if is_clearly_too_much(groups, bytes, self.rows, self.expected.raw_bytes) {
                    hopeless.push((head.rollup.clone(), tier.tier.tier));
                }
            }
        }
        hopeless
    }

    /// Leaves out tiers that [`Self::hopeless`] found; before the first rows.
    pub fn leave_out(&mut self, hopeless: &[(String, Tier)]) {
        for building in &mut self.rollups {
            let is_hopeless = |tier: &mut TierSlices| {
                hopeless.iter().any(|(name, other)| *name == building.head.rollup && *other == tier.tier.tier)
            };
            let left_out = building.tiers.extract_if(.., is_hopeless);
            building.not_paying.extend(left_out.map(|tier| tier.tier.tier));
        }
    }
}

/// The bytes of times and measures. Those of dimensions are mostly their distinct values, of which a sample has far more to its rows
/// than the segment.
fn bytes_of_groups(tier: &TierSlices, dimensions: usize) -> u64 {
    let columns = tier.slices.iter().flat_map(|slice| slice.columns.iter().enumerate());
    let counted = columns.filter(|(place, _)| !(1..=dimensions).contains(place));
    counted.map(|(_, column)| column.len() as u64).sum()
}
