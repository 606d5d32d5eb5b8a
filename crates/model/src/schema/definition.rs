//! The object a user writes to declare a dataset: API.md "Datasets", as JSON or under `[datasets.NAME]` in the
//! configuration file. Member order is kept, so that a definition reads back as it was written.
//!
//! Not here: what it means (`compile`).

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, Serializer};

use crate::input_error::{InputError, codes};
use crate::query::MetricDefinition;

/// A dataset as declared. As an addition to an existing dataset ([`super::Dataset::widen`]) every member is optional.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetDefinition {
    /// Name of the time column; it need not stand in `columns`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// Name of the deduplication column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Leading sort columns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sort: Option<Vec<String>>,
    /// Column name → type name.
    #[serde(default, skip_serializing_if = "Entries::is_empty")]
    pub columns: Entries<String>,
    /// Metric name → metric.
    #[serde(default, skip_serializing_if = "Entries::is_empty")]
    pub metrics: Entries<MetricDefinition>,
    /// Roll-ups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rollups: Vec<RollupDefinition>,
    /// `raw` or a tier → duration.
    #[serde(default, skip_serializing_if = "RetentionDefinition::is_empty")]
    pub retention: RetentionDefinition,
}

impl DatasetDefinition {
    /// Reads the JSON text of a definition; the error names line and column.
    pub fn from_json(text: &[u8]) -> Result<Self, SchemaError> {
        let refused = |cause: String| InputError {
            code: codes::INVALID_DEFINITION,
            field: None,
            message: format!("the dataset definition does not read: {cause}"),
        };
        // A derived reader would also take a list of the members' values.
        if text.trim_ascii_start().starts_with(b"[") {
            return Err(refused(
                "expected an object like {\"time\": \"ts\", \"columns\": {}}, not a list".to_owned(),
            ));
        }
        serde_json::from_slice(text).map_err(|error| refused(error.to_string()))
    }
}

/// What was wrong with a definition.
pub type SchemaError = InputError;

/// A roll-up as declared.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RollupDefinition {
    /// Unique in the dataset.
    pub name: String,
    /// Columns or map keys.
    #[serde(default)]
    pub dimensions: Vec<String>,
    /// Names of metrics; absent means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Vec<String>>,
    /// Names of tiers; absent means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tiers: Option<Vec<String>>,
}

/// `raw` or the name of a tier → a duration like `90d`; null or `forever` is for ever.
pub type RetentionDefinition = Entries<Option<String>>;

/// Named things in the order they were written, each name once.
#[derive(Clone, Debug, PartialEq)]
pub struct Entries<T>(Vec<(String, T)>);

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Entries(Vec::new())
    }
}

impl<T> Entries<T> {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// In order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// By exact name.
    pub fn get(&self, name: &str) -> Option<&T> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// Puts `value` in the place of the entry of that name, or at the end.
    pub fn set(&mut self, name: &str, value: T) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, place)) => *place = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }
}

impl<T> FromIterator<(String, T)> for Entries<T> {
    /// A repeated name keeps its first place and takes the last value.
    fn from_iter<I: IntoIterator<Item = (String, T)>>(entries: I) -> Self {
        let mut out = Entries::default();
        entries.into_iter().for_each(|(name, value)| out.set(&name, value));
        out
    }
}

impl<T: Serialize> Serialize for Entries<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor(PhantomData))
    }
}

struct EntriesVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for EntriesVisitor<T> {
    type Value = Entries<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of names")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<T>, A::Error> {
        let mut entries: Vec<(String, T)> = Vec::new();
        let mut names = std::collections::HashSet::new();
        while let Some((name, value)) = map.next_entry::<String, T>()? {
            if !names.insert(name.clone()) {
                return Err(de::Error::custom(format_args!(
                    "'{}' is there twice",
                    crate::names::excerpt(&name)
                )));
            }
            entries.push((name, value));
        }
        Ok(Entries(entries))
    }
}
