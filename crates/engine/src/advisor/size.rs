//! How large a roll-up would be: from groups counted in a sample to rows and bytes of the whole.
//!
//! These are estimates and are called so wherever they are shown. Not here: the counting (`advise`).

use std::collections::BTreeSet;

use tidewater_model::query::{Function, Measure};
use tidewater_model::schema::ColumnRef;

use super::RawFacts;

/// Bytes of one row's time and count in a section, compressed: sorted rows repeat their times.
const TIME_BYTES: f64 = 0.5;
const COUNT_BYTES: f64 = 1.5;
/// Bits of a dimension's code where it is not known how many values it has.
const CODE_BITS_USUAL: f64 = 12.0;
/// A sum, extreme or count of a filtered measure.
const NUMBER_BYTES: f64 = 6.0;
/// Sum and count, or value and time.
const PAIR_BYTES: f64 = 10.0;
/// Count, mean and M2.
const MOMENTS_BYTES: f64 = 18.0;
/// A quantile sketch: a head, and a few bytes per occupied bin; values of one group rarely fill more bins than this.
const SKETCH_HEAD_BYTES: f64 = 6.0;
const SKETCH_BIN_BYTES: f64 = 2.0;
const SKETCH_BINS_USUAL: f64 = 120.0;
/// Distinct values are kept as 64-bit hashes up to 256 of them; a full HyperLogLog of 2^14 registers takes about 10 kB.
const HASH_BYTES: f64 = 8.0;
const DISTINCT_BYTES_MAX: f64 = 10_240.0;

/// Groups found in a sample of real rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Rows looked at.
    pub rows: u64,
    /// Groups they fell into.
    pub groups: u64,
    /// Rows of the sample's first quarter and the groups they fell into: how fast new groups appear.
    pub quarter: Option<(u64, u64)>,
}

/// How many groups `rows` rows in `buckets` time buckets fall into. With a `quarter` the sample lies within one bucket, and the groups of a
/// whole one follow a power of its rows (Heaps' law); without, it holds whole buckets, and the rest has as many groups per row.
pub(crate) fn groups_in_all(sample: &Sample, rows: u64, buckets: u64) -> u64 {
    if sample.rows == 0 || rows == 0 {
        return 0;
    }
    let (found, seen) = (sample.groups as f64, sample.rows as f64);
    let Some((quarter_rows, quarter_groups)) = sample.quarter else {
        return ((found / seen * rows as f64).ceil() as u64).min(rows);
    };
    let growth = (found.ln() - (quarter_groups.max(1) as f64).ln())
        / (seen / quarter_rows.max(1) as f64).ln().max(f64::MIN_POSITIVE);
    let per_bucket = rows as f64 / buckets.max(1) as f64;
    let in_bucket = found * (per_bucket / seen).powf(growth.clamp(0.0, 1.0));
    ((in_bucket * buckets.max(1) as f64).ceil() as u64).clamp(sample.groups.min(rows), rows)
}

/// Bytes of a section with that many groups over the raw rows.
pub(crate) fn section_bytes(
    groups: u64,
    raw: &RawFacts,
    dimensions: &BTreeSet<ColumnRef>,
    measures: &[Measure],
) -> u64 {
    let rows_per_group = raw.rows as f64 / groups.max(1) as f64;
    let values = |measure: &Measure| {
        let distinct = measure.column.as_ref().and_then(|column| raw.distinct.get(column));
        distinct.map_or(rows_per_group, |distinct| values_per_group(rows_per_group, *distinct as f64))
    };
    let measure_bytes = |measure: &Measure| match measure.function {
        Function::Count | Function::Sum | Function::Min | Function::Max => NUMBER_BYTES,
        Function::Avg | Function::First | Function::Last => PAIR_BYTES,
        Function::Stddev => MOMENTS_BYTES,
        Function::Quantile(_) => {
            SKETCH_HEAD_BYTES + SKETCH_BIN_BYTES * values(measure).min(SKETCH_BINS_USUAL)
        }
        Function::Uniq => (HASH_BYTES * values(measure)).min(DISTINCT_BYTES_MAX),
    };
    let states: f64 = measures.iter().filter(|measure| !super::is_implicit(measure)).map(measure_bytes).sum();
    let code_bits = |column: &ColumnRef| {
        raw.distinct.get(column).map_or(CODE_BITS_USUAL, |distinct| (*distinct as f64).max(2.0).log2())
    };
    let codes: f64 = dimensions.iter().map(|column| code_bits(column) / 8.0).sum();
    let row_bytes = TIME_BYTES + COUNT_BYTES + codes + states;
    (groups as f64 * row_bytes).ceil() as u64
}

/// How many of `distinct` equally likely values `rows` rows show.
fn values_per_group(rows: f64, distinct: f64) -> f64 {
    if distinct < 1.0 {
        return 0.0;
    }
    distinct * (1.0 - (1.0 - 1.0 / distinct).powf(rows))
}
