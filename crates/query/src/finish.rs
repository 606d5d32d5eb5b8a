//! From all groups of a question to its answer: comparison, fill, having, down-sampling, order.

use std::time::Instant;

use hashbrown::HashMap;
use tidewater_aggregate::Codes;
use tidewater_model::query::{Having, OrderTarget, Query};

use crate::answer::{Answer, Comparison, Explain, MetricQuality};
use crate::budget::QueryBudget;
use crate::control::Control;
use crate::error::ExecuteError;
use crate::having;
use crate::lttb;
use crate::merged::Merged;
use crate::order::Ranking;
use crate::others::others;
use crate::table::Table;

/// Makes the answer but for what was read for it.
pub(crate) fn finish(
    query: &Query,
    mut merged: Merged,
    compared: Option<Merged>,
    budget: &std::sync::Arc<QueryBudget>,
    control: &Control,
    mut explain: Explain,
) -> Result<Answer, ExecuteError> {
    let start = Instant::now();
    explain.groups = merged.values.partial.groups.len() as u64;
    explain.grouping = merged.values.partial.groups.method();
    let mut sources = merged.values.partial.sources.clone();
    compared.iter().for_each(|compared| sources.add(&compared.values.partial.sources));
    let source = sources.to_string();
    let totals = merged.totals();
    let mut quality = quality(&merged, compared.as_ref());
    let groups_with_rows = merged.values.partial.groups.len();
    control.check()?;
    if query.include.fill {
        merged.fill()?;
    }
    let mut reservation = budget.reserve();
    let comparison = compared.map(|compared| compare(&merged, compared));
    let table = Table::new(merged.values, &metrics_of_all_groups(query));
    drop(merged.reservation);
    reservation.resize(table.memory_bytes())?;
    control.check()?;
    let ranking = rank(query, &table);
    let others = query.include.others.then(|| {
        let shown = ranking.page(&table, 0, shown_rows(query));
        let comparison = comparison.as_ref().map(|found| (&found.table, &*found.groups));
        others(&table, groups_with_rows, shown, comparison, &mut quality)
    });
    explain.finish_time = start.elapsed();
    explain.memory_bytes_peak = budget.peak();
    Ok(Answer {
        table,
        ranking,
        comparison,
        totals,
        others: others.flatten(),
        quality,
        rows_scanned: 0,
        bytes_scanned: 0,
        cache_use: Default::default(),
        source,
        explain,
        covered_from: None,
    })
}

/// Rows up to the end of the page asked for.
fn shown_rows(query: &Query) -> u32 {
    u32::try_from(query.offset.saturating_add(u64::from(query.limit))).unwrap_or(u32::MAX)
}

/// The metrics that order or conditions look at for every group.
fn metrics_of_all_groups(query: &Query) -> Vec<usize> {
    let ordered = query.order.iter().filter_map(|key| match key.target {
        OrderTarget::Metric(metric) => Some(metric),
        OrderTarget::Dimension(_) => None,
    });
    let mut metrics: Vec<usize> = ordered.collect();
    having_metrics(&query.having, &mut metrics);
    metrics.sort_unstable();
    metrics.dedup();
    metrics
}

fn having_metrics(having: &Having, metrics: &mut Vec<usize>) {
    match having {
        Having::And(parts) | Having::Or(parts) => parts.iter().for_each(|part| having_metrics(part, metrics)),
        Having::Not(part) => having_metrics(part, metrics),
        Having::Compare { metric, .. } => metrics.push(*metric),
    }
}

/// Having, down-sampling, order.
fn rank(query: &Query, table: &Table) -> Ranking {
    let groups = 0..table.groups().len() as u32;
    let mut kept: Vec<u32> = if having::is_all(&query.having) {
        groups.collect()
    } else {
        let holds =
            |group: &u32| having::holds(&query.having, &|metric| table.metric(metric, *group as usize));
        groups.filter(holds).collect()
    };
    if let (Some(points), Some((place, _))) = (query.max_points, query.time_dimension()) {
        kept = thin_out(table, kept, place, points as usize);
    }
    let page = query.offset.saturating_add(u64::from(query.limit));
    Ranking::new(table, &query.order, kept, usize::try_from(page).unwrap_or(usize::MAX))
}

fn quality(merged: &Merged, compared: Option<&Merged>) -> Vec<MetricQuality> {
    let worse = |a: MetricQuality, b: MetricQuality| if a.relative_error >= b.relative_error { a } else { b };
    let metrics = merged.values.frame.plan.metrics.iter();
    metrics
        .map(|metric| {
            let own = merged.quality(metric);
            // Both passes come from one question, so their metrics read the same measures.
            compared.map_or(own, |compared| worse(own, compared.quality(metric)))
        })
        .collect()
}

/// Finds for each group the one with the same dimensions and bucket index in the compared range.
fn compare(merged: &Merged, compared: Merged) -> Comparison {
    let own = &merged.values.partial.groups;
    // Looking up adds codes, and the partial may be others' too.
    let mut others = compared.values.partial.groups.clone();
    let translations: Vec<Vec<u32>> = own
        .dimensions
        .iter()
        .zip(&mut others.dimensions)
        .map(|(own, others)| {
            (0..own.cardinality() as u32).map(|code| counterpart(own, others, code)).collect()
        })
        .collect();
    let cardinalities: Vec<usize> = others.dimensions.iter().map(Codes::cardinality).collect();
    let mut key = vec![0; own.dimensions.len()];
    let groups = (0..own.len())
        .map(|group| {
            for (place, code) in own.key(group).iter().enumerate() {
                key[place] = translations[place][*code as usize];
            }
            // The compared range may have fewer buckets.
            let is_known = key.iter().zip(&cardinalities).all(|(code, codes)| (*code as usize) < *codes);
            let found = if is_known { others.find(&key) } else { None };
            found.unwrap_or(Comparison::ABSENT)
        })
        .collect();
    Comparison { table: Table::new(compared.values, &[]), groups }
}

/// The code in the compared range of what has `code` in the own one: of a time bucket the one with the same index.
fn counterpart(own: &Codes, others: &mut Codes, code: u32) -> u32 {
    match own {
        Codes::Buckets(_) | Codes::Given(_) => code,
        Codes::Texts(_) | Codes::Numbers(_) => others.translate(own, code),
    }
}

/// Of each series (the groups that differ only in their bucket) the rows that LTTB keeps by the first metric. Rows without a
/// number are no points; they go where a series has too many.
fn thin_out(table: &Table, groups: Vec<u32>, time_place: usize, points_max: usize) -> Vec<u32> {
    let mut series: HashMap<Vec<u32>, Vec<u32>> = HashMap::new();
    for group in groups {
        let mut key = table.groups().key(group as usize).to_vec();
        key[time_place] = 0;
        series.entry(key).or_default().push(group);
    }
    let bucket = |group: u32| table.groups().key(group as usize)[time_place];
    let mut kept = Vec::new();
    for mut groups in series.into_values() {
        if groups.len() > points_max {
            groups.sort_unstable_by_key(|group| bucket(*group));
            let x = |group: u32| table.groups().dimensions[time_place].bucket_start_us(bucket(group)) as f64;
            let point = |group: u32| {
                let y = table.metric(0, group as usize).as_f64()?;
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
