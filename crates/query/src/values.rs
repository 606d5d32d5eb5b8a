//! The value of a metric for a group, computed from the group's states when it is asked for.

use std::sync::Arc;

use tidewater_aggregate::Cell;

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
