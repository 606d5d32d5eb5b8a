//! Several aggregations over one reading of rows: what is read in common, and one thread's workers.
//!
//! Not here: what each does with its rows (`worker`).

use std::sync::Arc;

use hashbrown::HashMap;
use tidewater_model::filter::Filter;
use tidewater_model::schema::ColumnRef;
use tidewater_store::{DatasetView, Morsel, ScanBatch};

use crate::control::Control;
use crate::error::ExecuteError;
use crate::pieces::UnitPiece;
use crate::plan::Plan;
use crate::scan::{Consumer, decoded_bytes, selected_rows};
use crate::worker::{Scanned, Worker};

/// Rows that one or more aggregations read, and who takes them.
#[derive(Default)]
pub(crate) struct Readings {
    readings: Vec<Reading>,
    known: HashMap<(usize, (i64, i64)), usize>,
}

struct Reading {
    unit: usize,
    interval: (i64, i64),
    columns: Vec<ColumnRef>,
    hints: Vec<Filter>,
    takers: Vec<Taker>,
}

/// An aggregation's piece, and where its columns are among those read.
struct Taker {
    member: usize,
    piece: usize,
    columns: Vec<usize>,
}

impl Readings {
    /// Adds a piece of raw rows of the aggregation that is `member` of the team.
    pub fn add(&mut self, member: usize, plan: &Plan, place: usize, piece: &UnitPiece) {
        let interval = piece.interval();
        let index = *self.known.entry((piece.unit, interval)).or_insert_with(|| {
            let (unit, columns) = (piece.unit, Vec::new());
            self.readings.push(Reading { unit, interval, columns, hints: Vec::new(), takers: Vec::new() });
            self.readings.len() - 1
        });
        self.readings[index].add(member, plan, place);
    }

    /// The morsels of every reading, and for the threads' teams who takes them.
    pub fn open(
        self,
        view: &DatasetView,
        plan: &Plan,
        control: &Control,
    ) -> Result<(Vec<Vec<Morsel>>, Roster), ExecuteError> {
        let (mut lanes, mut roster) = (Vec::new(), Vec::new());
        for reading in self.readings {
            control.check()?;
            let Reading { unit, interval, columns, mut hints, takers } = reading;
            let mut request = plan.request(interval.0, interval.1);
            request.columns = columns;
            // Rows that fail every taker's filter may be left out.
            request.hint = if hints.len() == 1 { hints.remove(0) } else { Filter::Or(hints) };
            lanes.push(view.scan_unit(&view.units[unit], &Arc::new(request))?);
            roster.push(takers);
        }
        Ok((lanes, Roster(roster.into())))
    }
}

impl Reading {
    fn add(&mut self, member: usize, plan: &Plan, piece: usize) {
        if !self.hints.contains(&plan.hint) {
            self.hints.push(plan.hint.clone());
        }
        let mut slot = |column: &ColumnRef| {
            self.columns.iter().position(|other| other == column).unwrap_or_else(|| {
                self.columns.push(column.clone());
                self.columns.len() - 1
            })
        };
        let columns = plan.columns.iter().map(&mut slot).collect();
        self.takers.push(Taker { member, piece, columns });
    }
}

/// Who takes the rows of each lane.
#[derive(Clone)]
pub(crate) struct Roster(Arc<[Vec<Taker>]>);

/// One thread's workers, one for each aggregation.
pub(crate) struct Team {
    roster: Roster,
    members: Vec<Result<Worker, ExecuteError>>,
}

impl Team {
    pub fn new(roster: &Roster, workers: Vec<Worker>) -> Self {
        Team { roster: roster.clone(), members: workers.into_iter().map(Ok).collect() }
    }

    /// The workers, in the order of the aggregations, or why one of them gave up.
    pub fn disband(self) -> Vec<Result<Worker, ExecuteError>> {
        self.members
    }
}

impl Consumer for Team {
    fn take(&mut self, lane: usize, batch: ScanBatch) -> Result<(), ExecuteError> {
        let is_alone = self.members.len() == 1;
        for taker in &self.roster.0[lane] {
            let member = &mut self.members[taker.member];
            let Ok(worker) = member else { continue };
            let own = ScanBatch {
                rows: batch.rows,
                selection: batch.selection.clone(),
                columns: taker.columns.iter().map(|slot| batch.columns[*slot].clone()).collect(),
                identity: None,
            };
            let scanned = Scanned { rows: selected_rows(&own), bytes: decoded_bytes(&own) };
            match worker.take(taker.piece, &own, scanned) {
                Ok(()) => {}
                Err(error) if is_alone => return Err(error),
                // What one question cannot have, the others can.
                Err(error) => *member = Err(error),
            }
        }
        Ok(())
    }
}
