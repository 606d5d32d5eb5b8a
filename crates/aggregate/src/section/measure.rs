//! A measure of a slice: the states of all rows as a few arrays of numbers.
//!
//! Not here: how stored states enter others (`merge`).

use tidewater_model::state::{Distinct, DistinctParts, FloatSum, Quantiles};

use super::VERSION;
use super::bytes::{Reader, damaged, require, write_part};
use super::floats::{self, Floats};
use super::packed::{Packed, write_bytes, write_codes, write_counts, write_signed};
use super::texts;
use crate::error::AggregateError;
use crate::state::{StateKind, States, TextRule, Texts};

/// How a set of distinct values is held.
pub(super) const EXACT: u64 = 0;
pub(super) const SPARSE: u64 = 1;
pub(super) const DENSE: u64 = 2;

/// The bytes of the states of these groups, in this order. Sets of every distinct value and selections are never stored.
pub(crate) fn write(states: &States, groups: &[u32]) -> Vec<u8> {
    let mut out = vec![VERSION];
    let mut writer = Writer { out: &mut out, groups };
    match states {
        States::Count(states) => writer.kind(StateKind::Count).counts(states, |count| *count),
        States::IntSum(states) => writer.kind(StateKind::IntSum).sums(states, |state| state.0),
        States::IntMean(states) => {
            writer.kind(StateKind::IntMean).sums(states, |state| state.sum.0);
            writer.counts(states, |state| state.count);
        }
        States::FloatSum(states) => writer.kind(StateKind::FloatSum).float_sums(states, |state| state),
        States::FloatMean(states) => {
            writer.kind(StateKind::FloatMean).float_sums(states, |state| &state.sum);
            writer.counts(states, |state| state.count);
        }
        States::Least(states) => writer.kind(StateKind::Least).options(states, |state| state.0),
        States::Greatest(states) => writer.kind(StateKind::Greatest).options(states, |state| state.0),
        States::Text(texts) => writer.kind(StateKind::Text(texts.rule)).texts(texts),
        States::IntMoments(states) => {
            writer.kind(StateKind::IntMoments).counts(states, |state| state.parts().0);
            writer.sums(states, |state| state.parts().1);
            (0..3).for_each(|word| writer.counts(states, |state| state.parts().2[word]));
        }
        States::FloatMoments(states) => {
            writer.kind(StateKind::FloatMoments).counts(states, |state| state.parts().0);
            writer.floats(states, |state| state.parts().1);
            writer.floats(states, |state| state.parts().2);
        }
        States::Distinct(sets) => writer.kind(StateKind::Distinct).sets(&sets.states),
        States::Quantiles(states) => writer.kind(StateKind::Quantiles).sketches(states),
        States::First(states) => {
            writer.kind(StateKind::First).options(states, |state| state.value().copied());
            writer.signed(states, |state| state.time().unwrap_or_default());
        }
        States::Last(states) => {
            writer.kind(StateKind::Last).options(states, |state| state.value().copied());
            writer.signed(states, |state| state.time().unwrap_or_default());
        }
        States::ExactDistinct(_) | States::Select(_) | States::Packed(_) => {
            unreachable!("no measure key asks to store these, and nothing is packed before it is stored")
        }
    }
    out
}

struct Writer<'a> {
    out: &'a mut Vec<u8>,
    groups: &'a [u32],
}

impl Writer<'_> {
    fn kind(&mut self, kind: StateKind) -> &mut Self {
        self.out.push(kind.tag());
        self
    }

    fn part(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut part = Vec::new();
        write(&mut part);
        write_part(self.out, &part);
    }

    fn gather<S, T>(&self, states: &[S], value: impl Fn(&S) -> T) -> Vec<T> {
        self.groups.iter().map(|group| value(&states[*group as usize])).collect()
    }

    fn counts<S>(&mut self, states: &[S], count: impl Fn(&S) -> u64) {
        let counts = self.gather(states, count);
        self.part(|out| write_counts(&counts, out));
    }

    fn signed<S>(&mut self, states: &[S], value: impl Fn(&S) -> i64) {
        let values = self.gather(states, value);
        self.part(|out| write_signed(&values, out));
    }

    fn floats<S>(&mut self, states: &[S], value: impl Fn(&S) -> f64) {
        let values = self.gather(states, value);
        self.part(|out| floats::write(&values, out));
    }

    /// The low halves, and the high ones where a sum needs them.
    fn sums<S>(&mut self, states: &[S], sum: impl Fn(&S) -> i128) {
        let sums = self.gather(states, sum);
        match sums.iter().map(|sum| i64::try_from(*sum)).collect::<Result<Vec<i64>, _>>() {
            Ok(narrow) => {
                self.part(|out| write_signed(&narrow, out));
                self.part(|_| ());
            }
            Err(_) => {
                let low: Vec<u64> = sums.iter().map(|sum| *sum as u64).collect();
                let high: Vec<i64> = sums.iter().map(|sum| (sum >> 64) as i64).collect();
                self.part(|out| write_counts(&low, out));
                self.part(|out| write_signed(&high, out));
            }
        }
    }

    fn float_sums<S>(&mut self, states: &[S], sum: impl Fn(&S) -> &FloatSum) {
        (0..4).for_each(|part| self.floats(states, |state| sum(state).parts()[part]));
    }

    /// Which are there, and the values with those that are not as the one before, which costs least.
    fn options<S>(&mut self, states: &[S], value: impl Fn(&S) -> Option<i64>) {
        let options = self.gather(states, value);
        let is_there: Vec<u64> = options.iter().map(|value| u64::from(value.is_some())).collect();
        let mut before = options.iter().flatten().copied().next().unwrap_or_default();
        let filled: Vec<i64> = options
            .iter()
            .map(|value| {
                before = value.unwrap_or(before);
                before
            })
            .collect();
        self.part(|out| write_counts(&is_there, out));
        self.part(|out| write_signed(&filled, out));
    }

    fn texts(&mut self, texts: &Texts) {
        let text = |group: &u32| texts.held[*group as usize].as_ref().map(|(_, text)| text.as_str());
        let held: Vec<Option<&str>> = self.groups.iter().map(text).collect();
        let mut sorted: Vec<&str> = held.iter().copied().flatten().collect();
        sorted.sort_unstable();
        sorted.dedup();
        let code = |text: &Option<&str>| match text {
            Some(text) => sorted.partition_point(|other| other < text) as u32 + 1,
            None => 0,
        };
        let codes: Vec<u32> = held.iter().map(code).collect();
        self.part(|out| texts::write(&sorted, out));
        self.part(|out| write_codes(&codes, sorted.len() as u32 + 1, out));
        self.signed(&texts.held, |held| held.as_ref().map_or(0, |(time, _)| *time));
    }

    fn sets(&mut self, sets: &[Distinct]) {
        let (mut forms, mut lengths) = (Vec::new(), Vec::new());
        let (mut hashes, mut gaps, mut sparse_ranks) = (Vec::new(), Vec::new(), Vec::new());
        let mut dense_ranks: Vec<&[u8]> = Vec::new();
        for group in self.groups {
            let (form, length) = match sets[*group as usize].parts() {
                DistinctParts::Exact(own) => {
                    hashes.extend_from_slice(&own);
                    (EXACT, own.len())
                }
                DistinctParts::Sparse(registers) => {
                    let numbers = registers.iter().map(|register| u64::from(register >> 8));
                    let mut before = 0;
                    gaps.extend(numbers.map(|number| number - std::mem::replace(&mut before, number)));
                    sparse_ranks.extend(registers.iter().map(|register| u64::from(register & 0xff)));
                    (SPARSE, registers.len())
                }
                DistinctParts::Dense(ranks) => {
                    dense_ranks.push(ranks);
                    (DENSE, 0)
                }
            };
            forms.push(form);
            lengths.push(length as u64);
        }
        for numbers in [&forms, &lengths, &hashes, &gaps, &sparse_ranks] {
            self.part(|out| write_counts(numbers, out));
        }
        self.part(|out| write_bytes(&dense_ranks, out));
    }

    fn sketches(&mut self, sketches: &[Quantiles]) {
        let (mut zeros, mut positive, mut negative) = (Vec::new(), Vec::new(), Vec::new());
        let mut bins = BinLists::default();
        for group in self.groups {
            let sketch = &sketches[*group as usize];
            zeros.push(sketch.zeros());
            let begin = bins.gaps.len();
            sketch.for_each_positive_bin(|bin, count| bins.push(bin, count));
            positive.push(bins.end_store(begin));
            let begin = bins.gaps.len();
            sketch.for_each_negative_bin(|bin, count| bins.push(bin, count));
            negative.push(bins.end_store(begin));
        }
        for numbers in [&zeros, &positive, &negative, &bins.firsts, &bins.gaps, &bins.counts] {
            self.part(|out| write_counts(numbers, out));
        }
        self.floats(sketches, |sketch| sketch.min().unwrap_or_default());
        self.floats(sketches, |sketch| sketch.max().unwrap_or_default());
    }
}

/// The bins of all stores, end to end; see [`Sketches`].
#[derive(Default)]
struct BinLists {
    firsts: Vec<u64>,
    gaps: Vec<u64>,
    counts: Vec<u64>,
    /// The last bin of the store that is being appended.
    before: u32,
}

impl BinLists {
    /// Appends a bin of a store.
    #[inline]
    fn push(&mut self, bin: u32, count: u64) {
        self.gaps.push(u64::from(bin - std::mem::replace(&mut self.before, bin)));
        self.counts.push(count);
    }

    /// Ends the store whose bins begin at a place, and gives their number.
    fn end_store(&mut self, begin: usize) -> u64 {
        self.before = 0;
        if let Some(first) = self.gaps.get_mut(begin) {
            self.firsts.push(std::mem::take(first));
        }
        (self.gaps.len() - begin) as u64
    }
}

impl StateKind {
    /// The kind's number in a column. Numbers are never used for another kind.
    fn tag(self) -> u8 {
        match self {
            StateKind::Count => 1,
            StateKind::IntSum => 2,
            StateKind::IntMean => 3,
            StateKind::FloatSum => 4,
            StateKind::FloatMean => 5,
            StateKind::Least => 6,
            StateKind::Greatest => 7,
            StateKind::Text(TextRule::Least) => 8,
            StateKind::Text(TextRule::Greatest) => 9,
            StateKind::Text(TextRule::First) => 10,
            StateKind::Text(TextRule::Last) => 11,
            StateKind::IntMoments => 12,
            StateKind::FloatMoments => 13,
            StateKind::Distinct => 14,
            StateKind::Quantiles => 15,
            StateKind::First => 16,
            StateKind::Last => 17,
            StateKind::ExactDistinct => unreachable!("no measure key asks to store this"),
        }
    }

    fn of_tag(tag: u8) -> Option<Self> {
        StateKind::stored().find(|kind| kind.tag() == tag)
    }
}

/// Arrays of sums.
pub(super) struct Sums<'a> {
    pub low: Packed<'a>,
    /// Where some sum has more than 64 bits.
    pub high: Option<Packed<'a>>,
}

/// The arrays of a measure, found and checked; each has a number per row unless it says otherwise.
pub(super) enum Arrays<'a> {
    Count(Packed<'a>),
    IntSum(Sums<'a>),
    IntMean(Sums<'a>, Packed<'a>),
    FloatSum([Floats<'a>; 4]),
    FloatMean([Floats<'a>; 4], Packed<'a>),
    /// Is there, value.
    Extreme([Packed<'a>; 2]),
    Text {
        dictionary: arrow_array::StringArray,
        codes_and_times: [Packed<'a>; 2],
    },
    IntMoments(Sums<'a>, [Packed<'a>; 4]),
    /// Counts; means and squares.
    FloatMoments(Packed<'a>, [Floats<'a>; 2]),
    Distinct(Sets<'a>),
    Quantiles(Sketches<'a>),
    /// Is there, value, time.
    Timed([Packed<'a>; 3]),
}

pub(super) struct Sets<'a> {
    /// Form, length.
    pub rows: [Packed<'a>; 2],
    /// Of all exact sets, end to end.
    pub hashes: Packed<'a>,
    /// Of all sparse sets, end to end: distances of registers' numbers, and ranks.
    pub gaps: Packed<'a>,
    pub sparse_ranks: Packed<'a>,
    /// Of all dense sets, end to end.
    pub dense_ranks: Packed<'a>,
}

pub(super) struct Sketches<'a> {
    /// Zeros, positive bins, negative bins.
    pub rows: [Packed<'a>; 3],
    /// Least, most.
    pub bounds: [Floats<'a>; 2],
    /// The first bin of each store that has bins, end to end.
    pub firsts: Packed<'a>,
    /// Of all stores' bins, end to end: the distance from the bin before (0 for the first), and the count.
    pub gaps: Packed<'a>,
    pub counts: Packed<'a>,
}

/// Finds the arrays of a measure with `total` rows.
pub(super) fn read(bytes: &[u8], total: usize) -> Result<(StateKind, Arrays<'_>), AggregateError> {
    let mut reader = Reader::new(bytes);
    reader.version(VERSION)?;
    let kind = StateKind::of_tag(reader.u8()?).ok_or(damaged("the kind of a measure is unknown"))?;
    let mut parts = Parts { reader: &mut reader, total };
    let arrays = match kind {
        StateKind::Count => Arrays::Count(parts.array()?),
        StateKind::IntSum => Arrays::IntSum(parts.sums()?),
        StateKind::IntMean => Arrays::IntMean(parts.sums()?, parts.array()?),
        StateKind::FloatSum => Arrays::FloatSum(parts.floats()?),
        StateKind::FloatMean => Arrays::FloatMean(parts.floats()?, parts.array()?),
        StateKind::Least | StateKind::Greatest => Arrays::Extreme(parts.arrays()?),
        StateKind::Text(_) => {
            let mut part = Reader::new(parts.reader.part()?);
            let dictionary = texts::read(&mut part)?;
            part.end()?;
            Arrays::Text { dictionary, codes_and_times: parts.arrays()? }
        }
        StateKind::IntMoments => {
            let counts = parts.array()?;
            let sums = parts.sums()?;
            let [low, middle, high] = parts.arrays()?;
            Arrays::IntMoments(sums, [counts, low, middle, high])
        }
        StateKind::FloatMoments => Arrays::FloatMoments(parts.array()?, parts.floats()?),
        StateKind::Distinct => Arrays::Distinct(parts.sets()?),
        StateKind::Quantiles => Arrays::Quantiles(parts.sketches()?),
        StateKind::First | StateKind::Last => Arrays::Timed(parts.arrays()?),
        StateKind::ExactDistinct => return Err(damaged("the kind of a measure is unknown")),
    };
    reader.end()?;
    Ok((kind, arrays))
}

struct Parts<'r, 'a> {
    reader: &'r mut Reader<'a>,
    total: usize,
}

impl<'a> Parts<'_, 'a> {
    fn any_length(&mut self) -> Result<Packed<'a>, AggregateError> {
        let mut part = Reader::new(self.reader.part()?);
        let array = Packed::read(&mut part)?;
        part.end()?;
        Ok(array)
    }

    fn array(&mut self) -> Result<Packed<'a>, AggregateError> {
        let array = self.any_length()?;
        require(array.len() == self.total, "an array has another length than its column")?;
        Ok(array)
    }

    fn arrays<const N: usize>(&mut self) -> Result<[Packed<'a>; N], AggregateError> {
        let arrays = (0..N).map(|_| self.array()).collect::<Result<Vec<_>, _>>()?;
        arrays.try_into().map_err(|_| damaged("it is cut short"))
    }

    fn floats<const N: usize>(&mut self) -> Result<[Floats<'a>; N], AggregateError> {
        let mut arrays = Vec::with_capacity(N);
        for _ in 0..N {
            let mut part = Reader::new(self.reader.part()?);
            arrays.push(Floats::read(&mut part, self.total)?);
            part.end()?;
        }
        arrays.try_into().map_err(|_| damaged("it is cut short"))
    }

    fn sums(&mut self) -> Result<Sums<'a>, AggregateError> {
        let low = self.array()?;
        let high = self.reader.part()?;
        if high.is_empty() {
            return Ok(Sums { low, high: None });
        }
        let mut part = Reader::new(high);
        let high = Packed::read_exact(&mut part, self.total)?;
        part.end()?;
        Ok(Sums { low, high: Some(high) })
    }

    fn sets(&mut self) -> Result<Sets<'a>, AggregateError> {
        let rows = self.arrays()?;
        let (hashes, gaps, sparse_ranks) = (self.any_length()?, self.any_length()?, self.any_length()?);
        let dense_ranks = self.any_length()?;
        require(gaps.len() == sparse_ranks.len(), "registers have no ranks")?;
        Ok(Sets { rows, hashes, gaps, sparse_ranks, dense_ranks })
    }

    fn sketches(&mut self) -> Result<Sketches<'a>, AggregateError> {
        let rows = self.arrays()?;
        let (firsts, gaps, counts) = (self.any_length()?, self.any_length()?, self.any_length()?);
        require(gaps.len() == counts.len(), "bins have no counts")?;
        Ok(Sketches { rows, bounds: self.floats()?, firsts, gaps, counts })
    }
}
