//! Datasets: their columns, metrics, roll-ups and retention, as the rest of the system uses them.
//!
//! Not here: the JSON object a user writes (`definition`), the way from it to here (`compile`), and how columns lie in
//! memory (`columns`) or on disk (`store`).

mod compile;
mod definition;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::input_error::{InputError, codes, unknown};
use crate::query::MetricExpr;

pub use definition::{DatasetDefinition, Entries, RetentionDefinition, RollupDefinition, SchemaError};

#[cfg(test)]
mod tests;

/// What a column holds. Any column but the time column may be null in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ColumnType {
    /// The dataset's one time column: micro-seconds since the Unix epoch, UTC, never null.
    Time,
    /// UTF-8 text.
    String,
    /// Signed 64-bit integer.
    Int,
    /// Finite IEEE 754 double. NaN and infinities are refused at ingest.
    Float,
    /// True or false.
    Bool,
    /// Decimal with 9 fraction digits, held as an `i64` count of 1e-9 units.
    Money,
    /// List of strings.
    Strings,
    /// String to string map; one key of it is addressed as `column.KEY`.
    Map,
}

impl ColumnType {
    /// All types.
    pub const ALL: [ColumnType; 8] = [
        ColumnType::Time,
        ColumnType::String,
        ColumnType::Int,
        ColumnType::Float,
        ColumnType::Bool,
        ColumnType::Money,
        ColumnType::Strings,
        ColumnType::Map,
    ];

    /// The name a definition uses.
    pub fn name(self) -> &'static str {
        match self {
            ColumnType::Time => "time",
            ColumnType::String => "string",
            ColumnType::Int => "int",
            ColumnType::Float => "float",
            ColumnType::Bool => "bool",
            ColumnType::Money => "money",
            ColumnType::Strings => "strings",
            ColumnType::Map => "map",
        }
    }

    /// The type of that name.
    pub fn parse(name: &str) -> Option<Self> {
        ColumnType::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A column's place in its dataset. Columns are only ever appended, so an id names the same column for ever;
/// id 0 is the time column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ColumnId(pub u16);

impl ColumnId {
    /// The time column of every dataset.
    pub const TIME: ColumnId = ColumnId(0);

    /// The index into [`Dataset::columns`].
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// One named column. Names match `[A-Za-z_][A-Za-z0-9_]{0,63}` and never start with `_`: hidden columns do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// The name rows and questions use.
    pub name: Arc<str>,
    /// What it holds.
    pub kind: ColumnType,
}

/// A column, or one key of a `map` column.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ColumnRef {
    /// The column.
    pub column: ColumnId,
    /// The key, for `map` columns; such a reference reads as a nullable string.
    pub key: Option<Arc<str>>,
}

impl ColumnRef {
    /// A whole column.
    pub fn column(column: ColumnId) -> Self {
        ColumnRef { column, key: None }
    }
}

/// A dataset's identity in the store. A dropped dataset's id is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DatasetId(pub u32);

/// A dataset as compiled from its definition: every name is resolved and checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// `[a-z0-9_-]{1,64}`.
    pub name: Arc<str>,
    /// All columns; index = [`ColumnId`], the time column first, the others in the order they were declared.
    pub columns: Vec<Column>,
    /// The deduplication column (a string or int column), if declared.
    pub id: Option<ColumnId>,
    /// Leading sort columns of a segment, after the project and before the time.
    pub sort: Vec<ColumnId>,
    /// Named metrics.
    pub metrics: BTreeMap<Arc<str>, MetricExpr>,
    /// Declared roll-ups.
    pub rollups: Vec<Rollup>,
    /// How long each tier is kept.
    pub retention: Retention,
    /// The object it was compiled from, with all widenings.
    pub definition: DatasetDefinition,
}

impl Dataset {
    /// Looks a column up by its exact name.
    pub fn column_id(&self, name: &str) -> Option<ColumnId> {
        let index = self.columns.iter().position(|column| &*column.name == name)?;
        u16::try_from(index).ok().map(ColumnId)
    }

    /// What a user means by `name`: a column, or `column.KEY` for a key of a `map` column.
    pub fn resolve_column(&self, name: &str) -> Result<ColumnRef, InputError> {
        if let Some(column) = self.column_id(name) {
            return Ok(ColumnRef::column(column));
        }
        let known = self.columns.iter().map(|column| &*column.name);
        let refused = |code, message| Err(InputError { code, field: None, message });
        let Some((base, key)) = name.split_once('.') else {
            return refused(codes::UNKNOWN_COLUMN, unknown("column", name, known));
        };
        let Some(column) = self.column_id(base) else {
            let maps = self.columns.iter().filter(|column| column.kind == ColumnType::Map);
            return refused(
                codes::UNKNOWN_COLUMN,
                unknown("map column", base, maps.map(|column| &*column.name)),
            );
        };
        if self.column(column).kind != ColumnType::Map {
            let kind = self.column(column).kind.name();
            let message = format!("'{base}' is a {kind} column and has no keys; write '{base}'");
            return refused(codes::UNKNOWN_COLUMN, message);
        }
        if key.is_empty() {
            return refused(
                codes::UNKNOWN_COLUMN,
                format!("the key after '{base}.' is missing; write '{base}.KEY'"),
            );
        }
        Ok(ColumnRef { column, key: Some(Arc::from(key)) })
    }

    /// The column behind an id of this dataset.
    pub fn column(&self, id: ColumnId) -> &Column {
        &self.columns[id.index()]
    }

    /// What reading `reference` yields: a key of a `map` reads as a string.
    pub fn kind(&self, reference: &ColumnRef) -> ColumnType {
        match reference.key {
            Some(_) => ColumnType::String,
            None => self.column(reference.column).kind,
        }
    }

    /// The name a user writes for `reference`: `channel`, `props.plan`.
    pub fn display(&self, reference: &ColumnRef) -> String {
        let name = &self.column(reference.column).name;
        match &reference.key {
            Some(key) => format!("{name}.{key}"),
            None => name.to_string(),
        }
    }
}

/// A time resolution that roll-ups can be kept at. As JSON it is its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum Tier {
    /// One minute.
    #[serde(rename = "1m")]
    Minute,
    /// Five minutes.
    #[serde(rename = "5m")]
    Minutes5,
    /// One hour.
    #[serde(rename = "1h")]
    Hour,
    /// One UTC day.
    #[serde(rename = "1d")]
    Day,
}

impl Tier {
    /// All tiers, finest first.
    pub const ALL: [Tier; 4] = [Tier::Minute, Tier::Minutes5, Tier::Hour, Tier::Day];

    /// The name a definition uses.
    pub fn name(self) -> &'static str {
        match self {
            Tier::Minute => "1m",
            Tier::Minutes5 => "5m",
            Tier::Hour => "1h",
            Tier::Day => "1d",
        }
    }

    /// Length of a bucket in micro-seconds. Buckets begin at whole multiples of it since the epoch.
    pub fn width_us(self) -> i64 {
        const MINUTE_US: i64 = 60_000_000;
        match self {
            Tier::Minute => MINUTE_US,
            Tier::Minutes5 => 5 * MINUTE_US,
            Tier::Hour => 60 * MINUTE_US,
            Tier::Day => 1_440 * MINUTE_US,
        }
    }

    /// The tier of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Tier::ALL.into_iter().find(|tier| tier.name() == name)
    }
}

/// A declared roll-up: which groups and which metrics are kept ready.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollup {
    /// Its name, unique in the dataset.
    pub name: Arc<str>,
    /// Columns (or map keys) rows are grouped by, next to the time.
    pub dimensions: Vec<ColumnRef>,
    /// Names of metrics.
    pub metrics: Vec<Arc<str>>,
    /// Resolutions, finest first.
    pub tiers: Vec<Tier>,
}

/// How long rows and roll-up tiers are kept, counted from the row's own time. `None` is for ever.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Raw rows, in micro-seconds.
    pub raw_us: Option<i64>,
    /// Tiers with a retention of their own; the others follow `raw_us`.
    pub tiers_us: BTreeMap<Tier, Option<i64>>,
}
