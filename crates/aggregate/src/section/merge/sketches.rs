//! Stored percentile sketches into those of groups.

use std::ops::Range;

use tidewater_model::state::{BinCounts, Bins, Quantiles};

use super::{Merge, TOTAL_MAX};
use crate::error::AggregateError;
use crate::feed::Rows;
use crate::section::bytes::{damaged, require};
use crate::section::measure::Sketches;
use crate::section::packed::visit;

impl Merge<'_> {
    pub(super) fn sketches(
        &mut self,
        own: &mut [Quantiles],
        sketches: &Sketches<'_>,
    ) -> Result<(), AggregateError> {
        let ([zeros, _, _], [least, most]) = (&sketches.rows, &sketches.bounds);
        let (keys, first, rows, mut outcome) = (self.keys, self.first, self.rows, Ok(()));
        let mut bins = BinReader::new(sketches, self.total)?;
        // Rows of one group mostly follow each other. Together they enter a group that has none yet in the form it stays in.
        let (mut run, mut run_key) = (Quantiles::default(), None);
        run.clear();
        let (least_of, most_of) = (least.float(), most.float());
        visit([zeros, &least.numbers, &most.numbers], first, rows, |place, [zeros, least, most]| {
            bins.unpack(first, rows, place);
            let (positive, negative) = bins.of(first + rows.at(place));
            let part = Bins { zeros, positive, negative, bounds: (least_of(least), most_of(most)) };
            let key = keys.at(place) as usize;
            if run_key != Some(key) {
                end_run(own, run_key.replace(key), &mut run, &mut outcome);
            }
            if outcome.is_ok() {
                outcome = run.merge_bins(&part).map_err(AggregateError::from);
            }
        });
        end_run(own, run_key, &mut run, &mut outcome);
        outcome
    }
}

/// Adds the sketch of a run of rows to the group of its key, and empties it.
fn end_run(
    own: &mut [Quantiles],
    key: Option<usize>,
    run: &mut Quantiles,
    outcome: &mut Result<(), AggregateError>,
) {
    let Some(key) = key.filter(|_| outcome.is_ok()) else { return };
    match own[key].count() <= TOTAL_MAX {
        true => own[key].merge(run),
        false => *outcome = Err(damaged("there are more values than can be")),
    }
    run.clear();
}

/// Where the bins of a row are.
#[derive(Clone, Copy, Default)]
struct Place {
    /// Among the first bins of all stores.
    first: u32,
    /// Of the positive bins among all bins.
    positive: u32,
    /// Of the negative bins, which follow them.
    negative: u32,
}

/// The bins of rows, unpacked for as many at a time as follow each other.
struct BinReader<'a> {
    sketches: &'a Sketches<'a>,
    firsts: Vec<u64>,
    /// Of every row, and one after the last.
    places: Vec<Place>,
    /// The rows whose bins are unpacked.
    rows: Range<usize>,
    gaps: Vec<u64>,
    counts: Vec<u64>,
}

/// Bins that are unpacked at a time, but for rows with more.
const BINS_AHEAD: u32 = 16_384;

impl<'a> BinReader<'a> {
    fn new(sketches: &'a Sketches<'a>, total: usize) -> Result<Self, AggregateError> {
        let places = places(sketches, total)?;
        let firsts = sketches.firsts.numbers(0..sketches.firsts.len());
        Ok(BinReader { sketches, firsts, places, rows: 0..0, gaps: Vec::new(), counts: Vec::new() })
    }

    /// Unpacks the bins of the row at this place of `rows`, and of those after it that follow it in the column as well.
    fn unpack(&mut self, first: usize, rows: Rows<'_>, place: usize) {
        let row = first + rows.at(place);
        if self.rows.contains(&row) {
            return;
        }
        let from = self.places[row].positive;
        let is_near = |ahead: &usize| {
            let end = row + ahead;
            place + ahead < rows.len()
                && first + rows.at(place + ahead) == end
                && self.places[end + 1].positive - from <= BINS_AHEAD
        };
        let ahead = (1..).take_while(is_near).last().unwrap_or(0);
        self.rows = row..row + ahead + 1;
        let bins = from as usize..self.places[self.rows.end].positive as usize;
        for (array, out) in [(&self.sketches.gaps, &mut self.gaps), (&self.sketches.counts, &mut self.counts)]
        {
            out.clear();
            array.for_each_part(bins.clone(), |part| out.extend_from_slice(part));
        }
    }

    /// The positive and the negative bins of a row that is unpacked.
    fn of(&self, row: usize) -> (BinCounts<'_>, BinCounts<'_>) {
        let (own, next) = (self.places[row], self.places[row + 1]);
        let bins = |first: u32, from: u32, to: u32| {
            if from == to {
                return BinCounts::default();
            }
            let start = self.places[self.rows.start].positive;
            let range = (from - start) as usize..(to - start) as usize;
            let first = self.firsts[first as usize];
            BinCounts { first, gaps: &self.gaps[range.clone()], counts: &self.counts[range] }
        };
        let second = own.first + u32::from(own.positive < own.negative);
        (bins(own.first, own.positive, own.negative), bins(second, own.negative, next.positive))
    }
}

/// Where each row's bins are, and where they end.
fn places(sketches: &Sketches<'_>, total: usize) -> Result<Vec<Place>, AggregateError> {
    let [_, positive, negative] = &sketches.rows;
    let mut places = Vec::with_capacity(total + 1);
    // What overflows is noted before it does.
    let (mut firsts, mut bins, mut is_right) = (0u64, 0u64, true);
    visit([positive, negative], 0, Rows::All(total), |_, [positive, negative]| {
        is_right &= positive.max(negative) <= u64::from(u32::MAX) && bins <= u64::from(u32::MAX);
        let middle = bins.wrapping_add(positive);
        places.push(Place { first: firsts as u32, positive: bins as u32, negative: middle as u32 });
        firsts += u64::from(positive > 0) + u64::from(negative > 0);
        bins = middle.wrapping_add(negative);
    });
    places.push(Place { first: firsts as u32, positive: bins as u32, negative: bins as u32 });
    require(is_right && bins <= u64::from(u32::MAX), "there are more bins than a column can hold")?;
    let is_whole = bins == sketches.gaps.len() as u64 && firsts == sketches.firsts.len() as u64;
    require(is_whole, "bins are missing")?;
    Ok(places)
}
