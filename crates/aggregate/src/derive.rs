//! From rows to sections: what a segment's sidecar holds, made while the segment's rows pass by.
//!
//! Rows come project by project. Each roll-up has one table of groups at the finest tier that may still pay; coarser tiers are made by
//! merging its groups, which gives what the rows would give. A project's slices are encoded and its groups dropped before the next
//! project begins, so memory is bounded by one project's groups. Not here: where rows come from and where bytes go (`store`).

mod axis;
mod forecast;
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
    /// Every roll-up and tier that is declared, in the order in which sections stand.
    declared: Vec<(String, RollupTier)>,
    /// Sections that are not derived, because they are known already.
    known: Vec<EncodedSection>,
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
    /// For the roll-ups of a dataset; `None` where there are none, or where a filter cannot be compiled. `known` are sections of the
    /// very rows that will come, joined from those of their parts: they are kept where they pay, as if they were derived.
    pub fn new(dataset: &Arc<Dataset>, expected: RowsExpected, known: Vec<EncodedSection>) -> Option<Self> {
        Derivation::of_tiers(dataset, expected, known, |_| true)
    }

    /// The same for the tiers that are wanted.
    fn of_tiers(
        dataset: &Arc<Dataset>,
        expected: RowsExpected,
        known: Vec<EncodedSection>,
        is_wanted: impl Fn(&RollupTier) -> bool,
    ) -> Option<Self> {
        let plans = rollup_plans(dataset);
        if plans.is_empty() {
            return None;
        }
        let declared = |plan: &RollupPlan| {
            let name = plan.name.to_string();
            plan.tiers.iter().map(move |tier| (name.clone(), *tier)).collect::<Vec<_>>()
        };
        let mut derivation = Derivation {
            dataset: Arc::clone(dataset),
            declared: plans.iter().flat_map(declared).collect(),
            known,
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
        for mut plan in plans {
            let is_known = |tier: Tier| {
                let mut known = derivation.known.iter().map(|section| &section.head);
                known.any(|head| head.rollup == *plan.name && head.tier == tier)
            };
            let left =
                plan.tiers.iter().copied().filter(|tier| !is_known(tier.tier) && is_wanted(tier)).collect();
            plan.tiers = left;
            if !plan.tiers.is_empty() {
                let building = derivation.building(plan)?;
                derivation.rollups.push(building);
            }
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

    /// Encodes what the rows of the last project gave; no more come.
    pub fn end_rows(&mut self) {
        self.end_project();
    }

    /// Ends it. `raw_bytes` is what the segment's file has in the end.
    pub fn finish(mut self, raw_bytes: u64) -> Derived {
        self.end_rows();
        let mut derived = Derived::default();
        let mut made = self.known;
        for building in self.rollups {
            let name = &building.head.rollup;
            derived.not_paying.extend(building.not_paying.iter().map(|tier| (name.clone(), *tier)));
            made.extend(building.tiers.into_iter().map(|TierSlices { tier, slices, .. }| EncodedSection {
                head: SectionHead { tier: tier.tier, ..building.head.clone() },
                projects: slices,
            }));
        }
        for (name, tier) in &self.declared {
            let is_it =
                |section: &EncodedSection| section.head.rollup == *name && section.head.tier == tier.tier;
            let Some(place) = made.iter().position(is_it) else { continue };
            let section = made.swap_remove(place);
            if !tier.outlives_raw && !pays(section.rows(), section.bytes(), self.rows, raw_bytes) {
                derived.not_paying.push((name.clone(), tier.tier));
            } else if !section.projects.is_empty() {
                derived.sections.push(section);
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
        let known: u64 = self.known.iter().map(EncodedSection::bytes).sum();
        self.rollups.iter().map(of_rollup).sum::<usize>() + known as usize
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
        self.rows += rows.rows() as u64;
        let used = Used::by(&self.rollups, &self.axes, self.sources.len(), self.filters.len());
        let read = self.sources.iter().zip(&used.sources);
        let sources: Vec<Option<ArrayRef>> =
            read.map(|(column, is_used)| is_used.then(|| rows.read(column)).flatten()).collect();
        for (axis, (source, _)) in self.axes.iter().enumerate().filter(|(axis, _)| used.axes[*axis]) {
            self.values[axis].encode(sources[*source].as_ref(), rows.rows());
        }
        let filters = self.filters.iter_mut().zip(&used.filters);
        let masks: Vec<Option<BooleanBuffer>> = filters
            .map(|(filter, is_used)| {
                is_used.then(|| filter.evaluate(rows.rows(), &mut |column| rows.read(column)))
            })
            .collect();
        let (values, expected, all_rows) = (&self.values, self.expected, self.rows);
        for building in self.rollups.iter_mut().filter(|building| building.is_made()) {
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
        let is_used = |axis: usize| {
            self.rollups.iter().any(|building| building.is_made() && building.axes.contains(&axis))
        };
        let sorted: Vec<Option<Sorted>> =
            values.iter().enumerate().map(|(axis, values)| is_used(axis).then(|| values.sort())).collect();
        for building in &mut self.rollups {
            building.end_project(&project, &sorted);
        }
    }
}

/// What the roll-ups that are still made need: what was given up costs nothing any more.
struct Used {
    axes: Vec<bool>,
    sources: Vec<bool>,
    filters: Vec<bool>,
}

impl Used {
    fn by(rollups: &[Building], axes: &[(usize, ValueKind)], sources: usize, filters: usize) -> Self {
        let mut used = Used {
            axes: vec![false; axes.len()],
            sources: vec![false; sources],
            filters: vec![false; filters],
        };
        for building in rollups.iter().filter(|building| building.is_made()) {
            for axis in &building.axes {
                used.axes[*axis] = true;
                used.sources[axes[*axis].0] = true;
            }
            for (source, filter) in &building.measures {
                source.iter().for_each(|source| used.sources[*source] = true);
                filter.iter().for_each(|filter| used.filters[*filter] = true);
            }
        }
        used
    }
}

impl Building {
    /// Whether any tier is left.
    fn is_made(&self) -> bool {
        !self.tiers.is_empty()
    }

    fn add_block(
        &mut self,
        rows: &RowBatch,
        sources: &[Option<ArrayRef>],
        values: &[Axis],
        masks: &[Option<BooleanBuffer>],
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
                    let mask = masks[*filter].as_ref().expect("filters in use are evaluated before");
                    let feed = subset(&feed, mask, kept_rows, groups);
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
            let of_slices: u64 = finest.slices.iter().map(|slice| slice.rows).sum();
            // Groups are counted already; their bytes are told only where that leaves a doubt.
            if !self.judge.has_too_many(of_slices + table.groups.len() as u64, rows) {
                let bytes = finest.bytes + self.judge.estimate(table, project, values, &self.axes);
                if !self.judge.is_hopeless(bytes, rows, expected) {
                    return;
                }
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
