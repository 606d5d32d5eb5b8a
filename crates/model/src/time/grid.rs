//! All time buckets that touch a range, numbered, and the bucket of each row.
//!
//! Below a day an instant's bucket starts at `floor(ts + offset, width) − offset` with the instant's own offset, so an
//! hour that the clocks repeat is two buckets. From a day up the local calendar decides: a day may have 23 or 25 hours, and
//! where a local date occurs twice the day ends with the first midnight after it.
//!
//! Buckets are not stored one by one: a [`Stretch`] is a run of equally long ones, so a month of minutes in a zone
//! without a change of clocks is one stretch.

use super::timestamp::format_at_offset;
use super::{Granularity, TimeError, Timestamp, Zone, format_date};

/// Buckets in one grid: a million minutes are almost two years; more rows than that no reader wants.
pub const BUCKETS_MAX: u64 = 1_000_000;

/// All buckets of a width in a zone that touch a range.
#[derive(Clone, Debug)]
pub struct BucketGrid {
    granularity: Granularity,
    zone: Zone,
    /// Contiguous and ascending, never empty.
    stretches: Vec<Stretch>,
    len: u32,
}

/// Equally long buckets in a row. Only the first and the last may be cut, by a change of offset.
#[derive(Clone, Debug)]
struct Stretch {
    /// The instants `[lo, hi)` that belong to these buckets.
    lo: i64,
    hi: i64,
    /// Start of the bucket that holds `lo`; at or before it.
    origin: i64,
    width: i64,
    /// ⌊2^64 ÷ width⌋, to divide by multiplication.
    reciprocal: u64,
    first: u32,
    count: u32,
    offset_seconds: i32,
}

/// Equally long buckets in a row, as far as they lie in an asked interval: each border between two of them is at
/// `origin_us + k · width_us`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketRun {
    /// The first instant, micro-seconds: a bucket's first or the asked interval's.
    pub from_us: i64,
    /// The first instant after the run: a bucket's first or the asked interval's end.
    pub to_us: i64,
    /// A bucket's start, at or before `from_us`.
    pub origin_us: i64,
    /// Length of each bucket.
    pub width_us: i64,
}

impl Stretch {
    fn new(lo: i64, hi: i64, origin: i64, width: i64, first: u32, offset_seconds: i32) -> Self {
        let count = ((hi - 1 - origin) / width + 1) as u32;
        let reciprocal = ((1u128 << 64) / width as u128) as u64;
        Stretch { lo, hi, origin, width, reciprocal, first, count, offset_seconds }
    }

    #[inline]
    fn contains(&self, ts: i64) -> bool {
        (ts.wrapping_sub(self.lo) as u64) < (self.hi - self.lo) as u64
    }

    /// The index of an instant of this stretch. The product with the rounded-down reciprocal gives the quotient or one less,
    /// because the error is below `distance ÷ 2^64 < 1`; the remainder tells which.
    #[inline]
    fn index_of(&self, ts: i64) -> u32 {
        let distance = (ts - self.origin) as u64;
        let low = ((u128::from(distance) * u128::from(self.reciprocal)) >> 64) as u64;
        let remainder = distance - low * self.width as u64;
        self.first + low as u32 + u32::from(remainder >= self.width as u64)
    }

    fn run(&self, from_us: i64, to_us: i64) -> BucketRun {
        BucketRun {
            from_us: self.lo.max(from_us),
            to_us: self.hi.min(to_us),
            origin_us: self.origin,
            width_us: self.width,
        }
    }

    fn start(&self, index: u32) -> i64 {
        self.origin + i64::from(index - self.first) * self.width
    }
}

impl BucketGrid {
    /// The index that [`Self::indices`] gives to an instant outside the grid.
    pub const OUTSIDE: u32 = u32::MAX;

    /// The buckets that touch `[from, to)`; an error where the range is empty or has more than [`BUCKETS_MAX`] buckets.
    pub fn new(
        granularity: Granularity,
        zone: &Zone,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Self, TimeError> {
        if from >= to {
            return Err(TimeError::EmptyRange { from: from.to_string(), to: to.to_string() });
        }
        let (from, to) = (Timestamp::clamped(from.0), Timestamp::clamped(to.0.max(from.0 + 1)));
        let count = (to.0 - from.0) as u64 / granularity.usual_us() as u64 + 1;
        if count > BUCKETS_MAX {
            return Err(TimeError::TooManyBuckets { count, max: BUCKETS_MAX, granularity });
        }
        let stretches = stretches(granularity, zone, from, to);
        let len = stretches.last().map_or(0, |stretch| stretch.first + stretch.count);
        Ok(BucketGrid { granularity, zone: zone.clone(), stretches, len })
    }

    /// How many buckets there are; at least one.
    #[expect(clippy::len_without_is_empty, reason = "a grid is never empty")]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// The bucket width.
    pub fn granularity(&self) -> Granularity {
        self.granularity
    }

    /// The zone.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// The bucket of an instant; `None` outside the grid.
    pub fn index_of(&self, ts: Timestamp) -> Option<u32> {
        self.stretch_of(ts.0).map(|stretch| stretch.index_of(ts.0))
    }

    /// The bucket with this start, as [`Self::start`] gives it; `None` outside the grid. Grids of one width and zone give a bucket the
    /// same start whatever range they were made for, so this finds a bucket of one grid in another.
    pub fn index_of_start(&self, start: Timestamp) -> Option<u32> {
        let last_start = |stretch: &Stretch| stretch.start(stretch.first + stretch.count - 1);
        let position = self.stretches.partition_point(|stretch| last_start(stretch) < start.0);
        let stretch = self.stretches.get(position)?;
        let distance = start.0 - stretch.origin;
        let is_start = distance >= 0 && distance % stretch.width == 0;
        is_start.then(|| stretch.first + (distance / stretch.width) as u32)
    }

    /// Appends the bucket of each instant to `out`, [`Self::OUTSIDE`] for those outside the grid.
    pub fn indices(&self, ts: &[i64], out: &mut Vec<u32>) {
        let Some(mut stretch) = self.stretches.first() else { return };
        out.extend(ts.iter().map(|&ts| {
            if !stretch.contains(ts) {
                match self.stretch_of(ts) {
                    Some(found) => stretch = found,
                    None => return Self::OUTSIDE,
                }
            }
            stretch.index_of(ts)
        }));
    }

    /// The start that labels a bucket; it may precede the range and, where the clocks changed inside the bucket, its extent.
    ///
    /// # Panics
    /// If `index` is not below [`Self::len`].
    pub fn start(&self, index: u32) -> Timestamp {
        Timestamp(self.stretches[self.position(index)].start(index))
    }

    /// The instants `[lo, hi)` that belong to a bucket, whether or not they lie in the range.
    ///
    /// # Panics
    /// If `index` is not below [`Self::len`].
    pub fn extent(&self, index: u32) -> (Timestamp, Timestamp) {
        let position = self.position(index);
        let stretch = &self.stretches[position];
        let start = stretch.start(index);
        // A bucket may go on in the next stretch, see `fixed_stretches`.
        let last = self.stretches[position..].iter().take_while(|stretch| stretch.first <= index).last();
        let last = last.unwrap_or(stretch);
        let hi = (last.start(index) + last.width).min(last.hi);
        (Timestamp(start.max(stretch.lo)), Timestamp(hi))
    }

    /// The label of API.md: RFC 3339 with the offset below a day, `YYYY-MM-DD` from a day up.
    ///
    /// # Panics
    /// If `index` is not below [`Self::len`].
    pub fn label(&self, index: u32) -> String {
        let stretch = &self.stretches[self.position(index)];
        let start = Timestamp(stretch.start(index));
        if self.granularity.width_us().is_none() {
            return format_date(start, &self.zone);
        }
        format_at_offset(start, (!self.zone.is_utc()).then_some(stretch.offset_seconds))
    }

    /// The buckets within `[from_us, to_us)` as runs of equally long ones, ascending and without gaps as far as the grid goes. Where the
    /// clocks change inside a bucket, two runs share it.
    pub fn runs(&self, from_us: i64, to_us: i64) -> impl DoubleEndedIterator<Item = BucketRun> + '_ {
        let first = self.stretches.partition_point(|stretch| stretch.hi <= from_us);
        let end = self.stretches.partition_point(|stretch| stretch.lo < to_us).max(first);
        self.stretches[first..end].iter().map(move |stretch| stretch.run(from_us, to_us))
    }

    fn stretch_of(&self, ts: i64) -> Option<&Stretch> {
        let position = self.stretches.partition_point(|stretch| stretch.hi <= ts);
        self.stretches.get(position).filter(|stretch| stretch.lo <= ts)
    }

    fn position(&self, index: u32) -> usize {
        assert!(index < self.len, "bucket {index} of {}", self.len);
        self.stretches.partition_point(|stretch| stretch.first + stretch.count <= index)
    }
}

/// The runs of [`BucketGrid::runs`] for any interval, however many buckets it has.
pub fn bucket_runs(granularity: Granularity, zone: &Zone, from: Timestamp, to: Timestamp) -> Vec<BucketRun> {
    let (from, to) = (Timestamp::clamped(from.0), Timestamp::clamped(to.0));
    if from >= to {
        return Vec::new();
    }
    let runs = stretches(granularity, zone, from, to);
    runs.iter().map(|stretch| stretch.run(from.0, to.0)).filter(|run| run.from_us < run.to_us).collect()
}

fn stretches(granularity: Granularity, zone: &Zone, from: Timestamp, to: Timestamp) -> Vec<Stretch> {
    match granularity.width_us() {
        Some(width) => fixed_stretches(granularity, width, zone, from, to),
        None => calendar_stretches(granularity, zone, from, to),
    }
}

/// One stretch for each run of instants with the same offset.
fn fixed_stretches(
    granularity: Granularity,
    width: i64,
    zone: &Zone,
    from: Timestamp,
    to: Timestamp,
) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    let (mut lo, mut at) = (granularity.floor(from, zone), from);
    while at < to {
        let offset_seconds = zone.offset_seconds(at);
        let offset = i64::from(offset_seconds) * 1_000_000;
        let floor = |ts: i64| (ts + offset).div_euclid(width) * width - offset;
        let until = zone.next_change(at).unwrap_or(Timestamp(i64::MAX));
        let origin = floor(at.0);
        let hi = (floor(until.min(to).0 - 1) + width).min(until.0);
        let first = match stretches.last() {
            None => 0,
            // Where the offset changes by a multiple of the width in the middle of a bucket, the bucket goes on.
            Some(before) if before.start(before.first + before.count - 1) == origin => {
                before.first + before.count - 1
            }
            Some(before) => before.first + before.count,
        };
        stretches.push(Stretch::new(lo.0, hi, origin, width, first, offset_seconds));
        (lo, at) = (until, until);
    }
    stretches
}

/// Calendar periods, those of equal length in a row joined.
fn calendar_stretches(granularity: Granularity, zone: &Zone, from: Timestamp, to: Timestamp) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    let mut day = granularity.period_start(zone.local_day(from));
    let mut lo = zone.day_start(day).0;
    while lo < to.0 {
        let next = granularity.next_period(day);
        // At the end of the calendar there is no next period; the last one ends with the range.
        let hi = match zone.day_start(next).0 {
            hi if hi >= Timestamp::MAX.0 => (lo + granularity.usual_us()).max(to.0),
            hi => hi,
        };
        // A date that was skipped as a whole has no instants.
        if hi > lo {
            push_joined(&mut stretches, lo, hi);
        }
        (day, lo) = (next, hi);
    }
    stretches
}

fn push_joined(stretches: &mut Vec<Stretch>, lo: i64, hi: i64) {
    match stretches.last_mut() {
        Some(last) if last.width == hi - lo => {
            last.hi = hi;
            last.count += 1;
        }
        last => {
            let first = last.map_or(0, |last| last.first + last.count);
            stretches.push(Stretch::new(lo, hi, lo, hi - lo, first, 0));
        }
    }
}
