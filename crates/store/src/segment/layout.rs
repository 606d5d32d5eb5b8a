//! How a segment's columns are named, typed, encoded and indexed in its Parquet file.
//!
//! Root columns, in this order: `_project`, the dataset's columns by name (those with any value in the segment), each map
//! followed by its promoted keys as `COLUMN.KEY`, then `_lsn` and `_pos`. Not here: cutting maps apart (`promote`).

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;
use tidewater_columns::{StringsRef, data_type};
use tidewater_model::schema::{ColumnId, ColumnType, Dataset};

use super::promote::KeyCounts;
use super::rows::Rows;

/// The hidden project column.
pub const PROJECT: &str = "_project";
/// The hidden record column.
pub const LSN: &str = "_lsn";
/// The hidden place column.
pub const POSITION: &str = "_pos";
/// Footer entry: the format's number.
pub const META_FORMAT: &str = "tidewater.format";
/// Footer entry: the dataset's name.
pub const META_DATASET: &str = "tidewater.dataset";
/// Footer entry: JSON object of map column → promoted keys.
pub const META_PROMOTED: &str = "tidewater.promoted";
/// Footer entry: the checksums of the file's blocks, 8 hexadecimal digits each.
pub const META_BLOCKS: &str = "tidewater.blocks";

/// Rows of a row group: the grain in which threads share a scan and a writer holds compressed pages in memory.
pub const ROW_GROUP_ROWS: usize = if cfg!(test) { 100 } else { 256 << 10 };
/// Encoded bytes of a row group at most: what its writer holds, and a scan that fetches all of its columns.
const ROW_GROUP_BYTES: usize = 24 << 20;
/// Rows of a data page: the grain of skipping. Tests use small grains so that few rows show every boundary.
pub const PAGE_ROWS: usize = if cfg!(test) { 20 } else { 16 << 10 };
/// Uncompressed bytes of a data page at most, for columns of long strings.
const PAGE_BYTES: usize = 1 << 20;
/// A dictionary page past this size makes the Parquet writer fall back to plain values.
const DICTIONARY_BYTES: usize = 4 << 20;
/// zstd at its fastest regular level: most of what it meets is packed already, and on packed integers of traces level 3
/// saved nothing and was slower to write.
const ZSTD_LEVEL: i32 = 1;
/// Bytes of a string kept in page and column statistics: enough to tell values apart in sorted columns.
const STATISTICS_BYTES: usize = 32;
/// False positives of bloom filters on id columns: 10 bits a value.
const BLOOM_FPP_ID: f64 = 0.01;
/// And on other columns of many distinct strings: 6 bits a value.
const BLOOM_FPP_LOOKUP: f64 = 0.05;
/// Mean length in bytes up to which a column of distinct strings is taken for names that are looked up, not for prose.
const LOOKUP_BYTES_MAX: usize = 64;
/// A dictionary of at least so many entries gets a bloom filter: with fewer, most row groups hold every value.
const LOOKUP_ENTRIES_MIN: usize = 4_096;

/// How the strings of one column are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TextForm {
    /// By dictionary, else one by one.
    pub coded: bool,
    /// With a bloom filter per row group.
    pub bloom: bool,
}

/// One dataset column in a file.
#[derive(Clone, Debug)]
pub struct FileColumn {
    /// Which.
    pub id: ColumnId,
    /// Its name.
    pub name: Arc<str>,
    /// What it holds.
    pub kind: ColumnType,
    /// Some rows may lack it.
    pub nullable: bool,
    /// For strings.
    pub text: TextForm,
    /// For maps, sorted.
    pub promoted: Vec<Arc<str>>,
}

/// All columns of a file that is to be written.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The dataset's columns that are there.
    pub columns: Vec<FileColumn>,
    /// The deduplication column.
    pub id: Option<ColumnId>,
}

impl Layout {
    /// The layout for rows in memory.
    pub fn of_rows(dataset: &Dataset, rows: &Rows) -> Self {
        let present = dataset.columns.iter().enumerate().filter_map(|(index, column)| {
            let id = ColumnId(index as u16);
            let array = rows.batch.column(id)?;
            let nulls = array.logical_null_count();
            (nulls < rows.len()).then(|| FileColumn {
                id,
                name: Arc::clone(&column.name),
                kind: column.kind,
                nullable: nulls > 0,
                text: text_form(array),
                promoted: promoted_keys(array),
            })
        });
        Layout { columns: present.collect(), id: dataset.id }
    }

    /// The Arrow schema of the file's root columns.
    pub fn schema(&self) -> SchemaRef {
        let mut fields = vec![Field::new(PROJECT, DataType::Utf8, false)];
        for column in &self.columns {
            fields.push(Field::new(&*column.name, file_type(column.kind), column.nullable));
            let keys = column.promoted.iter();
            fields.extend(keys.map(|key| Field::new(promoted_name(&column.name, key), DataType::Utf8, true)));
        }
        fields.push(Field::new(LSN, DataType::Int64, false));
        fields.push(Field::new(POSITION, DataType::Int32, false));
        Arc::new(Schema::new(fields))
    }

    /// Encodings, statistics and filters of the file.
    pub fn properties(&self) -> WriterProperties {
        let level = ZstdLevel::try_new(ZSTD_LEVEL).expect("1 is a zstd level");
        let mut builder = WriterProperties::builder()
            .set_created_by(concat!("tidewater ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(Compression::ZSTD(level))
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
            .set_data_page_row_count_limit(PAGE_ROWS)
            .set_write_batch_size(PAGE_ROWS / 4)
            .set_data_page_size_limit(PAGE_BYTES)
            .set_dictionary_page_size_limit(DICTIONARY_BYTES)
            .set_statistics_truncate_length(Some(STATISTICS_BYTES))
            .set_column_index_truncate_length(Some(STATISTICS_BYTES))
            .set_statistics_enabled(EnabledStatistics::Page)
            .set_coerce_types(true)
            .set_dictionary_enabled(false);
        builder = builder.set_column_dictionary_enabled(path(PROJECT), true);
        for name in [LSN, POSITION] {
            builder = builder.set_column_encoding(path(name), Encoding::DELTA_BINARY_PACKED);
        }
        for column in &self.columns {
            builder = self.column_properties(builder, column);
        }
        builder.build()
    }

    fn column_properties(
        &self,
        mut builder: WriterPropertiesBuilder,
        column: &FileColumn,
    ) -> WriterPropertiesBuilder {
        let is_id = self.id == Some(column.id);
        match column.kind {
            ColumnType::Time => {
                builder.set_column_encoding(path(&column.name), Encoding::DELTA_BINARY_PACKED)
            }
            ColumnType::String => {
                builder = builder
                    .set_column_dictionary_enabled(path(&column.name), column.text.coded)
                    .set_column_encoding(path(&column.name), Encoding::DELTA_LENGTH_BYTE_ARRAY);
                if is_id || column.text.bloom {
                    let fpp = if is_id { BLOOM_FPP_ID } else { BLOOM_FPP_LOOKUP };
                    builder = builder
                        .set_column_bloom_filter_enabled(path(&column.name), true)
                        .set_column_bloom_filter_fpp(path(&column.name), fpp)
                        .set_column_bloom_filter_max_ndv(path(&column.name), ROW_GROUP_ROWS as u64);
                }
                builder
            }
            ColumnType::Int if is_id => builder
                .set_column_bloom_filter_enabled(path(&column.name), true)
                .set_column_bloom_filter_fpp(path(&column.name), BLOOM_FPP_ID)
                .set_column_bloom_filter_max_ndv(path(&column.name), ROW_GROUP_ROWS as u64),
            ColumnType::Int | ColumnType::Money => {
                builder.set_column_encoding(path(&column.name), Encoding::DELTA_BINARY_PACKED)
            }
            ColumnType::Float => builder.set_column_encoding(path(&column.name), Encoding::BYTE_STREAM_SPLIT),
            ColumnType::Bool => builder,
            ColumnType::Strings | ColumnType::Map => {
                for leaf in nested_leaves(column) {
                    builder = builder
                        .set_column_dictionary_enabled(leaf.clone(), true)
                        .set_column_statistics_enabled(leaf, EnabledStatistics::None);
                }
                for key in &column.promoted {
                    builder =
                        builder.set_column_dictionary_enabled(path(&promoted_name(&column.name, key)), true);
                }
                builder
            }
        }
    }
}

/// The name of a promoted key's column.
pub fn promoted_name(column: &str, key: &str) -> String {
    format!("{column}.{key}")
}

/// A root column's path: names may hold dots, which a parsed path would split at.
fn path(name: &str) -> ColumnPath {
    ColumnPath::new(vec![name.to_owned()])
}

/// The leaves of a list or map as the Parquet standard names them.
fn nested_leaves(column: &FileColumn) -> Vec<ColumnPath> {
    let parts: &[&[&str]] = match column.kind {
        ColumnType::Strings => &[&["list", "element"]],
        _ => &[&["key_value", "key"], &["key_value", "value"]],
    };
    let leaf = |rest: &&[&str]| {
        ColumnPath::new(
            std::iter::once(&*column.name).chain(rest.iter().copied()).map(str::to_owned).collect(),
        )
    };
    parts.iter().map(leaf).collect()
}

/// The type a column is written as.
pub fn file_type(kind: ColumnType) -> DataType {
    match kind {
        ColumnType::Money => DataType::Decimal64(18, 9),
        other => data_type(other),
    }
}

/// In memory, strings that repeat enough are coded already; that decision is kept.
pub fn text_form(array: &ArrayRef) -> TextForm {
    match StringsRef::new(array.as_ref()) {
        Some(StringsRef::Plain(strings)) => {
            let short = strings.value_data().len() <= LOOKUP_BYTES_MAX * strings.len();
            TextForm { coded: false, bloom: short }
        }
        Some(StringsRef::Coded(_, values)) => {
            TextForm { coded: true, bloom: values.len() >= LOOKUP_ENTRIES_MIN }
        }
        None => TextForm::default(),
    }
}

fn promoted_keys(array: &ArrayRef) -> Vec<Arc<str>> {
    let mut counts = KeyCounts::default();
    counts.add_array(array);
    counts.promoted()
}

/// A money column's values with the file's type, and back: the same bytes.
pub fn retype(array: &ArrayRef, kind: ColumnType) -> ArrayRef {
    use arrow_array::types::{Decimal64Type, Int64Type};
    use arrow_array::{Decimal64Array, Int64Array};
    match (kind, array.data_type()) {
        (ColumnType::Money, DataType::Int64) => {
            let money = array.as_primitive::<Int64Type>();
            let decimal = Decimal64Array::new(money.values().clone(), money.nulls().cloned());
            Arc::new(decimal.with_data_type(DataType::Decimal64(18, 9)))
        }
        (ColumnType::Money, DataType::Decimal64(_, _)) => {
            let decimal = array.as_primitive::<Decimal64Type>();
            Arc::new(Int64Array::new(decimal.values().clone(), decimal.nulls().cloned()))
        }
        _ => Arc::clone(array),
    }
}
