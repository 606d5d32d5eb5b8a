//! One question's way from plan to answer.

use std::sync::Arc;
use std::time::Instant;

use hashbrown::HashMap;
use tidewater_aggregate::Codes;
use tidewater_model::query::Query;
use tidewater_model::time::{ResolvedRange, Timestamp};
use tidewater_store::{DatasetView, Morsel};

use crate::answer::{Answer, Comparison, Explain, MetricQuality};
use crate::budget::QueryBudget;
use crate::control::Control;
use crate::coverage::cover;
use crate::error::ExecuteError;
use crate::having;
use crate::lttb;
use crate::merged::Merged;
use crate::order::Ranking;
use crate::partial::{Partial, Worker};
use crate::plan::{Plan, Range};
use crate::pool::Pool;
use crate::scan::read_all;
use crate::table::Table;

/// A question with all that it runs on.
pub(crate) struct Execution<'a> {
    pub pool: &'a Pool,
    pub budget: Arc<QueryBudget>,
    pub query: &'a Query,
    pub view: &'a DatasetView,
    pub control: &'a Control,
}

impl Execution<'_> {
    pub fn run(self) -> Result<Answer, ExecuteError> {
        let mut explain = Explain { threads: self.pool.threads(), ..Explain::default() };
        let (range, covered_from) = self.cover(&self.query.range)?;
        let mut merged = self.aggregate(range, &mut explain)?;
        let compared = match &self.query.compare {
            None => None,
            Some(range) => Some(self.aggregate(self.cover(range)?.0, &mut explain)?),
        };
        let finish = Instant::now();
        explain.groups = merged.groups.len() as u64;
        explain.grouping = merged.groups.method();
        let totals = merged.totals();
        let quality = quality(&merged, compared.as_ref());
        self.control.check()?;
        if self.query.include.fill {
            merged.fill()?;
        }
        let (mut reservation, plan) = (self.budget.reserve(), Arc::clone(&merged.plan));
        let comparison = compared.map(|compared| compare(&merged, compared));
        let table = Table::new(merged);
        reservation.resize(table.memory_bytes())?;
        self.control.check()?;
        let ranking = self.rank(&table, &plan);
        explain.finish_time = finish.elapsed();
        explain.memory_bytes_peak = self.budget.peak();
        Ok(Answer {
            table,
            ranking,
            comparison,
            totals,
            quality,
            rows_scanned: self.control.progress.rows_scanned(),
            bytes_scanned: self.control.progress.bytes_scanned(),
            explain: self.query.include.explain.then_some(explain),
            covered_from,
        })
    }

    fn cover(&self, range: &ResolvedRange) -> Result<(Range, Option<Timestamp>), ExecuteError> {
        let range = Range {
            from_us: range.from.0,
            to_us: range.to.map_or(i64::MAX, |to| to.0),
            now_us: self.query.now.0,
        };
        cover(range, &self.view.dataset.retention, self.query.include.partial)
    }

    /// All groups of one range, exact percentiles included.
    fn aggregate(&self, range: Range, explain: &mut Explain) -> Result<Merged, ExecuteError> {
        let start = Instant::now();
        let span = self.view.time_span(&self.query.project);
        let plan = Arc::new(Plan::new(self.query, range, span)?);
        let morsels = self.morsels(&plan, explain)?;
        let planned = Instant::now();
        let worker = || Worker::new(&plan, Partial::new(&plan), self.budget.reserve());
        let workers = read_all(self.pool, morsels, self.control, worker)?;
        let scanned = Instant::now();
        let mut merged = Merged::new(&plan, workers)?;
        explain.plan_time += planned - start;
        explain.scan_time += scanned - planned;
        explain.merge_time += scanned.elapsed();
        explain.passes += 1;
        if self.query.exact {
            let second = Instant::now();
            if let Some(pass) = merged.second_pass()? {
                let morsels = self.morsels(&plan, &mut Explain::default())?;
                let worker = || Worker::new(&plan, merged.seed(&pass)?, self.budget.reserve());
                let workers = read_all(self.pool, morsels, self.control, worker)?;
                merged.finish_second_pass(workers);
                explain.passes += 1;
                explain.scan_time += second.elapsed();
            }
        }
        Ok(merged)
    }

    fn morsels(&self, plan: &Plan, explain: &mut Explain) -> Result<Vec<Morsel>, ExecuteError> {
        let (project, range) = (&self.query.project, plan.range);
        let mut morsels = Vec::new();
        let mut units = 0;
        if range.from_us < range.to_us {
            for unit in self.view.units_for(project, range.from_us, range.to_us) {
                units += 1;
                self.control.check()?;
                morsels.extend(self.view.scan_unit(unit, &plan.request)?);
            }
        }
        explain.units += units;
        explain.units_skipped += self.view.units.len() as u64 - units;
        explain.morsels += morsels.len() as u64;
        if explain.columns.is_empty() {
            let columns = plan.request.columns.iter();
            explain.columns = columns.map(|reference| self.query.dataset.display(reference)).collect();
            explain.measures = plan.measures.iter().map(|measure| measure.name.clone()).collect();
        }
        Ok(morsels)
    }

    /// Having, down-sampling, order.
    fn rank(&self, table: &Table, plan: &Plan) -> Ranking {
        let groups = 0..table.groups.len() as u32;
        let mut kept: Vec<u32> = if having::is_all(&self.query.having) {
            groups.collect()
        } else {
            let holds = |group: &u32| {
                having::holds(&self.query.having, &|metric| table.metrics[metric].get(*group as usize))
            };
            groups.filter(holds).collect()
        };
        if let (Some(points), Some((place, _))) = (self.query.max_points, plan.time_dimension()) {
            kept = thin_out(table, kept, place, points as usize);
        }
        let page = self.query.offset.saturating_add(u64::from(self.query.limit));
        Ranking::new(table, &self.query.order, kept, usize::try_from(page).unwrap_or(usize::MAX))
    }
}

fn quality(merged: &Merged, compared: Option<&Merged>) -> Vec<MetricQuality> {
    let worse = |a: MetricQuality, b: MetricQuality| if a.relative_error >= b.relative_error { a } else { b };
    let metrics = merged.plan.metrics.iter();
    metrics
        .map(|metric| {
            let own = merged.quality(metric);
            // Both passes come from one question, so their metrics read the same measures.
            compared.map_or(own, |compared| worse(own, compared.quality(metric)))
        })
        .collect()
}

/// Finds for each group the one with the same dimensions and bucket index in the compared range.
fn compare(merged: &Merged, mut compared: Merged) -> Comparison {
    let dimensions = &merged.groups.dimensions;
    let translations: Vec<Vec<u32>> = dimensions
        .iter()
        .zip(&mut compared.groups.dimensions)
        .map(|(own, others)| {
            (0..own.cardinality() as u32).map(|code| counterpart(own, others, code)).collect()
        })
        .collect();
    let cardinalities: Vec<usize> =
        compared.groups.dimensions.iter().map(|codes| codes.cardinality()).collect();
    let mut key = vec![0; dimensions.len()];
    let groups = (0..merged.groups.len())
        .map(|group| {
            for (place, code) in merged.groups.key(group).iter().enumerate() {
                key[place] = translations[place][*code as usize];
            }
            // The compared range may have fewer buckets.
            let is_known = key.iter().zip(&cardinalities).all(|(code, codes)| (*code as usize) < *codes);
            let found = if is_known { compared.groups.find(&key) } else { None };
            found.unwrap_or(Comparison::ABSENT)
        })
        .collect();
    Comparison { metrics: Table::new(compared).metrics, groups }
}

/// The code in the compared range of what has `code` in the own one: of a time bucket the one with the same index.
fn counterpart(own: &Codes, others: &mut Codes, code: u32) -> u32 {
    match own {
        Codes::Buckets(_) => code,
        Codes::Texts(_) | Codes::Numbers(_) => others.translate(own, code),
    }
}

/// Of each series (the groups that differ only in their bucket) the rows that LTTB keeps by the first metric. Rows without a
/// number are no points; they go where a series has too many.
fn thin_out(table: &Table, groups: Vec<u32>, time_place: usize, points_max: usize) -> Vec<u32> {
    let mut series: HashMap<Vec<u32>, Vec<u32>> = HashMap::new();
    for group in groups {
        let mut key = table.groups.key(group as usize).to_vec();
        key[time_place] = 0;
        series.entry(key).or_default().push(group);
    }
    let bucket = |group: u32| table.groups.key(group as usize)[time_place];
    let mut kept = Vec::new();
    for mut groups in series.into_values() {
        if groups.len() > points_max {
            groups.sort_unstable_by_key(|group| bucket(*group));
            let x = |group: u32| table.groups.dimensions[time_place].bucket_start_us(bucket(group)) as f64;
            let point = |group: u32| {
                let y = table.metrics.first()?.get(group as usize).as_f64()?;
                Some((group, (x(group), y)))
            };
            let (found, points): (Vec<u32>, Vec<(f64, f64)>) =
                groups.iter().filter_map(|group| point(*group)).unzip();
            groups = lttb::keep(&points, points_max).into_iter().map(|index| found[index]).collect();
        }
        kept.append(&mut groups);
    }
    kept
}
