//! The value of a metric for a group, computed from the group's states when it is asked for.

use std::sync::Arc;

use hashbrown::HashMap;
use tidewater_aggregate::{Cell, Codes};

use crate::frame::Frame;
use crate::partial::Partial;
use crate::plan::{MetricPlan, Use};

/// Groups with their states, and how a question reads them.
#[derive(Clone)]
pub(crate) struct Values {
    pub frame: Arc<Frame>,
    /// With every measure. Others may hold it too: it is copied before it is changed.
    pub partial: Arc<Partial>,
}

impl Values {
    pub fn new(frame: &Arc<Frame>, partial: &Arc<Partial>) -> Self {
        Values { frame: Arc::clone(frame), partial: Arc::clone(partial) }
    }

    /// The value of a metric for a group.
    pub fn cell(&self, metric: usize, group: usize) -> Cell {
        let states = &self.partial.states;
        let cell = |used: Use| states[used.measure].1.cell(group, used.reading, used.kind);
        evaluate(&self.frame.plan.metrics[metric], &cell, &|| self.seconds(group))
    }

    /// The values of a group's dimensions. `known` are those of the groups before, so that equal values are made once.
    pub fn dimensions(&self, group: usize, known: &mut KnownCells) -> Vec<Cell> {
        let groups = &self.partial.groups;
        known.0.resize_with(groups.dimensions.len(), HashMap::new);
        let cell = |((codes, code), known): ((&Codes, &u32), &mut HashMap<u32, Cell>)| match codes {
            Codes::Numbers(_) | Codes::Given(_) => codes.cell(*code),
            Codes::Buckets(_) | Codes::Texts(_) => match known.get(code) {
                Some(cell) => cell.clone(),
                None => {
                    if known.len() >= KNOWN_MAX {
                        known.clear();
                    }
                    known.entry(*code).or_insert(codes.cell(*code)).clone()
                }
            },
        };
        groups.dimensions.iter().zip(groups.key(group)).zip(&mut known.0).map(cell).collect()
    }

    /// The seconds a `rate` of this group is divided by.
    fn seconds(&self, group: usize) -> f64 {
        let range = self.frame.range;
        match self.frame.time_dimension() {
            None => range.past_seconds(range.from_us, range.to_us),
            Some((place, grid)) => {
                let (lo, hi) = grid.extent(self.partial.groups.key(group)[place]);
                range.past_seconds(lo.0, hi.0)
            }
        }
    }
}

/// Values of dimensions that rows of a page have in common, by dimension and code: labels of buckets, texts.
#[derive(Default)]
pub(crate) struct KnownCells(Vec<HashMap<u32, Cell>>);

/// Values of one dimension that are remembered at a time.
const KNOWN_MAX: usize = 1_024;

/// Computes a metric from what its measures give.
pub(crate) fn evaluate(metric: &MetricPlan, cell: &dyn Fn(Use) -> Cell, seconds: &dyn Fn() -> f64) -> Cell {
    match *metric {
        MetricPlan::Value(value) => cell(value),
        MetricPlan::Ratio(numerator, denominator) => {
            match (cell(numerator).as_f64(), cell(denominator).as_f64()) {
                (Some(above), Some(below)) if below != 0.0 => Cell::finite(above / below),
                _ => Cell::Null,
            }
        }
        MetricPlan::Rate(value) => match (cell(value).as_f64(), seconds()) {
            (Some(0.0), _) => Cell::Float(0.0),
            (Some(sum), seconds) if seconds > 0.0 => Cell::finite(sum / seconds),
            _ => Cell::Null,
        },
    }
}
