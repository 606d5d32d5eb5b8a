//! Which column a member of a row goes to.

use std::collections::BTreeMap;

use hashbrown::{HashMap, HashSet};
use tidewater_model::names::{excerpt, suggest};
use tidewater_model::schema::{ColumnId, ColumnRef, ColumnType, Dataset};

use crate::{DecodeError, Unknown};

/// Other names for columns, and values for columns that rows do not have: the importer's `--map` and `--set`.
#[derive(Clone, Debug, Default)]
pub struct Mapping {
    /// Name in the body → name in the dataset (`COLUMN` or `COLUMN.KEY`). In JSON `a.b` is member `b` of the object in
    /// member `a`; the other members of such an object are dropped. Names not in here stand for themselves, except that a
    /// column which is the target of another name is not also filled by its own.
    pub fields: BTreeMap<String, String>,
    /// Name in the dataset → its value, as a CSV field, in rows that have none.
    pub constants: BTreeMap<String, String>,
}

/// Where a member's value goes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Target {
    Column(ColumnId),
    /// A key of a map column.
    Key(ColumnId, Box<str>),
    /// An object of which the mapping names members.
    Inside,
    /// Dropped, but counted.
    Ignored,
    /// The row is refused with this reason.
    Refused,
}

/// Resolves names for one call.
pub(crate) struct Targets<'a> {
    dataset: &'a Dataset,
    unknown: Unknown,
    by_name: HashMap<&'a str, Target>,
    props: Option<ColumnId>,
    /// Names of objects of which the mapping names members: `a` and `a.b` for `a.b.c`.
    outer: HashSet<&'a str>,
}

/// The map column that takes unknown members under `Unknown::Props`.
const PROPS: &str = "props";

impl<'a> Targets<'a> {
    pub fn new(dataset: &'a Dataset, unknown: Unknown, mapping: &'a Mapping) -> Result<Self, DecodeError> {
        let mut by_name = HashMap::with_capacity(dataset.columns.len() + mapping.fields.len());
        for (id, column) in dataset.columns.iter().enumerate() {
            by_name.insert(&*column.name, Target::Column(ColumnId(id as u16)));
        }
        let props = dataset.column_id(PROPS).filter(|id| dataset.column(*id).kind == ColumnType::Map);
        let sources = mapping.fields.keys();
        let outer = sources.flat_map(|name| name.match_indices('.').map(|(at, _)| &name[..at])).collect();
        let mut targets = Targets { dataset, unknown, by_name, props, outer };
        for target in mapping.fields.values() {
            targets.by_name.remove(target.as_str());
        }
        for (source, name) in &mapping.fields {
            let target = resolve_name(dataset, name)?;
            targets.by_name.insert(source, target);
        }
        Ok(targets)
    }

    /// Where a member of that name goes.
    pub fn resolve(&self, name: &str) -> Target {
        if let Some(target) = self.by_name.get(name) {
            return target.clone();
        }
        if self.outer.contains(name) {
            return Target::Inside;
        }
        let is_key = name.split_once('.').and_then(|(base, key)| match self.by_name.get(base) {
            Some(Target::Column(id)) if self.is_map(*id) && !key.is_empty() => {
                Some(Target::Key(*id, key.into()))
            }
            _ => None,
        });
        match (is_key, self.unknown, self.props) {
            (Some(target), _, _) => target,
            (None, Unknown::Ignore, _) => Target::Ignored,
            (None, Unknown::Props, Some(props)) => Target::Key(props, name.into()),
            (None, Unknown::Reject | Unknown::Props, _) => Target::Refused,
        }
    }

    /// Where member `name`, written as a path, of an object goes that the mapping looks into; others are not asked for.
    pub fn resolve_inside(&self, path: &str) -> Option<Target> {
        if let Some(target) = self.by_name.get(path) {
            return Some(target.clone());
        }
        self.outer.contains(path).then_some(Target::Inside)
    }

    /// Why a name is refused, with the nearest name there is.
    pub fn refusal(&self, name: &str) -> String {
        let shown = excerpt(name);
        match suggest(name, self.by_name.keys().copied()) {
            Some(nearest) => format!("unknown column '{shown}'; did you mean '{nearest}'?"),
            None if self.unknown == Unknown::Props => {
                format!(
                    "unknown column '{shown}', and dataset '{}' has no map column 'props'",
                    self.dataset.name
                )
            }
            None => format!("unknown column '{shown}' in dataset '{}'", self.dataset.name),
        }
    }

    /// A column's name, for messages.
    pub fn name(&self, id: ColumnId) -> &'a str {
        &self.dataset.column(id).name
    }

    fn is_map(&self, id: ColumnId) -> bool {
        self.dataset.column(id).kind == ColumnType::Map
    }
}

/// The target a mapping names; unlike a row's member it must exist.
pub(crate) fn resolve_name(dataset: &Dataset, name: &str) -> Result<Target, DecodeError> {
    let invalid = |error: tidewater_model::input_error::InputError| DecodeError::InvalidMapping {
        message: error.message,
    };
    let ColumnRef { column, key } = dataset.resolve_column(name).map_err(invalid)?;
    Ok(match key {
        None => Target::Column(column),
        Some(key) => Target::Key(column, Box::from(&*key)),
    })
}
