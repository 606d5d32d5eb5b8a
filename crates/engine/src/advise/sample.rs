//! Groups of a bounded sample of real rows, counted by the operator that answers questions.
//!
//! The sample is the newest part of one project's rows: recent rows look most like those to come. What follows for all rows is
//! `advisor::groups_in_all`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidewater_model::names::ProjectName;
use tidewater_model::query::{DateRange, Include, MetricInput, QueryRequest};
use tidewater_model::schema::{ColumnRef, Tier};
use tidewater_model::time::{Granularity, RangeBound, RangeSpec, Timestamp};
use tidewater_query::{Answer, Cell, Control, ExecuteError};
use tidewater_store::{DatasetView, Unit};

use crate::advisor::{Groups, RawFacts, Sample, groups_in_all, width_us};
use crate::engine::Engine;
use crate::error::{EngineError, EngineResult};

/// Rows of a sample, as far as spans tell: counting their groups takes some ten milli-seconds.
const SAMPLE_ROWS_MAX: f64 = 250_000.0;
/// The shortest sample in time; a project with more rows than that in a minute is sampled with more.
const SAMPLE_US_MIN: i64 = 60_000_000;
/// Longest time for all samples of one dataset; later ones are left out, and the advice says less.
const SAMPLING_TIME_MAX: Duration = Duration::from_secs(10);
/// Memory of one count. Groups that do not fit are nearly as many as rows, and no roll-up of them pays.
const COUNT_MEMORY_BYTES_MAX: usize = 32 << 20;
/// Columns whose different values are counted: each is a scan of the sample.
const DISTINCT_COLUMNS_MAX: usize = 16;
/// The part of a sample within one bucket whose groups tell how fast new ones appear.
const QUARTER: i64 = 4;

/// The raw rows of a dataset. Bytes are those of files, extrapolated to rows that are not in one yet.
pub(super) fn raw_facts(view: &DatasetView) -> RawFacts {
    let (mut rows, mut file_rows, mut file_bytes) = (0, 0, 0);
    for unit in view.units.iter() {
        if let Unit::Chunk(chunk) = unit {
            rows += chunk.batch().rows() as u64;
        }
        if let Some(segment) = unit.segment() {
            file_rows += segment.meta().rows;
            file_bytes += segment.meta().bytes;
        }
    }
    rows += file_rows;
    let bytes = if file_rows == 0 { 0.0 } else { file_bytes as f64 * rows as f64 / file_rows as f64 };
    RawFacts { rows, bytes: bytes as u64, distinct: BTreeMap::new() }
}

/// What a project holds, by unit: least and greatest time and rows.
struct Spans(Vec<(i64, i64, f64)>);

impl Spans {
    fn of(view: &DatasetView, project: &ProjectName) -> Self {
        let spans = view.units.iter().filter_map(|unit| unit.span(project));
        Spans(spans.map(|span| (span.min_us, span.max_us, span.rows as f64)).collect())
    }

    fn rows(&self) -> f64 {
        self.0.iter().map(|(_, _, rows)| rows).sum()
    }

    /// Rows from `from_us` on, taken as evenly spread within a unit.
    fn rows_since(&self, from_us: i64) -> f64 {
        let share = |(min, max, rows): &(i64, i64, f64)| {
            let length = (max - min + 1) as f64;
            rows * ((max - from_us.max(*min) + 1) as f64 / length).clamp(0.0, 1.0)
        };
        self.0.iter().map(share).sum()
    }

    /// The range to sample: all, or the newest part.
    fn sampled(&self) -> Option<Slice> {
        let first_us = self.0.iter().map(|(min, ..)| *min).min()?;
        let end_us = self.0.iter().map(|(_, max, _)| *max).max()? + 1;
        let mut length = end_us - first_us;
        while length > SAMPLE_US_MIN && self.rows_since(end_us - length) > SAMPLE_ROWS_MAX {
            length /= 2;
        }
        Some(Slice { first_us, from_us: end_us - length, end_us })
    }
}

/// A part `[from_us, end_us)` of rows that begin at `first_us`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slice {
    first_us: i64,
    from_us: i64,
    end_us: i64,
}

impl Slice {
    /// The part that is counted for a tier: whole buckets where the slice holds some, `None` where it lies within one.
    fn whole_buckets(self, width_us: i64) -> Option<Slice> {
        if self.from_us == self.first_us {
            return Some(self);
        }
        let from_us = -(-self.from_us).div_euclid(width_us) * width_us;
        (from_us + width_us <= self.end_us).then_some(Slice { from_us, ..self })
    }

    fn buckets(self, width_us: i64) -> u64 {
        (((self.end_us - 1).div_euclid(width_us) - self.first_us.div_euclid(width_us)) + 1).max(1) as u64
    }
}

/// Counts groups for the advisor.
pub(super) struct Sampler<'a> {
    engine: &'a Engine,
    view: &'a DatasetView,
    /// Raw rows of all projects.
    raw_rows: u64,
    control: Control,
    /// Whose rows, how many there are, and which of them are looked at.
    sampled: Option<(ProjectName, f64, Slice)>,
    until: Instant,
}

impl<'a> Sampler<'a> {
    pub fn new(
        engine: &'a Engine,
        view: &'a DatasetView,
        project: Option<&ProjectName>,
        raw_rows: u64,
        control: Control,
    ) -> Self {
        let sampled = project.and_then(|project| {
            let spans = Spans::of(view, project);
            Some((project.clone(), spans.rows(), spans.sampled()?))
        });
        let until = Instant::now() + SAMPLING_TIME_MAX;
        Sampler { engine, view, raw_rows, control, sampled, until }
    }

    /// How many groups a roll-up of these columns and this tier would keep of all rows; `None` where that cannot be told.
    pub fn count(&mut self, dimensions: &BTreeSet<ColumnRef>, tier: Tier) -> Option<Groups> {
        let (project, project_rows, slice) = self.sampled.clone()?;
        let width_us = width_us(tier);
        let counted = match slice.whole_buckets(width_us) {
            Some(whole) => {
                let count = self.ask(&project, dimensions, Some(tier), whole.from_us, whole.end_us);
                count.map(|(rows, groups)| Sample { rows, groups, quarter: None })
            }
            None => {
                let quarter_us = slice.from_us + (slice.end_us - slice.from_us) / QUARTER;
                let count = self.ask(&project, dimensions, None, slice.from_us, slice.end_us);
                let quarter = self.ask(&project, dimensions, None, slice.from_us, quarter_us);
                count.and_then(|(rows, groups)| Ok(Sample { rows, groups, quarter: Some(quarter?) }))
            }
        };
        let sample = counted
            .inspect_err(|error| {
                tracing::debug!(
                    error = error as &dyn std::error::Error,
                    "a sample for the advisor is left out"
                );
            })
            .ok()?;
        let groups = groups_in_all(&sample, project_rows as u64, slice.buckets(width_us));
        let rows = (groups as f64 * self.raw_rows as f64 / project_rows.max(1.0)).ceil() as u64;
        Some(Groups { rows: rows.min(self.raw_rows), sample })
    }

    /// Different values in the sample.
    pub fn distinct<'c>(&mut self, columns: impl Iterator<Item = &'c ColumnRef>) -> BTreeMap<ColumnRef, u64> {
        let mut columns: Vec<ColumnRef> = columns.cloned().collect();
        columns.sort_unstable();
        columns.dedup();
        columns.truncate(DISTINCT_COLUMNS_MAX);
        let Some((project, _, slice)) = self.sampled.clone() else { return BTreeMap::new() };
        let count = |column: ColumnRef| {
            let metric = json!({"agg": "uniq", "column": self.view.dataset.display(&column)});
            let answer =
                self.answer(&project, &metric, Vec::new(), slice.from_us, slice.end_us).ok()?.ok()?;
            Some((column, total(&answer)))
        };
        columns.into_iter().filter_map(count).collect()
    }

    /// Rows and groups of a part of the project's rows.
    fn ask(
        &self,
        project: &ProjectName,
        dimensions: &BTreeSet<ColumnRef>,
        tier: Option<Tier>,
        from_us: i64,
        to_us: i64,
    ) -> EngineResult<(u64, u64)> {
        let bucket = tier.map(|tier| format!("time:{}", granularity(tier)));
        let columns = dimensions.iter().map(|column| self.view.dataset.display(column));
        let dimensions = bucket.into_iter().chain(columns).collect();
        let counted = self.answer(project, &json!({"agg": "count"}), dimensions, from_us, to_us)?;
        Ok(counted.map_or_else(|rows| (rows, rows), |answer| (total(&answer), answer.total_rows())))
    }

    /// Asks about a part of the project's rows. What does not fit into memory gives the rows it came to.
    fn answer(
        &self,
        project: &ProjectName,
        metric: &Value,
        dimensions: Vec<String>,
        from_us: i64,
        to_us: i64,
    ) -> EngineResult<Result<Answer, u64>> {
        let bound = |micros| RangeBound::Instant(Timestamp(micros));
        let request = QueryRequest {
            dataset: self.view.dataset.name.to_string(),
            date_range: Some(DateRange::Spec(RangeSpec::bounds(bound(from_us), bound(to_us)))),
            metrics: vec![MetricInput::from_json(metric, "metrics[0]")?],
            dimensions,
            limit: Some(1),
            // Rows that have expired are in no roll-up made from now on.
            include: Include { totals: true, partial: true, ..Include::default() },
            ..QueryRequest::default()
        };
        let query = self.engine.resolve(&request, project, self.view)?;
        let deadline = self.control.deadline.map_or(self.until, |deadline| deadline.min(self.until));
        let control = Control {
            deadline: Some(deadline),
            memory_bytes_max: Some(COUNT_MEMORY_BYTES_MAX),
            progress: Default::default(),
            ..self.control.clone()
        };
        match self.engine.executor.execute(&query, self.view, &control) {
            Ok(answer) => Ok(Ok(answer)),
            Err(ExecuteError::Memory { .. } | ExecuteError::Limit { .. }) => {
                Ok(Err(control.progress.rows_scanned().max(1)))
            }
            Err(error) => Err(EngineError::from(error)),
        }
    }
}

/// The total of an answer's one count.
fn total(answer: &Answer) -> u64 {
    match answer.totals().and_then(<[Cell]>::first) {
        Some(Cell::Int(count)) => u64::try_from(*count).unwrap_or(0),
        _ => 0,
    }
}

fn granularity(tier: Tier) -> Granularity {
    match tier {
        Tier::Minute => Granularity::Minute,
        Tier::Minutes5 => Granularity::Minutes5,
        Tier::Hour => Granularity::Hour,
        Tier::Day => Granularity::Day,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000;

    #[test]
    fn the_sample_is_the_newest_part_and_bounded() {
        let small = Spans(vec![(0, 10 * HOUR - 1, 1_000.0)]);
        let all = small.sampled().expect("there are rows");
        assert_eq!(all, Slice { first_us: 0, from_us: 0, end_us: 10 * HOUR });
        assert_eq!(
            all.whole_buckets(24 * HOUR),
            Some(all),
            "all rows hold whole buckets as far as there are any"
        );
        let large = Spans(vec![(0, 24 * HOUR - 1, 3e6), (24 * HOUR, 48 * HOUR - 1, 3e6)]);
        let slice = large.sampled().expect("there are rows");
        assert_eq!(slice, Slice { first_us: 0, from_us: 46 * HOUR + HOUR / 2, end_us: 48 * HOUR });
        assert!(large.rows_since(slice.from_us) <= SAMPLE_ROWS_MAX);
        assert_eq!(slice.whole_buckets(HOUR).map(|whole| whole.from_us), Some(47 * HOUR));
        assert_eq!(slice.whole_buckets(24 * HOUR), None);
        assert_eq!((slice.buckets(HOUR), slice.buckets(24 * HOUR)), (48, 2));
        assert_eq!(Spans(Vec::new()).sampled(), None);
    }
}
