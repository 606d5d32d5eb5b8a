//! Stored percentile sketches into those of groups.

use std::ops::Range;

use tidewater_model::state::{BinCounts, Bins, Quantiles};

use super::{Merge, TOTAL_MAX};
use crate::error::AggregateError;
use crate::feed::Rows;
use crate::section::bytes::{damaged, require};
use crate::section::measure::Sketches;
use crate::section::packed::{Cursor, visit};

impl Merge<'_> {
    pub(super) fn sketches(
        &mut self,
        own: &mut [Quantiles],
        sketches: &Sketches<'_>,
    ) -> Result<(), AggregateError> {
        let ([zeros, _, _], [least, most]) = (&sketches.rows, &sketches.bounds);
        let (keys, first, rows, mut outcome) = (self.keys, self.first, self.rows, Ok(()));
        let mut bins = BinReader::new(sketches, places(sketches, self.total, first, rows)?);
        // Rows of one group mostly follow each other. Together they enter a group that has none yet in the form it stays in.
        let (mut run, mut run_key) = (Quantiles::default(), None);
        run.clear();
        let (least_of, most_of) = (least.float(), most.float());
        visit([zeros, &least.numbers, &most.numbers], first, rows, |place, [zeros, least, most]| {
            let (positive, negative) = bins.at(place);
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
    /// The first of its positive bins, and of its negative ones.
    firsts: [u64; 2],
    /// Its positive bins among all bins; its negative ones follow them.
    positive: u32,
    negative: u32,
    end: u32,
}

/// The bins of rows, unpacked for as many at a time as follow each other.
struct BinReader<'a> {
    sketches: &'a Sketches<'a>,
    /// Of each row that is read.
    places: Vec<Place>,
    /// The bins that are unpacked.
    bins: Range<u32>,
    gaps: Vec<u64>,
    counts: Vec<u64>,
}

/// Bins that are unpacked at a time, but for rows with more: what fits in a core's own cache.
const BINS_AHEAD: u32 = 4_096;

impl<'a> BinReader<'a> {
    fn new(sketches: &'a Sketches<'a>, places: Vec<Place>) -> Self {
        BinReader { sketches, places, bins: 0..0, gaps: Vec::new(), counts: Vec::new() }
    }

    /// The positive and the negative bins of the row at a place; they are unpacked with those of rows after it that follow it in the
    /// column as well.
    fn at(&mut self, place: usize) -> (BinCounts<'_>, BinCounts<'_>) {
        let Place { firsts, positive, negative, end } = self.places[place];
        if positive < self.bins.start || end > self.bins.end {
            self.unpack(place);
        }
        let bins = |first: u64, from: u32, to: u32| {
            if from == to {
                return BinCounts::default();
            }
            let range = (from - self.bins.start) as usize..(to - self.bins.start) as usize;
            BinCounts { first, gaps: &self.gaps[range.clone()], counts: &self.counts[range] }
        };
        (bins(firsts[0], positive, negative), bins(firsts[1], negative, end))
    }

    fn unpack(&mut self, place: usize) {
        let Place { positive: start, end, .. } = self.places[place];
        let mut bins = start..end;
        for next in &self.places[place + 1..] {
            if next.positive != bins.end || next.end - start > BINS_AHEAD {
                break;
            }
            bins.end = next.end;
        }
        let range = bins.start as usize..bins.end as usize;
        for (array, out) in [(&self.sketches.gaps, &mut self.gaps), (&self.sketches.counts, &mut self.counts)]
        {
            out.clear();
            array.for_each_part(range.clone(), |part| out.extend_from_slice(part));
        }
        self.bins = bins;
    }
}

/// Where the bins of `rows` are, which are counted from `first` among `total` rows.
fn places(
    sketches: &Sketches<'_>,
    total: usize,
    first: usize,
    rows: Rows<'_>,
) -> Result<Vec<Place>, AggregateError> {
    let [_, positive, negative] = &sketches.rows;
    // Rows that are read ascend; where one is read several times, they follow each other.
    let mut wanted = (0..rows.len()).map(|place| first + rows.at(place)).peekable();
    let mut places = Vec::with_capacity(rows.len());
    let mut first_bins = Cursor::new(&sketches.firsts);
    // What overflows is noted before it does.
    let (mut firsts, mut bins, mut is_right) = (0usize, 0u64, true);
    visit([positive, negative], 0, Rows::All(total), |row, [positive, negative]| {
        is_right &= positive.max(negative) <= u64::from(u32::MAX) && bins <= u64::from(u32::MAX);
        let middle = bins.wrapping_add(positive);
        let end = middle.wrapping_add(negative);
        let second = firsts + usize::from(positive > 0);
        while wanted.next_if_eq(&row).is_some() {
            let firsts = [first_bins.get(firsts), first_bins.get(second)];
            places.push(Place { firsts, positive: bins as u32, negative: middle as u32, end: end as u32 });
        }
        firsts = second + usize::from(negative > 0);
        bins = end;
    });
    require(is_right && bins <= u64::from(u32::MAX), "there are more bins than a column can hold")?;
    let is_whole = bins == sketches.gaps.len() as u64 && firsts == sketches.firsts.len();
    require(is_whole, "bins are missing")?;
    match places.len() == rows.len() {
        true => Ok(places),
        false => Err(AggregateError::Inconsistent { what: "rows of a roll-up that do not ascend" }),
    }
}
