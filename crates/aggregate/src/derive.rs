//! From rows to sections: what a segment's sidecar holds, made while the segment's rows pass by.
//!
//! Rows come project by project. Each roll-up has one table of groups at the finest tier that may still pay; coarser tiers are made by
//! merging its groups, which gives what the rows would give. A project's slices are encoded and its groups dropped before the next
//! project begins, so memory is bounded by one project's groups. Not here: where rows come from and where bytes go (`store`).

mod axis;
mod give_up;
mod join;
mod table;

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_buffer::BooleanBuffer;
use tidewater_columns::RowBatch;
use tidewater_columns::mask::{CompiledFilter, Evaluator};
use tidewater_model::names::ProjectName;
use tidewater_model::schema::{ColumnRef, Dataset, Tier};

use crate::feed::{Feed, Rows, Scratch, subset};
use crate::rollup::{RollupPlan, RollupTier, rollup_plans};
use crate::section::dimension::ValueKind;
use crate::section::{EncodedSection, EncodedSlice, SectionHead};
use crate::state::{Input, StateKind};
use axis::{Axis, Sorted};
use give_up::{Judge, pays};
use table::Table;

pub use join::{VisibleSlice, join_sections, join_slices};

/// Rows that are taken at a time, so that codes stay in a processor's cache.
const BLOCK_ROWS: usize = 8_192;

/// What is known of a segment before its rows come. It only decides how early hopeless tiers are given up.
#[derive(Clone, Copy, Debug)]
pub struct RowsExpected {
    /// About how many rows there will be.
    pub rows: u64,
    /// About how many bytes the segment's file will have.
    pub raw_bytes: u64,
}

/// Everything that was derived from a segment's rows.
#[derive(Clone, Debug, Default)]
pub struct Derived {
    /// What pays or outlives the rows.
    pub sections: Vec<EncodedSection>,
    /// Roll-ups and tiers that would take too many bytes or have too many groups, and are not kept.
    pub not_paying: Vec<(String, Tier)>,
}

/// A derivation under way.
pub struct Derivation {
    dataset: Arc<Dataset>,
    rollups: Vec<Building>,
    /// Every column that is read, each once.
    sources: Vec<ColumnRef>,
    /// The dimensions of all roll-ups: the place among the sources, and the values.
    axes: Vec<(usize, ValueKind)>,
    values: Vec<Axis>,
    filters: Vec<Evaluator>,
    expected: RowsExpected,
    project: Option<ProjectName>,
    /// Rows of all projects so far.
    rows: u64,
    buffers: Buffers,
}

#[derive(Default)]
struct Buffers {
    rows: Vec<u32>,
    groups: Vec<u32>,
    scratch: Scratch,
}

/// One roll-up.
struct Building {
    head: SectionHead,
    kinds: Vec<StateKind>,
    /// Of each measure its place among the sources, and its filter.
    measures: Vec<(Option<usize>, Option<usize>)>,
    /// Of each dimension its place among the axes.
    axes: Vec<usize>,
    /// Tiers that are still made, finest first.
    tiers: Vec<TierSlices>,
    not_paying: Vec<Tier>,
    table: Option<Table>,
    judge: Judge,
}

struct TierSlices {
    tier: RollupTier,
    slices: Vec<EncodedSlice>,
    bytes: u64,
}

impl Derivation {
    /// For the roll-ups of a dataset; `None` where there are none, or where a filter cannot be compiled.
    pub fn new(dataset: &Arc<Dataset>, expected: RowsExpected) -> Option<Self> {
        let plans = rollup_plans(dataset);
        if plans.is_empty() {
            return None;
        }
        let mut derivation = Derivation {
            dataset: Arc::clone(dataset),
            rollups: Vec::new(),
            sources: Vec::new(),
            axes: Vec::new(),
            values: Vec::new(),
            filters: Vec::new(),
            expected,
            project: None,
            rows: 0,
            buffers: Buffers::default(),
        };
        for plan in plans {
            let building = derivation.building(plan)?;
            derivation.rollups.push(building);
        }
        derivation.values = derivation.fresh_values();
        Some(derivation)
    }

    /// Takes the next rows. Each project's rows come in one run, in the segment's order.
    pub fn add(&mut self, project: &ProjectName, rows: &RowBatch) {
        if self.project.as_ref() != Some(project) {
            self.end_project();
            self.project = Some(project.clone());
        }
        for first in (0..rows.rows()).step_by(BLOCK_ROWS) {
            let len = BLOCK_ROWS.min(rows.rows() - first);
            self.add_block(&if len == rows.rows() { rows.clone() } else { rows.slice(first, len) });
        }
    }

    /// Ends it. `raw_bytes` is what the segment's file has in the end.
    pub fn finish(mut self, raw_bytes: u64) -> Derived {
        self.end_project();
        let mut derived = Derived::default();
        for building in self.rollups {
            let name = &building.head.rollup;
            derived.not_paying.extend(building.not_paying.iter().map(|tier| (name.clone(), *tier)));
            for TierSlices { tier, slices, bytes } in building.tiers {
                let groups = slices.iter().map(|slice| slice.rows).sum();
                if !tier.outlives_raw && !pays(groups, bytes, self.rows, raw_bytes) {
                    derived.not_paying.push((name.clone(), tier.tier));
                } else if !slices.is_empty() {
                    let head = SectionHead { tier: tier.tier, ..building.head.clone() };
                    derived.sections.push(EncodedSection { head, projects: slices });
                }
            }
        }
        derived
    }

    /// Bytes held by groups that are not encoded yet, and by slices.
    pub fn memory_bytes(&self) -> usize {
        let of_rollup = |building: &Building| {
            let slices: u64 = building.tiers.iter().map(|tier| tier.bytes).sum();
            building.table.as_ref().map_or(0, Table::memory_bytes) + slices as usize
        };
        self.rollups.iter().map(of_rollup).sum()
    }

    fn building(&mut self, plan: RollupPlan) -> Option<Building> {
        let mut measures = Vec::with_capacity(plan.measures.len());
        for measure in &plan.measures {
            let source = measure.column.as_ref().map(|column| self.source(column));
            let filter = match measure.filter.is_all() {
                true => None,
                false => Some(self.filter(CompiledFilter::compile(&measure.filter).ok()?)),
            };
            measures.push((source, filter));
        }
        let axes = plan.dimensions.iter().map(|column| self.axis(column)).collect();
        let dataset = &self.dataset;
        let finest = plan.tiers.first()?.tier;
        Some(Building {
            head: SectionHead {
                rollup: plan.name.to_string(),
                tier: finest,
                dimensions: plan.dimensions.iter().map(|column| dataset.display(column)).collect(),
                measures: plan.measures.iter().map(|measure| measure.text(dataset)).collect(),
            },
            kinds: plan.measures.iter().map(|measure| measure.state).collect(),
            measures,
            axes,
            tiers: plan
                .tiers
                .iter()
                .map(|tier| TierSlices { tier: *tier, slices: Vec::new(), bytes: 0 })
                .collect(),
            not_paying: Vec::new(),
            table: None,
            judge: Judge::new(dataset, &plan),
        })
    }

    fn source(&mut self, column: &ColumnRef) -> usize {
        let known = self.sources.iter().position(|other| other == column);
        known.unwrap_or_else(|| {
            self.sources.push(column.clone());
            self.sources.len() - 1
        })
    }

    fn axis(&mut self, column: &ColumnRef) -> usize {
        let source = self.source(column);
        let known = self.axes.iter().position(|(other, _)| *other == source);
        known.unwrap_or_else(|| {
            self.axes.push((source, ValueKind::of(self.dataset.kind(column))));
            self.axes.len() - 1
        })
    }

    fn filter(&mut self, filter: CompiledFilter) -> usize {
        self.filters.push(Evaluator::new(Arc::new(filter)));
        self.filters.len() - 1
    }

    fn fresh_values(&self) -> Vec<Axis> {
        self.axes.iter().map(|(_, kind)| Axis::new(*kind)).collect()
    }

    fn add_block(&mut self, rows: &RowBatch) {
        let sources: Vec<Option<ArrayRef>> = self.sources.iter().map(|column| rows.read(column)).collect();
        for ((source, _), axis) in self.axes.iter().zip(&mut self.values) {
            axis.encode(sources[*source].as_ref(), rows.rows());
        }
        let masks: Vec<BooleanBuffer> = self
            .filters
            .iter_mut()
            .map(|filter| filter.evaluate(rows.rows(), &mut |column| rows.read(column)))
            .collect();
        self.rows += rows.rows() as u64;
        let (values, expected, all_rows) = (&self.values, self.expected, self.rows);
        for building in self.rollups.iter_mut().filter(|building| !building.tiers.is_empty()) {
            building.add_block(rows, &sources, values, &masks, &mut self.buffers);
            if let Some(project) = &self.project {
                building.give_up_hopeless(project, values, expected, all_rows);
            }
        }
    }

    /// Encodes the slices of the project whose rows have come.
    fn end_project(&mut self) {
        let Some(project) = self.project.take() else { return };
        let fresh = self.fresh_values();
        let values = std::mem::replace(&mut self.values, fresh);
        let is_used = |axis: usize| self.rollups.iter().any(|building| building.axes.contains(&axis));
        let sorted: Vec<Option<Sorted>> =
            values.iter().enumerate().map(|(axis, values)| is_used(axis).then(|| values.sort())).collect();
        for building in &mut self.rollups {
            building.end_project(&project, &sorted);
        }
    }
}

impl Building {
    fn add_block(
        &mut self,
        rows: &RowBatch,
        sources: &[Option<ArrayRef>],
        values: &[Axis],
        masks: &[BooleanBuffer],
        buffers: &mut Buffers,
    ) {
        let table = self
            .table
            .get_or_insert_with(|| Table::new(self.tiers[0].tier.tier, self.axes.len(), &self.kinds));
        let (keys, states) = table.assign(rows.times(), values, &self.axes);
        let feed = Feed { rows: Rows::All(rows.rows()), keys };
        for (states, (source, filter)) in states.iter_mut().zip(&self.measures) {
            let array = source.and_then(|source| sources[source].as_ref());
            let input = Input { array, times: rows.times() };
            let Buffers { rows: kept_rows, groups, scratch } = buffers;
            match filter {
                None => states.update(&feed, &input, scratch),
                Some(filter) => {
                    let feed = subset(&feed, &masks[*filter], kept_rows, groups);
                    if feed.rows.len() > 0 {
                        states.update(&feed, &input, scratch);
                    }
                }
            }
        }
    }

    /// Drops the finest tiers that cannot pay any more.
    fn give_up_hopeless(
        &mut self,
        project: &ProjectName,
        values: &[Axis],
        expected: RowsExpected,
        rows: u64,
    ) {
        while let (Some(table), Some(finest)) = (&self.table, self.tiers.first()) {
            if finest.tier.outlives_raw || !self.judge.is_due(table, rows) {
                return;
            }
            let bytes = finest.bytes + self.judge.estimate(table, project, values, &self.axes);
            let of_slices: u64 = finest.slices.iter().map(|slice| slice.rows).sum();
            let groups = of_slices + table.groups.len() as u64;
            if !self.judge.is_hopeless(groups, bytes, rows, expected) {
                return;
            }
            self.not_paying.push(self.tiers.remove(0).tier.tier);
            self.table = self.tiers.first().map(|next| table.coarsened(next.tier.tier, &self.kinds));
        }
    }

    fn end_project(&mut self, project: &ProjectName, sorted: &[Option<Sorted>]) {
        let Some(mut table) = self.table.take() else { return };
        self.judge.end_project();
        for tier in &mut self.tiers {
            if tier.tier.tier != table.tier {
                table = table.coarsened(tier.tier.tier, &self.kinds);
            }
            let slice = table.encode(project, sorted, &self.axes);
            tier.bytes += slice.bytes();
            tier.slices.push(slice);
        }
    }
}
