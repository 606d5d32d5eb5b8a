//! What an aggregate is fed with from one batch: which rows, which group each belongs to, and their values end to end.
//!
//! Groups come in three shapes, because sorted data has long runs of one group and a question without dimensions has only
//! one: then the values of a run are added as a slice.

use arrow_buffer::{BooleanBuffer, NullBuffer};

/// Rows of a batch, in order. A row of a `strings` dimension may be listed more than once.
#[derive(Clone, Copy, Debug)]
pub enum Rows<'a> {
    /// The first so many: all of them.
    All(usize),
    /// These.
    List(&'a [u32]),
}

impl Rows<'_> {
    /// How many there are.
    #[expect(clippy::len_without_is_empty, reason = "nobody asks whether there are any")]
    pub fn len(&self) -> usize {
        match self {
            Rows::All(rows) => *rows,
            Rows::List(rows) => rows.len(),
        }
    }

    /// The row at a place.
    #[inline]
    pub fn at(&self, place: usize) -> usize {
        match self {
            Rows::All(_) => place,
            Rows::List(rows) => rows[place] as usize,
        }
    }
}

/// The group of each row (or of each value gathered from the rows).
#[derive(Clone, Copy, Debug)]
pub enum Keys<'a> {
    /// One group for all.
    One(u32),
    /// A group each, mostly the same as the one before.
    Runs(&'a [u32]),
    /// A group each.
    Each(&'a [u32]),
}

/// With fewer rows to a run on average, looking for runs costs more than it saves.
const RUN_ROWS_MIN: usize = 8;

impl<'a> Keys<'a> {
    /// Chooses the shape.
    pub fn of(groups: &'a [u32]) -> Self {
        let changes = groups.windows(2).filter(|pair| pair[0] != pair[1]).count();
        match groups.first() {
            Some(group) if changes == 0 => Keys::One(*group),
            _ if (changes + 1) * RUN_ROWS_MIN <= groups.len() => Keys::Runs(groups),
            _ => Keys::Each(groups),
        }
    }

    fn with(&self, kept: &'a [u32]) -> Self {
        match self {
            Keys::One(group) => Keys::One(*group),
            Keys::Runs(_) => Keys::Runs(kept),
            Keys::Each(_) => Keys::Each(kept),
        }
    }

    fn slice(&self) -> Option<&'a [u32]> {
        match self {
            Keys::One(_) => None,
            Keys::Runs(groups) | Keys::Each(groups) => Some(groups),
        }
    }

    /// The group at a place.
    #[inline]
    pub fn at(&self, place: usize) -> u32 {
        match self {
            Keys::One(group) => *group,
            Keys::Runs(groups) | Keys::Each(groups) => groups[place],
        }
    }
}

/// Calls `f(group, start, end)` for each run of equal groups.
#[inline]
pub fn for_each_run(groups: &[u32], mut f: impl FnMut(usize, usize, usize)) {
    let mut start = 0;
    while let Some(&group) = groups.get(start) {
        let run = groups[start..].iter().take_while(|other| **other == group).count();
        f(group as usize, start, start + run);
        start += run;
    }
}

/// Rows with their groups.
#[derive(Clone, Copy, Debug)]
pub struct Feed<'a> {
    /// Which rows.
    pub rows: Rows<'a>,
    /// The group of each.
    pub keys: Keys<'a>,
}

impl<'a> Feed<'a> {
    /// The values of the rows that are not null, end to end, with their groups. `value` maps a row to its value.
    #[inline]
    pub fn gather<T: Copy>(
        &self,
        nulls: Option<&NullBuffer>,
        value: impl Fn(usize) -> T,
        kept: &'a mut Vec<u32>,
        out: &'a mut Vec<T>,
    ) -> (Keys<'a>, &'a [T]) {
        out.clear();
        let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
        let Some(nulls) = nulls else {
            match self.rows {
                Rows::All(rows) => out.extend((0..rows).map(value)),
                Rows::List(rows) => out.extend(rows.iter().map(|row| value(*row as usize))),
            }
            return (self.keys, out);
        };
        kept.clear();
        let groups = self.keys.slice();
        let mut keep = |place: usize, row: usize| {
            out.push(value(row));
            if let Some(groups) = groups {
                kept.push(groups[place]);
            }
        };
        match self.rows {
            Rows::All(_) => nulls.valid_indices().for_each(|row| keep(row, row)),
            Rows::List(rows) => {
                for (place, row) in rows.iter().enumerate().filter(|(_, row)| nulls.is_valid(**row as usize))
                {
                    keep(place, *row as usize);
                }
            }
        }
        (self.keys.with(kept), out)
    }

    /// As [`Self::gather`] for values that already lie end to end in an array: borrowed where every row is wanted.
    #[inline]
    pub fn values<T: Copy>(
        &self,
        nulls: Option<&NullBuffer>,
        values: &'a [T],
        kept: &'a mut Vec<u32>,
        out: &'a mut Vec<T>,
    ) -> (Keys<'a>, &'a [T]) {
        let has_nulls = nulls.is_some_and(|nulls| nulls.null_count() > 0);
        match self.rows {
            Rows::All(rows) if !has_nulls => (self.keys, &values[..rows]),
            _ => self.gather(nulls, |row| values[row], kept, out),
        }
    }
}

/// The rows of a feed that pass a mask over the batch.
pub fn subset<'a>(
    feed: &Feed<'a>,
    mask: &BooleanBuffer,
    rows: &'a mut Vec<u32>,
    groups: &'a mut Vec<u32>,
) -> Feed<'a> {
    rows.clear();
    groups.clear();
    let mut keep = |place: usize, row: u32| {
        rows.push(row);
        if !matches!(feed.keys, Keys::One(_)) {
            groups.push(feed.keys.at(place));
        }
    };
    match feed.rows {
        Rows::All(len) => {
            mask.set_indices().take_while(|row| *row < len).for_each(|row| keep(row, row as u32));
        }
        Rows::List(list) => {
            for (place, row) in list.iter().enumerate().filter(|(_, row)| mask.value(**row as usize)) {
                keep(place, *row);
            }
        }
    }
    Feed { rows: Rows::List(rows), keys: feed.keys.with(groups) }
}

/// Buffers that are kept from batch to batch.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Groups of the rows that are not null.
    pub kept: Vec<u32>,
    /// Gathered integers.
    pub ints: Vec<i64>,
    /// Gathered floats.
    pub floats: Vec<f64>,
    /// Gathered values with their times.
    pub timed: Vec<(i64, i64)>,
}
