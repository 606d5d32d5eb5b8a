//! Which tiers a flush need not try: told from a sample of its rows, before all of them are derived from.
//!
//! Not here: what is too much (`aggregate`).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow_array::UInt32Array;
use hashbrown::HashMap;
use tidewater_aggregate::{Derivation, RowsExpected, derived_for};
use tidewater_model::schema::{Dataset, DatasetId, Tier};

use super::build::add;
use crate::segment::ProjectRows;
use crate::segment::rows::Rows;

/// Buckets of a sample, spread over the rows: hours of the day and users differ.
const BUCKETS: usize = 4;
/// A sample has at most one in so many of the rows, so that it costs far less than a tier that is tried in vain.
const SHARE: usize = 16;
/// Of fewer rows than this, every tier is cheap enough to be tried.
const ROWS_MIN: usize = 32_768;
/// Rows whose times tell where the rows lie.
const PROBES: usize = 64;

/// A sample tells of so many segments that are flushed one after the other: what pays changes slowly, and a merge tries every tier again.
const SEGMENTS_PER_SAMPLE: u32 = 16;
/// Datasets that are remembered at a time.
const DATASETS_MAX: usize = 1_024;

/// What samples told of datasets.
#[derive(Debug, Default)]
pub struct Forecasts(Mutex<HashMap<DatasetId, Forecast>>);

#[derive(Debug)]
struct Forecast {
    derived_for: u64,
    hopeless: Vec<(String, Tier)>,
    segments_left: u32,
}

impl Forecasts {
    /// Roll-ups and tiers that clearly cannot pay for the `sorted` of these rows, which are about to have `expected`.
    pub fn hopeless_tiers(
        &self,
        id: DatasetId,
        dataset: &Arc<Dataset>,
        rows: &Rows,
        sorted: &[u32],
        expected: RowsExpected,
    ) -> Vec<(String, Tier)> {
        if sorted.len() < ROWS_MIN || dataset.rollups.is_empty() {
            return Vec::new();
        }
        let derived_for = derived_for(dataset);
        let is_known = |known: &&mut Forecast| known.derived_for == derived_for && known.segments_left > 0;
        if let Some(known) = self.lock().get_mut(&id).filter(is_known) {
            known.segments_left -= 1;
            return known.hopeless.clone();
        }
        let hopeless = sampled(dataset, rows, sorted, expected);
        let mut forecasts = self.lock();
        if forecasts.len() >= DATASETS_MAX {
            forecasts.clear();
        }
        let segments_left = SEGMENTS_PER_SAMPLE - 1;
        forecasts.insert(id, Forecast { derived_for, hopeless: hopeless.clone(), segments_left });
        hopeless
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<DatasetId, Forecast>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn sampled(
    dataset: &Arc<Dataset>,
    rows: &Rows,
    sorted: &[u32],
    expected: RowsExpected,
) -> Vec<(String, Tier)> {
    // The wider tier tells of the finer one as well; where its buckets have too many rows for a sample, that one may do.
    let sampled = [Tier::Minutes5, Tier::Minute].into_iter().find_map(|tier| {
        let sample = whole_buckets(rows.batch.times(), sorted, tier.width_us());
        (sample.len() * SHARE <= sorted.len()).then_some((tier, sample))
    });
    let Some((widest, sample)) = sampled else { return Vec::new() };
    let raw_bytes = u128::from(expected.raw_bytes) * sample.len() as u128 / sorted.len() as u128;
    let expected = RowsExpected { rows: sample.len() as u64, raw_bytes: raw_bytes as u64 };
    let Some(mut derivation) = Derivation::of_sample(dataset, expected, widest) else { return Vec::new() };
    let sample = rows.take(&UInt32Array::from(sample));
    add(&mut derivation, &sample.batch, &ProjectRows::of(&sample));
    derivation.hopeless()
}

/// The rows of a few buckets in which rows lie, all of each bucket, in order.
fn whole_buckets(times: &[i64], sorted: &[u32], width_us: i64) -> Vec<u32> {
    let probes = sorted.iter().step_by((sorted.len() / PROBES).max(1));
    let mut starts: Vec<i64> =
        probes.map(|row| times[*row as usize].div_euclid(width_us) * width_us).collect();
    starts.sort_unstable();
    let chosen: [i64; BUCKETS] =
        std::array::from_fn(|place| starts[starts.len() * (2 * place + 1) / (2 * BUCKETS)]);
    let is_inside = |time: i64| {
        let buckets = chosen.iter();
        buckets.fold(false, |found, start| found | ((time.wrapping_sub(*start) as u64) < width_us as u64))
    };
    sorted.iter().copied().filter(|row| is_inside(times[*row as usize])).collect()
}

#[cfg(test)]
mod tests {
    use arrow_array::{ArrayRef, StringArray, TimestampMicrosecondArray};
    use tidewater_columns::RowBatch;
    use tidewater_model::names::ProjectName;
    use tidewater_model::schema::DatasetDefinition;

    use super::*;
    use crate::chunk::{Chunk, Run};
    use crate::version::Lsn;

    fn dataset(metrics: &str) -> Arc<Dataset> {
        let text = format!(
            r#"{{"time": "ts", "columns": {{"user": "string"}}, "metrics": {{"n": {{"agg": "count"}}, "m": {{"agg": "uniq", "column": "user"}}}},
                "rollups": [{{"name": "users", "dimensions": ["user"], "metrics": [{metrics}]}}]}}"#
        );
        let definition = DatasetDefinition::from_json(text.as_bytes()).expect("a valid definition");
        Arc::new(Dataset::compile("calls", definition).expect("a valid dataset"))
    }

    /// As many users as rows, or one.
    fn rows(users: usize) -> Rows {
        let rows = ROWS_MIN as i64 * 2;
        let times = TimestampMicrosecondArray::from_iter_values((0..rows).map(|row| row * 1_000_000));
        let texts =
            StringArray::from_iter_values((0..rows as usize).map(|row| format!("user {}", row % users)));
        let columns: [ArrayRef; 2] = [Arc::new(times.with_timezone("UTC")), Arc::new(texts)];
        let run = Run { project: ProjectName::new("acme").expect("a name"), lsn: Lsn(1), rows: rows as u32 };
        Rows::from_chunks(&[Arc::new(Chunk::new(RowBatch::new(columns.map(Some).to_vec()), vec![run]))])
    }

    #[test]
    fn a_sample_tells_of_the_segments_that_follow() {
        let forecasts = Forecasts::default();
        let tell = |rows: &Rows, dataset: &Arc<Dataset>| {
            let sorted: Vec<u32> = (0..rows.len() as u32).collect();
            let expected = RowsExpected { rows: rows.len() as u64, raw_bytes: rows.len() as u64 * 30 };
            forecasts.hopeless_tiers(DatasetId(1), dataset, rows, &sorted, expected)
        };
        let (many, one) = (rows(usize::MAX), rows(1));
        let dataset_of_one = dataset(r#""n""#);
        assert!(!tell(&many, &dataset_of_one).is_empty(), "a group for each row");
        for _ in 1..SEGMENTS_PER_SAMPLE {
            assert!(!tell(&one, &dataset_of_one).is_empty(), "as the sample told");
        }
        assert_eq!(tell(&one, &dataset_of_one), [], "a new sample");
        assert_eq!(tell(&many, &dataset_of_one), [], "as the new one told");
        assert!(!tell(&many, &dataset(r#""n", "m""#)).is_empty(), "of other roll-ups nothing is known");
    }

    #[test]
    fn a_sample_has_all_rows_of_its_buckets() {
        const WIDTH_US: i64 = 100;
        // Each second row an hour of its own, the others together: buckets lie where the rows are.
        let times: Vec<i64> = (0..4_000).map(|row| if row % 2 == 0 { row * 1_000 - 7 } else { 5 }).collect();
        let check = |sorted: &[u32], buckets_max: usize| {
            let sample = whole_buckets(&times, sorted, WIDTH_US);
            let bucket = |row: &u32| times[*row as usize].div_euclid(WIDTH_US);
            let mut buckets: Vec<i64> = sample.iter().map(bucket).collect();
            buckets.sort_unstable();
            buckets.dedup();
            assert!((1..=buckets_max).contains(&buckets.len()), "{buckets:?}");
            let expected: Vec<u32> =
                sorted.iter().copied().filter(|row| buckets.contains(&bucket(row))).collect();
            assert_eq!(sample, expected);
        };
        let even: Vec<u32> = (0..4_000).step_by(2).collect();
        let odd: Vec<u32> = (1..4_000).step_by(2).collect();
        check(&even, BUCKETS);
        check(&odd, 1);
        check(&(0..4_000).rev().collect::<Vec<u32>>(), BUCKETS);
        check(&[17], 1);
    }
}
