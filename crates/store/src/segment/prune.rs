//! Which rows of a row group can match: by the statistics of its pages and by bloom filters.
//!
//! Conservative: a row that matches is never left out. Not here: exact evaluation (the caller's masks).

use std::ops::Range;

use parquet::basic::Type as PhysicalType;
use parquet::bloom_filter::Sbbf;
use parquet::file::metadata::page_index::RowGroupPageIndex;
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use tidewater_model::filter::{Comparison, Filter, Scalar, TextMatch};
use tidewater_model::schema::{ColumnId, ColumnRef};

use super::footer::{Footer, Place};
use super::source::PageSource;

/// Row ranges within a row group: ascending, disjoint, not touching.
pub type RowRanges = Vec<Range<usize>>;

/// An `is` filter with more values is not looked up in bloom filters: most row groups would hold one of them.
const BLOOM_VALUES_MAX: usize = 64;

/// One row group of a segment.
pub struct Pruner<'a> {
    footer: &'a Footer,
    group: usize,
    rows: usize,
    index: RowGroupPageIndex,
}

impl<'a> Pruner<'a> {
    /// Looks at row group `group`.
    pub fn new(footer: &'a Footer, group: usize) -> Self {
        let parquet = footer.parquet();
        let rows = parquet.row_group(group).num_rows() as usize;
        Pruner { footer, group, rows, index: parquet.page_index_for_row_group(group) }
    }

    /// Rows that may have a time in `[from_us, to_us)`.
    pub fn in_time(&self, from_us: i64, to_us: i64) -> RowRanges {
        let Place::Root(root) = self.footer.place(&ColumnRef::column(ColumnId::TIME)) else {
            return self.all();
        };
        self.pages(root, |page| match page.numbers() {
            Some((min, max)) => max >= from_us && min < to_us,
            None => true,
        })
    }

    /// Rows that may pass a filter.
    pub fn passing(&self, filter: &Filter) -> RowRanges {
        match filter {
            Filter::And(parts) => {
                parts.iter().fold(self.all(), |ranges, part| intersect(&ranges, &self.passing(part)))
            }
            Filter::Or(parts) => unite(parts.iter().flat_map(|part| self.passing(part)).collect()),
            // What may match says nothing about what may not.
            Filter::Not(_) => self.all(),
            Filter::Is { column, values, case_sensitive } => self.equal(column, values, *case_sensitive),
            Filter::Compare { column, how, value } => {
                self.on_column(column, false, |page| page.may_compare(*how, value))
            }
            Filter::Text { column, how: TextMatch::StartsWith, patterns, case_sensitive: true } => self
                .on_column(column, false, |page| patterns.iter().any(|prefix| page.may_start_with(prefix))),
            Filter::Text { column, .. } | Filter::Exists { column } => {
                self.on_column(column, false, |page| !page.is_null_page())
            }
        }
    }

    fn equal(&self, column: &ColumnRef, values: &[Scalar], case_sensitive: bool) -> RowRanges {
        let null = values.contains(&Scalar::Null);
        let has_text = values.iter().any(|value| matches!(value, Scalar::String(_)));
        if has_text && !case_sensitive {
            return self.on_column(column, null, |page| null || !page.is_null_page());
        }
        let ranges = self.on_column(column, null, |page| {
            (null && page.may_hold_null) || values.iter().any(|value| page.may_equal(value))
        });
        if ranges.is_empty() || null || values.len() > BLOOM_VALUES_MAX || self.bloom_allows(column, values) {
            return ranges;
        }
        Vec::new()
    }

    /// False only if no row of the group holds any of the values.
    fn bloom_allows(&self, column: &ColumnRef, values: &[Scalar]) -> bool {
        let Place::Root(root) = self.footer.place(column) else { return true };
        let leaves = self.footer.leaves(root);
        if leaves.len() != 1 {
            return true;
        }
        let chunk = self.footer.parquet().row_group(self.group).column(leaves.start);
        if chunk.bloom_filter_offset().is_none() {
            return true;
        }
        let source = std::sync::Arc::new(PageSource::lazy(std::sync::Arc::clone(&self.footer.file)));
        // A filter that cannot be read skips nothing; the pages it stands for will tell of the damage.
        let Ok(Some(bloom)) = Sbbf::read_from_column_chunk(chunk, &*source) else { return true };
        values.iter().any(|value| match (value, chunk.column_type()) {
            (Scalar::String(text), PhysicalType::BYTE_ARRAY) => bloom.check(text.as_str()),
            (Scalar::Int(number), PhysicalType::INT64) => bloom.check(number),
            _ => true,
        })
    }

    /// Rows of the pages that `may_match`; a column without values in the segment matches only where `null` does.
    fn on_column(&self, column: &ColumnRef, null: bool, may_match: impl Fn(&Page<'_>) -> bool) -> RowRanges {
        match self.footer.place(column) {
            Place::Absent if null => self.all(),
            Place::Absent => Vec::new(),
            Place::Root(root) => self.pages(root, may_match),
            Place::MapEntry(..) | Place::WholeMap(..) => self.all(),
        }
    }

    fn all(&self) -> RowRanges {
        std::iter::once(0..self.rows).filter(|range| !range.is_empty()).collect()
    }

    fn pages(&self, root: usize, may_match: impl Fn(&Page<'_>) -> bool) -> RowRanges {
        let leaves = self.footer.leaves(root);
        let (Some(statistics), Some(pages)) =
            (self.index.column_index(leaves.start), self.index.page_locations(leaves.start))
        else {
            return self.all();
        };
        if leaves.len() != 1 || statistics.num_pages() != pages.len() as u64 {
            return self.all();
        }
        let nullable = self.footer.is_nullable(root);
        let mut ranges: RowRanges = Vec::new();
        for (index, location) in pages.iter().enumerate() {
            let end = pages.get(index + 1).map_or(self.rows, |next| next.first_row_index as usize);
            let null_count = statistics.null_count(index);
            let page = Page { statistics, index, may_hold_null: nullable && null_count != Some(0) };
            if may_match(&page) {
                push(&mut ranges, location.first_row_index as usize..end.min(self.rows));
            }
        }
        ranges
    }
}

/// Statistics of one page.
struct Page<'a> {
    statistics: &'a ColumnIndexMetaData,
    index: usize,
    may_hold_null: bool,
}

impl Page<'_> {
    /// Least and greatest value of an integer column; `None` if unknown.
    fn numbers(&self) -> Option<(i64, i64)> {
        match self.statistics {
            ColumnIndexMetaData::INT64(index) => {
                Some((*index.min_value(self.index)?, *index.max_value(self.index)?))
            }
            _ => None,
        }
    }

    fn floats(&self) -> Option<(f64, f64)> {
        match self.statistics {
            ColumnIndexMetaData::DOUBLE(index) => {
                Some((*index.min_value(self.index)?, *index.max_value(self.index)?))
            }
            _ => None,
        }
    }

    /// Bounds of a string column: prefixes, the upper one rounded up.
    fn texts(&self) -> Option<(&[u8], &[u8])> {
        match self.statistics {
            ColumnIndexMetaData::BYTE_ARRAY(index) => {
                Some((index.min_value(self.index)?, index.max_value(self.index)?))
            }
            _ => None,
        }
    }

    fn is_null_page(&self) -> bool {
        self.statistics.is_null_page(self.index)
    }

    fn may_equal(&self, value: &Scalar) -> bool {
        if self.is_null_page() {
            return false;
        }
        match value {
            Scalar::Null => self.may_hold_null,
            Scalar::Int(value) | Scalar::Money(value) | Scalar::Time(value) => {
                self.numbers().is_none_or(|(min, max)| (min..=max).contains(value))
            }
            Scalar::Float(value) => self.floats().is_none_or(|(min, max)| (min..=max).contains(value)),
            Scalar::String(value) => {
                self.texts().is_none_or(|(min, max)| min <= value.as_bytes() && value.as_bytes() <= max)
            }
            Scalar::Bool(_) => true,
        }
    }

    fn may_compare(&self, how: Comparison, value: &Scalar) -> bool {
        if self.is_null_page() {
            return false;
        }
        match value {
            Scalar::Int(value) | Scalar::Money(value) | Scalar::Time(value) => {
                self.numbers().is_none_or(|(min, max)| may_compare(how, &min, &max, value))
            }
            Scalar::Float(value) => {
                self.floats().is_none_or(|(min, max)| may_compare(how, &min, &max, value))
            }
            Scalar::String(value) => {
                self.texts().is_none_or(|(min, max)| may_compare(how, &min, &max, &value.as_bytes()))
            }
            Scalar::Null | Scalar::Bool(_) => true,
        }
    }

    fn may_start_with(&self, prefix: &str) -> bool {
        let prefix = prefix.as_bytes();
        !self.is_null_page()
            && self
                .texts()
                .is_none_or(|(min, max)| max >= prefix && (min <= prefix || min.starts_with(prefix)))
    }
}

fn may_compare<T: PartialOrd>(how: Comparison, min: &T, max: &T, value: &T) -> bool {
    match how {
        Comparison::Gt => max > value,
        Comparison::Gte => max >= value,
        Comparison::Lt => min < value,
        Comparison::Lte => min <= value,
    }
}

fn push(ranges: &mut RowRanges, next: Range<usize>) {
    match ranges.last_mut() {
        _ if next.is_empty() => {}
        Some(last) if last.end >= next.start => last.end = last.end.max(next.end),
        _ => ranges.push(next),
    }
}

/// Rows in both.
pub fn intersect(a: &[Range<usize>], b: &[Range<usize>]) -> RowRanges {
    let (mut i, mut j) = (0, 0);
    let mut out = RowRanges::new();
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        push(&mut out, x.start.max(y.start)..x.end.min(y.end));
        if x.end <= y.end { i += 1 } else { j += 1 }
    }
    out
}

/// Rows in any.
fn unite(mut ranges: RowRanges) -> RowRanges {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut out = RowRanges::new();
    ranges.into_iter().for_each(|range| push(&mut out, range));
    out
}
