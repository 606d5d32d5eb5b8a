//! Several aggregations over one reading: what is read in common, and one thread's workers.
//!
//! Not here: what each does with its rows (`worker`).

use std::sync::Arc;

use hashbrown::HashMap;
use tidewater_model::filter::Filter;
use tidewater_model::schema::ColumnRef;
use tidewater_store::{DatasetView, Morsel, ScanBatch};

use crate::control::Control;
use crate::costs::Scanned;
use crate::error::ExecuteError;
use crate::plan::Plan;
use crate::scan::{Batch as _, Consumer, Task};
use crate::section::{SectionBatch, SectionRead};
use crate::sources::Part;
use crate::worker::{Batch, Worker};

/// Rows that one or more aggregations read, and who takes them.
#[derive(Default)]
pub(crate) struct Readings {
    readings: Vec<Reading>,
    /// Raw rows by unit and interval.
    known: HashMap<(usize, (i64, i64)), usize>,
}

enum Reading {
    Rows(RawReading),
    Section(Box<SectionRead>, Taker),
}

struct RawReading {
    unit: usize,
    interval: (i64, i64),
    columns: Vec<ColumnRef>,
    hints: Vec<Filter>,
    takers: Vec<Taker>,
}

/// An aggregation's part of a piece.
struct Taker {
    member: usize,
    piece: usize,
    part: Part,
    /// Where its columns are among those read; empty for a section, which is read as they stand.
    columns: Vec<usize>,
}

/// A thread's next step.
pub(crate) enum Read {
    Rows(Morsel),
    Section(Box<SectionRead>),
}

/// What a step yields.
pub(crate) enum Found {
    Rows(ScanBatch),
    Section(SectionBatch),
}

impl Readings {
    /// Adds a part of a piece of the aggregation that is `member` of the team.
    pub fn add(&mut self, member: usize, plan: &Plan, piece: usize, unit: usize, part: Part) {
        let mut taker = Taker { member, piece, part, columns: Vec::new() };
        if let Some(section) = &taker.part.section {
            let read = Box::new(SectionRead::new(plan, &taker.part, section));
            self.readings.push(Reading::Section(read, taker));
            return;
        }
        let interval = taker.part.interval;
        let index = *self.known.entry((unit, interval)).or_insert_with(|| {
            let (columns, hints, takers) = (Vec::new(), Vec::new(), Vec::new());
            self.readings.push(Reading::Rows(RawReading { unit, interval, columns, hints, takers }));
            self.readings.len() - 1
        });
        if let Reading::Rows(reading) = &mut self.readings[index] {
            taker.columns = reading.slots(plan);
            reading.takers.push(taker);
        }
    }

    /// What threads read, and for their teams who takes it.
    pub fn open(
        self,
        view: &DatasetView,
        plan: &Plan,
        control: &Control,
    ) -> Result<(Vec<Vec<Read>>, Roster), ExecuteError> {
        let (mut lanes, mut roster) = (Vec::new(), Vec::new());
        for reading in self.readings {
            control.check()?;
            match reading {
                Reading::Rows(reading) => {
                    let morsels = reading.morsels(view, plan)?;
                    lanes.push(morsels.into_iter().map(Read::Rows).collect());
                    roster.push(reading.takers);
                }
                Reading::Section(read, taker) => {
                    lanes.push(vec![Read::Section(read)]);
                    roster.push(vec![taker]);
                }
            }
        }
        Ok((lanes, Roster(roster.into())))
    }
}

impl RawReading {
    /// Where the plan's columns are read; new ones are added.
    fn slots(&mut self, plan: &Plan) -> Vec<usize> {
        if !self.hints.contains(&plan.hint) {
            self.hints.push(plan.hint.clone());
        }
        let mut slot = |column: &ColumnRef| {
            self.columns.iter().position(|other| other == column).unwrap_or_else(|| {
                self.columns.push(column.clone());
                self.columns.len() - 1
            })
        };
        plan.columns.iter().map(&mut slot).collect()
    }

    fn morsels(&self, view: &DatasetView, plan: &Plan) -> Result<Vec<Morsel>, ExecuteError> {
        let mut request = plan.request(self.interval.0, self.interval.1);
        request.columns.clone_from(&self.columns);
        // Rows that fail every taker's filter may be left out.
        request.hint = match &self.hints[..] {
            [hint] => hint.clone(),
            hints => Filter::Or(hints.to_vec()),
        };
        Ok(view.scan_unit(&view.units[self.unit], &Arc::new(request))?)
    }
}

impl Task for Read {
    type Batch = Found;

    fn rows_max(&self) -> u64 {
        match self {
            Read::Rows(morsel) => morsel.rows_max(),
            Read::Section(read) => read.rows_max(),
        }
    }

    fn read(self) -> Result<impl Iterator<Item = Result<Found, ExecuteError>>, ExecuteError> {
        let (rows, section) = match self {
            Read::Rows(morsel) => (Some(morsel.read()?), None),
            Read::Section(read) => (None, read.read()?),
        };
        let rows = rows.into_iter().flatten().map(|batch| Ok(Found::Rows(batch?)));
        Ok(rows.chain(section.map(|batch| Ok(Found::Section(batch)))))
    }
}

impl crate::scan::Batch for Found {
    fn rows(&self) -> u64 {
        match self {
            Found::Rows(batch) => batch.rows(),
            Found::Section(batch) => batch.rows(),
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Found::Rows(batch) => batch.bytes(),
            Found::Section(batch) => batch.bytes(),
        }
    }
}

/// Who takes what of each lane.
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

impl Taker {
    fn take(&self, worker: &mut Worker, found: &Found) -> Result<(), ExecuteError> {
        match found {
            Found::Rows(batch) => {
                let own = ScanBatch {
                    rows: batch.rows,
                    selection: batch.selection.clone(),
                    columns: self.columns.iter().map(|slot| batch.columns[*slot].clone()).collect(),
                    identity: None,
                };
                let scanned = Scanned { rows: own.rows(), bytes: own.bytes(), ..Scanned::default() };
                let (rows, selection, columns) = (own.rows, own.selection.as_ref(), &own.columns[..]);
                worker.take(
                    self.piece,
                    &self.part,
                    &Batch { rows, selection, columns, stored: None },
                    scanned,
                )
            }
            Found::Section(batch) => {
                let scanned = Scanned { rows: batch.rows(), bytes: batch.bytes(), ..Scanned::default() };
                let (selection, columns) = (batch.selection.as_ref(), &batch.columns[..]);
                let batch = Batch { rows: batch.rows, selection, columns, stored: Some(&batch.stored) };
                worker.take(self.piece, &self.part, &batch, scanned)
            }
        }
    }
}

impl Consumer<Found> for Team {
    fn take(&mut self, lane: usize, found: Found) -> Result<(), ExecuteError> {
        let is_alone = self.members.len() == 1;
        for taker in &self.roster.0[lane] {
            let member = &mut self.members[taker.member];
            let Ok(worker) = member else { continue };
            match taker.take(worker, &found) {
                Ok(()) => {}
                Err(error) if is_alone => return Err(error),
                // What one question cannot have, the others can.
                Err(error) => *member = Err(error),
            }
        }
        Ok(())
    }
}
