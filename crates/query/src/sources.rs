//! Where the rows of pieces are read from: what is known of units, for the planner, and its decisions as parts to read.
//!
//! Not here: the decisions (`planner`), and the reading (`team`, `section`).

use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::HashMap;
use tidewater_aggregate::{SectionHead, StateKind};
use tidewater_model::names::ProjectName;
use tidewater_model::schema::{Dataset, DatasetId};
use tidewater_model::time::Timestamp;
use tidewater_store::{DatasetView, Sidecar, Tombstone, Unit};

use crate::error::ExecuteError;
use crate::frame::Frame;
use crate::pieces::UnitPiece;
use crate::plan::Plan;
use crate::planner::{
    Ages, Coverage, PieceMeasure, Planner, Question, RangePlan, RawFacts, SectionFacts, SectionSchema,
    Source, SourceSummary, UnitFacts, Wanted,
};

/// A part of a piece that is read from one source.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// `None` for the rows as they were sent.
    pub section: Option<Arc<SectionPart>>,
    /// Rows in `[from, to)`; of a section, rows whose cell begins there.
    pub interval: (i64, i64),
    pub measures: Vec<PieceMeasure>,
}

/// A section to read.
#[derive(Clone, Debug)]
pub(crate) struct SectionPart {
    pub sidecar: Arc<Sidecar>,
    pub index: usize,
    pub schema: Arc<SectionSchema>,
    /// Rows of the project in all of it.
    pub rows: u64,
    /// Earlier times count as this one when rows are put into buckets: a cell may begin before the unit's first row.
    pub least_us: i64,
    /// Deletes that have to be held against the section's own rows: of history alone.
    pub tombstones: Vec<Arc<Tombstone>>,
}

impl Part {
    fn raw(plan: &Plan, interval: (i64, i64)) -> Self {
        let measures = plan.measures.iter().enumerate();
        let measures = measures
            .map(|(measure, plan)| PieceMeasure { measure, stored: 0, filtered: plan.filter.is_some() })
            .collect();
        Part { section: None, interval, measures }
    }

    /// Its name in the answer.
    pub fn source(&self) -> SourceSummary {
        let mut summary = SourceSummary::default();
        match &self.section {
            None => summary.add_raw(),
            Some(section) => summary.add_section(&section.schema.rollup, section.schema.tier),
        }
        summary
    }
}

/// What sections say of themselves, resolved against the present definitions of datasets: each once.
#[derive(Debug, Default)]
pub(crate) struct Schemas {
    datasets: Mutex<HashMap<DatasetId, Known>>,
}

#[derive(Debug)]
struct Known {
    dataset: Arc<Dataset>,
    schemas: Vec<(Arc<SectionHead>, Option<Arc<SectionSchema>>)>,
}

/// Heads of one dataset that are remembered; more than its roll-ups ever had at a time.
const HEADS_MAX: usize = 1_024;

impl Schemas {
    fn resolve(&self, view: &DatasetView, head: &Arc<SectionHead>) -> Option<Arc<SectionSchema>> {
        let mut datasets = self.datasets.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Known { dataset: Arc::clone(&view.dataset), schemas: Vec::new() };
        let known = datasets.entry(view.id).or_insert_with(fresh);
        if !Arc::ptr_eq(&known.dataset, &view.dataset) || known.schemas.len() >= HEADS_MAX {
            *known = fresh();
        }
        if let Some((_, schema)) = known.schemas.iter().find(|(other, _)| other == head) {
            return schema.clone();
        }
        let rollup = head.rollup.as_str().into();
        let schema =
            SectionSchema::resolve(&view.dataset, &rollup, head.tier, &head.dimensions, &head.measures);
        known.schemas.push((Arc::clone(head), schema.map(Arc::new)));
        known.schemas.last().and_then(|(_, schema)| schema.clone())
    }
}

/// What a pass may read.
pub(crate) struct Sources<'a> {
    view: &'a DatasetView,
    schemas: &'a Schemas,
    plan: Arc<Plan>,
    question: Question,
    ages: Ages,
    /// Rows are read as they were sent, whatever else there is.
    is_raw_only: bool,
}

/// A section of a unit, by its place in the facts.
type Sections = Vec<(usize, Arc<SectionSchema>)>;

impl<'a> Sources<'a> {
    pub fn new(view: &'a DatasetView, schemas: &'a Schemas, frame: &Frame, is_raw_only: bool) -> Self {
        let plan = &frame.plan;
        let wanted = |measure: &crate::plan::MeasurePlan| Wanted {
            key: measure.key.clone(),
            raw_only: is_raw_only || measure.state == StateKind::ExactDistinct,
        };
        let question = Question {
            from_us: frame.range.from_us,
            to_us: frame.range.to_us,
            grid: frame.grid.clone(),
            dimensions: plan.grouping_columns(),
            filter: plan.hint.clone(),
            measures: plan.measures.iter().map(wanted).collect(),
        };
        let ages = Ages::new(&view.dataset.retention, frame.range.now_us);
        Sources { view, schemas, plan: Arc::clone(plan), question, ages, is_raw_only }
    }

    /// The start of the part of the range that is answered: the range's own unless a part is to be cut off.
    pub fn cover(&self, may_cut: bool) -> Result<i64, ExecuteError> {
        let (from_us, to_us) = (self.question.from_us, self.question.to_us);
        if from_us >= to_us || self.is_all_raw(from_us) {
            return Ok(from_us);
        }
        let lost_until_us = self.view.lost_until_us;
        let mut units = Vec::new();
        for index in 0..self.view.units.len() {
            units.extend(self.facts(index)?.map(|(facts, _)| facts));
        }
        let declared = SectionSchema::declared(&self.view.dataset);
        let first_row_us = self.view.time_span(&self.plan.project).map(|(first, _)| first.0);
        let coverage = Coverage { declared: &declared, ages: self.ages, first_row_us, lost_until_us };
        match RangePlan::new(&self.question, &units, &coverage, may_cut) {
            Ok(plan) => Ok(plan.from_us),
            Err(missing) => Err(ExecuteError::RangeNotCovered { from: Timestamp(missing.from_us) }),
        }
    }

    /// Whether every row from an instant on is there as it was sent. Young rows are, but for those that had expired under a shorter
    /// retention than today's.
    fn is_all_raw(&self, from_us: i64) -> bool {
        let is_old = |last_us: i64| last_us < from_us;
        let history = self.view.units.iter().filter(|unit| matches!(unit, Unit::History(_)));
        let mut spans = history.filter_map(|unit| unit.span(&self.plan.project));
        from_us >= self.ages.raw_us
            && self.view.lost_until_us.is_none_or(is_old)
            && spans.all(|span| is_old(span.max_us))
    }

    /// The parts of a piece, and what reading them is expected to cost in nano-seconds of one core.
    pub fn parts(&self, piece: &UnitPiece) -> Result<(Vec<Part>, u64), ExecuteError> {
        let interval = (piece.from_us.unwrap_or(i64::MIN), piece.to_us.unwrap_or(i64::MAX));
        if self.is_raw_only {
            return Ok((vec![Part::raw(&self.plan, interval)], 0));
        }
        let Some((facts, sections)) = self.facts(piece.unit)? else { return Ok((Vec::new(), 0)) };
        let planned = Planner::new(&self.question, self.ages)
            .plan(&facts)
            .map_err(|gap| ExecuteError::RangeNotCovered { from: Timestamp(gap.until_us) })?;
        let unit = &self.view.units[piece.unit];
        let part = |found: crate::planner::Piece| Part {
            section: match found.source {
                Source::Raw => None,
                Source::Section(place) => {
                    let (index, schema) = &sections[place];
                    unit.sidecar().map(|sidecar| {
                        Arc::new(SectionPart {
                            sidecar: Arc::clone(sidecar),
                            index: *index,
                            schema: Arc::clone(schema),
                            rows: facts.sections[place].rows,
                            least_us: planned.least_us,
                            tombstones: history_tombstones(unit, &self.view.tombstones),
                        })
                    })
                }
            },
            interval: (found.from_us.unwrap_or(i64::MIN), found.to_us.unwrap_or(i64::MAX)),
            measures: found.measures,
        };
        Ok((planned.pieces.into_iter().map(part).collect(), planned.cost_ns))
    }

    /// What is known of a unit, and which of its sidecar's sections those of the facts are; `None` without rows of the project.
    fn facts(&self, index: usize) -> Result<Option<(UnitFacts, Sections)>, ExecuteError> {
        let (unit, project) = (&self.view.units[index], &self.plan.project);
        let Some(span) = unit.span(project) else { return Ok(None) };
        let raw = |in_memory| Some(RawFacts { rows: span.rows, in_memory });
        let (mut sections, mut places) = (Vec::new(), Sections::new());
        for info in unit.sidecar().map_or(&[][..], |sidecar| sidecar.sections()) {
            let Some(schema) = self.schemas.resolve(self.view, &info.head) else { continue };
            let slice =
                unit.sidecar().map(|sidecar| sidecar.slice(info.index, project)).transpose()?.flatten();
            let Some(slice) = slice else { continue };
            sections.push(SectionFacts { schema: Arc::clone(&schema), rows: slice.rows });
            places.push((info.index, schema));
        }
        let facts = UnitFacts {
            min_us: span.min_us,
            max_us: span.max_us,
            raw: match unit {
                Unit::Chunk(_) => raw(true),
                Unit::Segment(_) => raw(false),
                Unit::History(_) => None,
            },
            has_pending_tombstone: has_pending_tombstone(unit, project, &self.view.tombstones),
            sections,
        };
        Ok(Some((facts, places)))
    }
}

/// Whether the sections of a segment may count rows that a delete hides.
fn has_pending_tombstone(unit: &Unit, project: &ProjectName, tombstones: &[Arc<Tombstone>]) -> bool {
    let (Some(segment), Some(sidecar)) = (unit.segment(), unit.sidecar()) else { return false };
    let Some(span) = segment.span(project) else { return false };
    tombstones.iter().any(|tombstone| {
        tombstone.lsn > sidecar.tombstones_applied()
            && tombstone.may_hide(project, span.min_us, span.max_us, segment.meta().min_lsn)
    })
}

fn history_tombstones(unit: &Unit, tombstones: &[Arc<Tombstone>]) -> Vec<Arc<Tombstone>> {
    match unit {
        Unit::History(_) => tombstones.to_vec(),
        Unit::Chunk(_) | Unit::Segment(_) => Vec::new(),
    }
}
