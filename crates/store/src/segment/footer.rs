//! A segment's footer: where each column's pages are and what they hold, by the dataset's column ids.
//!
//! Not here: caching (`files`), choosing pages (`prune`).

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::basic::Encoding;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use tidewater_model::schema::{ColumnId, ColumnRef, ColumnType, Dataset};

use super::layout::{self, TextForm, file_type, promoted_name};
use super::meta::{FORMAT, SegmentMeta};
use super::source::{CheckedFile, Expected, damaged};
use crate::disk::DiskRef;
use crate::error::{StoreError, StoreResult};

/// An open segment file with its parsed footer.
#[derive(Debug)]
pub struct Footer {
    /// The file.
    pub file: Arc<CheckedFile>,
    /// The footer and the types to read its columns as.
    pub arrow: ArrowReaderMetadata,
    /// Root index of the hidden columns.
    pub hidden: Hidden,
    /// The dataset's columns, by id; `None` is null in every row.
    columns: Vec<Option<Stored>>,
}

/// Root indices of the hidden columns.
#[derive(Clone, Copy, Debug)]
pub struct Hidden {
    /// `_project`
    pub project: usize,
    /// `_lsn`
    pub lsn: usize,
    /// `_pos`
    pub position: usize,
}

/// Where a dataset column is in the file.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its root index.
    pub root: usize,
    /// What it holds.
    pub kind: ColumnType,
    /// Promoted keys of a map and their root indices, sorted by key.
    pub promoted: Vec<(Arc<str>, usize)>,
}

/// Where a reference's values come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Null in every row.
    Absent,
    /// A root column as it is.
    Root(usize),
    /// A key among the rest of a map column.
    MapEntry(usize, Arc<str>),
    /// A map column and its promoted keys.
    WholeMap(usize, Vec<(Arc<str>, usize)>),
}

impl Footer {
    /// Opens the file and reads, checks and resolves its footer.
    pub fn open(disk: &DiskRef, path: &Path, dataset: &Dataset, meta: &SegmentMeta) -> StoreResult<Self> {
        if meta.format > FORMAT {
            let reason = format!("has format {}, this build reads up to {FORMAT}", meta.format);
            return Err(damaged(path, 0, reason));
        }
        let expected =
            Expected { bytes: meta.bytes, tail_offset: meta.tail_offset, tail_checksum: meta.tail_checksum };
        let mut file = CheckedFile::open(disk, path, expected)?;
        let parsed = guarded(path, meta.tail_offset, || {
            let source = file.tail_source();
            let mut reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Optional);
            reader.try_parse(&source).map_err(|error| parquet_error(path, meta.tail_offset, error))?;
            reader.finish().map_err(|error| parquet_error(path, meta.tail_offset, error))
        })?;
        if parsed.file_metadata().num_rows() != meta.rows as i64 {
            return Err(damaged(path, meta.tail_offset, "the row count differs from the catalog's"));
        }
        file.set_blocks(blocks(path, &parsed)?)?;
        guarded(path, meta.tail_offset, || Self::resolve(Arc::new(file), Arc::new(parsed), dataset))
    }

    /// The footer.
    pub fn parquet(&self) -> &Arc<ParquetMetaData> {
        self.arrow.metadata()
    }

    /// About how much memory it holds.
    pub fn memory_bytes(&self) -> usize {
        // The Arrow view of the schema is as large as the Parquet schema: both are one node per column.
        const BYTES_PER_ROOT: usize = 512;
        self.file.memory_bytes()
            + self.parquet().memory_size()
            + self.arrow.schema().fields().len() * BYTES_PER_ROOT
    }

    /// A column as stored; `None` is null in every row.
    pub fn stored(&self, id: ColumnId) -> Option<&Stored> {
        self.columns.get(id.index()).and_then(Option::as_ref)
    }

    /// Number of columns that were resolved: ids from here on are absent.
    pub fn width(&self) -> usize {
        self.columns.len()
    }

    /// Where to read a reference from.
    pub fn place(&self, reference: &ColumnRef) -> Place {
        let Some(stored) = self.stored(reference.column) else { return Place::Absent };
        match &reference.key {
            None if stored.kind == ColumnType::Map => Place::WholeMap(stored.root, stored.promoted.clone()),
            None => Place::Root(stored.root),
            Some(key) => match stored.promoted.binary_search_by(|(name, _)| name.cmp(key)) {
                Ok(index) => Place::Root(stored.promoted[index].1),
                Err(_) => Place::MapEntry(stored.root, Arc::clone(key)),
            },
        }
    }

    /// True if some row may lack a root column's value.
    pub fn is_nullable(&self, root: usize) -> bool {
        self.arrow.schema().field(root).is_nullable()
    }

    /// How a root string column is stored.
    pub fn text_form(&self, root: usize) -> TextForm {
        let coded = matches!(self.arrow.schema().field(root).data_type(), DataType::Dictionary(_, _));
        let leaf = self.leaves(root).start;
        let groups = self.parquet().row_groups();
        TextForm {
            coded,
            bloom: groups.iter().any(|group| group.column(leaf).bloom_filter_offset().is_some()),
        }
    }

    /// The leaf columns of a root column: page indexes and column chunks are per leaf.
    pub fn leaves(&self, root: usize) -> std::ops::Range<usize> {
        let schema = self.parquet().file_metadata().schema_descr();
        let count = schema.num_columns();
        let first = (0..count).find(|leaf| schema.get_column_root_idx(*leaf) == root).unwrap_or(count);
        let end = (first..count).find(|leaf| schema.get_column_root_idx(*leaf) != root).unwrap_or(count);
        first..end
    }

    fn resolve(
        file: Arc<CheckedFile>,
        parquet: Arc<ParquetMetaData>,
        dataset: &Dataset,
    ) -> StoreResult<Self> {
        let path = file.path().to_owned();
        let fail = |error| parquet_error(&path, file.tail().0, error);
        let plain = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let inferred = ArrowReaderMetadata::try_new(Arc::clone(&parquet), plain).map_err(fail)?;
        let coded = fully_coded_roots(&parquet);
        let fields = inferred.schema().fields().iter().enumerate();
        let fields: Vec<Field> = fields.map(|(root, field)| read_field(field, coded[root])).collect();
        let options = ArrowReaderOptions::new().with_schema(Arc::new(Schema::new(fields)));
        let arrow = ArrowReaderMetadata::try_new(parquet, options).map_err(fail)?;
        let schema = Arc::clone(arrow.schema());
        let root = |name: &str| schema.fields().iter().position(|field| field.name() == name);
        let required = |name: &str| {
            root(name).ok_or_else(|| damaged(&path, file.tail().0, format!("column {name} is missing")))
        };
        let hidden = Hidden {
            project: required(layout::PROJECT)?,
            lsn: required(layout::LSN)?,
            position: required(layout::POSITION)?,
        };
        let promoted = promoted_keys(arrow.metadata());
        let mut columns = Vec::with_capacity(dataset.columns.len());
        for column in &dataset.columns {
            let Some(index) = root(&column.name) else {
                columns.push(None);
                continue;
            };
            if !fits(schema.field(index).data_type(), column.kind) {
                let reason = format!("column {} does not hold what the dataset says", column.name);
                return Err(damaged(&path, file.tail().0, reason));
            }
            let keys = promoted.get(&*column.name).into_iter().flatten();
            let keys = keys
                .filter_map(|key| Some((Arc::from(key.as_str()), root(&promoted_name(&column.name, key))?)));
            let mut promoted: Vec<(Arc<str>, usize)> = keys.collect();
            promoted.sort_unstable();
            columns.push(Some(Stored { root: index, kind: column.kind, promoted }));
        }
        Ok(Footer { file, arrow, hidden, columns })
    }
}

/// Runs third-party parsing: should damaged bytes make it panic, that is an error like any other.
pub fn guarded<T>(path: &Path, offset: u64, work: impl FnOnce() -> StoreResult<T>) -> StoreResult<T> {
    // Nothing that outlives the call is left half changed: the closures only build new values.
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(damaged(path, offset, "the Parquet decoder gave up on these bytes")))
}

/// A decoder's error, with the store's own error taken out of it where that was the cause.
pub fn parquet_error(path: &Path, offset: u64, error: parquet::errors::ParquetError) -> StoreError {
    match error {
        parquet::errors::ParquetError::External(source) => match source.downcast::<StoreError>() {
            Ok(own) => *own,
            Err(other) => damaged(path, offset, other.to_string()),
        },
        other => damaged(path, offset, other.to_string()),
    }
}

fn footer_entry<'a>(parquet: &'a ParquetMetaData, key: &str) -> Option<&'a str> {
    let entries = parquet.file_metadata().key_value_metadata()?;
    entries.iter().find(|entry| entry.key == key)?.value.as_deref()
}

fn blocks(path: &Path, parquet: &ParquetMetaData) -> StoreResult<Vec<u32>> {
    let text = footer_entry(parquet, layout::META_BLOCKS).unwrap_or_default();
    let sums = text.as_bytes().chunks(8).map(|digits| {
        let digits = std::str::from_utf8(digits).ok()?;
        u32::from_str_radix(digits, 16).ok()
    });
    sums.collect::<Option<Vec<u32>>>()
        .ok_or_else(|| damaged(path, 0, "the block checksums are not hexadecimal"))
}

fn promoted_keys(parquet: &ParquetMetaData) -> BTreeMap<String, Vec<String>> {
    let text = footer_entry(parquet, layout::META_PROMOTED).unwrap_or("{}");
    serde_json::from_str(text).unwrap_or_default()
}

/// Root columns whose every data page is coded by a dictionary.
fn fully_coded_roots(parquet: &ParquetMetaData) -> Vec<bool> {
    let schema = parquet.file_metadata().schema_descr();
    let mut coded = vec![true; schema.root_schema().get_fields().len()];
    for group in parquet.row_groups() {
        for (leaf, chunk) in group.columns().iter().enumerate() {
            let all = chunk.page_encoding_stats_mask().is_some_and(|pages| {
                pages.is_only(Encoding::RLE_DICTIONARY) || pages.is_only(Encoding::PLAIN_DICTIONARY)
            });
            if let Some(flag) = coded.get_mut(schema.get_column_root_idx(leaf)) {
                *flag &= all;
            }
        }
    }
    coded
}

/// The type to read a root column as: coded strings stay coded, money is a 64-bit decimal.
fn read_field(field: &Field, coded: bool) -> Field {
    let read_as = match field.data_type() {
        DataType::Utf8 if coded => DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
        DataType::Decimal128(precision, scale) => DataType::Decimal64(*precision, *scale),
        other => other.clone(),
    };
    field.clone().with_data_type(read_as)
}

fn fits(found: &DataType, kind: ColumnType) -> bool {
    match (kind, found) {
        (ColumnType::String, DataType::Utf8 | DataType::Dictionary(_, _)) => true,
        (ColumnType::Strings, DataType::List(element)) => *element.data_type() == DataType::Utf8,
        (ColumnType::Map, DataType::Map(entries, _)) => {
            matches!(entries.data_type(), DataType::Struct(parts)
                if parts.len() == 2 && parts.iter().all(|part| *part.data_type() == DataType::Utf8))
        }
        (kind, found) => *found == file_type(kind),
    }
}
