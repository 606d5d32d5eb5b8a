//! Filters from JSON (API.md "Query", `filters`): every name and value is resolved against a dataset, every limit is kept.
//!
//! Not here: literals (`literal`) and printing (`print`).

use regex::{Regex, RegexBuilder};
use serde_json::Value;

use super::literal::fit;
use super::{Comparison, Filter, Scalar, TextMatch};
use crate::input_error::{InputError, Shown, check_members, codes, unknown};
use crate::limits::{
    FILTER_DEPTH_MAX, FILTER_NODES_MAX, FILTER_REGEXES_MAX, FILTER_VALUES_MAX, QUERY_VALUES_MAX,
    REGEX_BYTES_MAX,
};
use crate::names::excerpt;
use crate::schema::{ColumnRef, ColumnType, Dataset};
use crate::time::Zone;

/// What was wrong with a filter; `field` is a path like `[1][2]`.
pub type FilterError = InputError;

/// Every operator, for "did you mean".
const OPERATORS: [&str; 16] = [
    "is",
    "is_not",
    "contains",
    "contains_not",
    "matches",
    "matches_not",
    "starts_with",
    "ends_with",
    "gt",
    "gte",
    "lt",
    "lte",
    "exists",
    "and",
    "or",
    "not",
];

/// Reads one filter, in the structure it is written in. Times without an offset are local to `zone`.
pub fn parse_filter(json: &Value, dataset: &Dataset, zone: &Zone) -> Result<Filter, FilterError> {
    FilterParser::new(dataset, zone).parse(json)
}

/// Reads a filter that [`super::to_json`] wrote and that was stored. It was within the limits when it was accepted, and
/// what was accepted must stay readable, so none is applied; JSON text itself nests 128 levels at most.
pub fn parse_stored(json: &Value, dataset: &Dataset) -> Result<Filter, FilterError> {
    let unlimited = usize::MAX;
    let mut parser = FilterParser {
        dataset,
        zone: &Zone::utc(),
        depth_max: unlimited,
        nodes_left: unlimited,
        regexes_left: unlimited,
        values_left: unlimited,
    };
    parser.parse(json)
}

/// Reads a list of filters that all must hold (null: none) into its canonical form; errors name places in `filters`.
pub fn parse_filters(json: &Value, dataset: &Dataset, zone: &Zone) -> Result<Filter, FilterError> {
    match json {
        Value::Null => Ok(Filter::all()),
        Value::Array(list) => {
            FilterParser::new(dataset, zone).parse_all(list).map_err(|error| error.within("filters"))
        }
        _ => Err(invalid(
            "filters",
            format!("{} is not a list of filters like [[\"is\", COLUMN, [VALUE]]]", Shown(json)),
        )),
    }
}

/// Compiles a pattern the way the filter `matches` means it. The program and the tables that matching builds are each limited
/// to [`REGEX_BYTES_MAX`].
pub fn compile_regex(pattern: &str, case_sensitive: bool) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern)
        .case_insensitive(!case_sensitive)
        .size_limit(REGEX_BYTES_MAX)
        .dfa_size_limit(REGEX_BYTES_MAX)
        .build()
}

/// Reads the filters of one question, which share their limits.
pub struct FilterParser<'a> {
    dataset: &'a Dataset,
    zone: &'a Zone,
    depth_max: usize,
    nodes_left: usize,
    regexes_left: usize,
    values_left: usize,
}

impl<'a> FilterParser<'a> {
    /// A parser with the whole budget.
    pub fn new(dataset: &'a Dataset, zone: &'a Zone) -> Self {
        FilterParser {
            dataset,
            zone,
            depth_max: FILTER_DEPTH_MAX,
            nodes_left: FILTER_NODES_MAX,
            regexes_left: FILTER_REGEXES_MAX,
            values_left: QUERY_VALUES_MAX,
        }
    }

    /// The dataset names are looked up in.
    pub fn dataset(&self) -> &'a Dataset {
        self.dataset
    }

    /// One filter, in the structure it is written in.
    pub fn parse(&mut self, json: &Value) -> Result<Filter, FilterError> {
        self.node(json, "", 1)
    }

    /// Filters that all must hold, in canonical form.
    pub fn parse_all(&mut self, list: &[Value]) -> Result<Filter, FilterError> {
        if let [Value::String(operator), ..] = list
            && OPERATORS.contains(&operator.as_str())
        {
            let message = format!(
                "filters are a list of filters: write [[\"{operator}\", …]] with one more pair of brackets"
            );
            return Err(invalid(String::new(), message));
        }
        Ok(Filter::And(self.nodes(list, "", 0)?).canonical())
    }

    fn nodes(&mut self, list: &[Value], path: &str, depth: usize) -> Result<Vec<Filter>, FilterError> {
        list.iter()
            .enumerate()
            .map(|(index, json)| self.node(json, &format!("{path}[{index}]"), depth + 1))
            .collect()
    }

    fn node(&mut self, json: &Value, path: &str, depth: usize) -> Result<Filter, FilterError> {
        if depth > self.depth_max {
            let message = format!(
                "filters are nested deeper than {FILTER_DEPTH_MAX} levels; use fewer 'and', 'or', 'not'"
            );
            return Err(InputError::new(codes::LIMIT_EXCEEDED, path, message));
        }
        self.nodes_left = self.nodes_left.checked_sub(1).ok_or_else(|| {
            let message = format!(
                "more than {FILTER_NODES_MAX} filters in one question; use one 'is' with many values"
            );
            InputError::new(codes::LIMIT_EXCEEDED, path, message)
        })?;
        let Some((operator, rest)) = split_operator(json) else {
            let message = format!("{} is not a filter like [\"is\", COLUMN, [VALUE]]", Shown(json));
            return Err(invalid(path, message));
        };
        match (operator, rest) {
            ("and", [Value::Array(parts)]) => {
                Ok(Filter::And(self.nodes(parts, &format!("{path}[1]"), depth)?))
            }
            ("or", [Value::Array(parts)]) => {
                Ok(Filter::Or(self.nodes(parts, &format!("{path}[1]"), depth)?))
            }
            ("not", [part]) => {
                Ok(Filter::Not(Box::new(self.node(part, &format!("{path}[1]"), depth + 1)?)))
            }
            ("and" | "or", _) => Err(invalid(
                path,
                format!("'{operator}' takes one list of filters: [\"{operator}\", [FILTER, …]]"),
            )),
            ("not", _) => Err(invalid(path, "'not' takes one filter: [\"not\", FILTER]")),
            (operator, [Value::String(name), arguments @ ..]) if OPERATORS.contains(&operator) => {
                let column =
                    self.dataset.resolve_column(name).map_err(|error| error.within(&format!("{path}[1]")))?;
                self.leaf(operator, column, arguments, path)
            }
            (operator, _) if OPERATORS.contains(&operator) => {
                Err(invalid(path, format!("'{operator}' needs the name of a column second")))
            }
            _ => Err(invalid(format!("{path}[0]"), unknown("filter", operator, OPERATORS))),
        }
    }

    fn leaf(
        &mut self,
        operator: &str,
        column: ColumnRef,
        arguments: &[Value],
        path: &str,
    ) -> Result<Filter, FilterError> {
        let negated = |filter: Filter| Filter::Not(Box::new(filter));
        match operator {
            "is" => self.is(column, arguments, path),
            "is_not" => self.is(column, arguments, path).map(negated),
            "contains" => self.text(TextMatch::Contains, column, arguments, path),
            "contains_not" => self.text(TextMatch::Contains, column, arguments, path).map(negated),
            "starts_with" => self.text(TextMatch::StartsWith, column, arguments, path),
            "ends_with" => self.text(TextMatch::EndsWith, column, arguments, path),
            "matches" => self.text(TextMatch::Regex, column, arguments, path),
            "matches_not" => self.text(TextMatch::Regex, column, arguments, path).map(negated),
            "exists" if arguments.is_empty() => Ok(Filter::Exists { column }),
            "exists" => Err(invalid(path, "'exists' takes a column and nothing else: [\"exists\", COLUMN]")),
            _ => match (Comparison::parse(operator), arguments) {
                (Some(how), [value]) => self.compare(how, column, value, path),
                _ => Err(invalid(
                    path,
                    format!("'{operator}' takes a column and one value: [\"{operator}\", COLUMN, VALUE]"),
                )),
            },
        }
    }

    fn is(&mut self, column: ColumnRef, arguments: &[Value], path: &str) -> Result<Filter, FilterError> {
        let (values, case_sensitive) = self.values(arguments, path)?;
        let (kind, name) = (self.dataset.kind(&column), self.dataset.display(&column));
        if kind == ColumnType::Map && values.iter().all(Value::is_null) {
            return Ok(Filter::Not(Box::new(Filter::Exists { column })));
        }
        let mut scalars = Vec::with_capacity(values.len());
        for (index, json) in values.iter().enumerate() {
            if json.is_null() {
                scalars.push(Scalar::Null);
                continue;
            }
            let fitted = fit(json, kind, &name, self.zone)
                .map_err(|error| error.within(&format!("{path}[2][{index}]")))?;
            // A number the column cannot hold equals none of its values.
            if fitted.order.is_eq() {
                scalars.push(fitted.value);
            }
        }
        if scalars.is_empty() {
            return Ok(Filter::none());
        }
        let is_text = matches!(kind, ColumnType::String | ColumnType::Strings);
        Ok(Filter::Is { column, values: scalars, case_sensitive: case_sensitive || !is_text })
    }

    fn text(
        &mut self,
        how: TextMatch,
        column: ColumnRef,
        arguments: &[Value],
        path: &str,
    ) -> Result<Filter, FilterError> {
        let (values, case_sensitive) = self.values(arguments, path)?;
        let kind = self.dataset.kind(&column);
        if !matches!(kind, ColumnType::String | ColumnType::Strings) {
            let name = self.dataset.display(&column);
            let message = match kind {
                ColumnType::Map => format!("'{}' works on one key of the map, like '{name}.KEY'", how.name()),
                _ => format!(
                    "'{}' works on text, and '{name}' is of type {}; use is, gt, gte, lt or lte",
                    how.name(),
                    kind.name()
                ),
            };
            return Err(invalid(format!("{path}[1]"), message));
        }
        let mut patterns = Vec::with_capacity(values.len());
        for (index, json) in values.iter().enumerate() {
            let field = format!("{path}[2][{index}]");
            let Value::String(pattern) = json else {
                let message = format!(
                    "'{}' looks for text, not {}; for rows without a value use [\"is\", COLUMN, [null]]",
                    how.name(),
                    Shown(json)
                );
                return Err(InputError::new(codes::INVALID_VALUE, field, message));
            };
            if how == TextMatch::Regex {
                self.check_regex(pattern, case_sensitive, &field)?;
            }
            patterns.push(pattern.clone());
        }
        Ok(Filter::Text { column, how, patterns, case_sensitive })
    }

    fn check_regex(&mut self, pattern: &str, case_sensitive: bool, field: &str) -> Result<(), FilterError> {
        self.regexes_left = self.regexes_left.checked_sub(1).ok_or_else(|| {
            let message = format!(
                "more than {FILTER_REGEXES_MAX} regular expressions in one question; join them with '|'"
            );
            InputError::new(codes::LIMIT_EXCEEDED, field, message)
        })?;
        let shown = excerpt(pattern);
        match compile_regex(pattern, case_sensitive) {
            Ok(_) => Ok(()),
            Err(regex::Error::CompiledTooBig(_)) => {
                let message = format!(
                    "the regular expression '{shown}' is too large when compiled; use smaller repetitions"
                );
                Err(InputError::new(codes::LIMIT_EXCEEDED, field, message))
            }
            Err(error) => {
                // The library draws the pattern with a caret below it; only the last line says what is wrong.
                let text = error.to_string();
                let cause = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                let message = format!("the regular expression '{shown}' does not compile: {cause}");
                Err(InputError::new(codes::INVALID_REGEX, field, message))
            }
        }
    }

    fn compare(
        &self,
        how: Comparison,
        column: ColumnRef,
        json: &Value,
        path: &str,
    ) -> Result<Filter, FilterError> {
        let (kind, name) = (self.dataset.kind(&column), self.dataset.display(&column));
        if matches!(kind, ColumnType::Bool | ColumnType::Strings | ColumnType::Map) {
            let message =
                format!("'{}' does not work on '{name}' of type {}; use 'is'", how.name(), kind.name());
            return Err(invalid(format!("{path}[1]"), message));
        }
        if json.is_null() {
            let message = format!(
                "nothing is in order with null; for rows without a value use [\"is\", \"{name}\", [null]]"
            );
            return Err(InputError::new(codes::INVALID_VALUE, format!("{path}[2]"), message));
        }
        let fitted =
            fit(json, kind, &name, self.zone).map_err(|error| error.within(&format!("{path}[2]")))?;
        Ok(Filter::Compare { column, how: fitted.adjust(how), value: fitted.value })
    }

    /// The values of an operator that takes a list, and whether case matters.
    fn values<'j>(&mut self, arguments: &'j [Value], path: &str) -> Result<(&'j [Value], bool), FilterError> {
        let (list, options) = match arguments {
            [Value::Array(list)] => (list, None),
            [Value::Array(list), Value::Object(options)] => (list, Some(options)),
            [Value::Array(_), other, ..] => {
                let message = format!(
                    "after the values only {{\"case_sensitive\": false}} may follow, not {}",
                    Shown(other)
                );
                return Err(invalid(format!("{path}[3]"), message));
            }
            _ => return Err(invalid(format!("{path}[2]"), "the values must be a list, like [\"a\", \"b\"]")),
        };
        if list.is_empty() {
            return Err(invalid(
                format!("{path}[2]"),
                "the list of values is empty; give at least one, or leave the filter out",
            ));
        }
        if list.len() > self.values_left.min(FILTER_VALUES_MAX) {
            let message = format!(
                "{} values in one filter are over the limit of {FILTER_VALUES_MAX}, or of {QUERY_VALUES_MAX} in a question",
                list.len()
            );
            return Err(InputError::new(codes::LIMIT_EXCEEDED, format!("{path}[2]"), message));
        }
        self.values_left -= list.len();
        let Some(options) = options else { return Ok((list, true)) };
        check_members(options, &["case_sensitive"], &format!("{path}[3]"))?;
        match options.get("case_sensitive") {
            None => Ok((list, true)),
            Some(Value::Bool(case_sensitive)) => Ok((list, *case_sensitive)),
            Some(other) => {
                let message = format!("case_sensitive is true or false, not {}", Shown(other));
                Err(InputError::new(codes::INVALID_VALUE, format!("{path}[3].case_sensitive"), message))
            }
        }
    }
}

fn split_operator(json: &Value) -> Option<(&str, &[Value])> {
    match json.as_array()?.split_first()? {
        (Value::String(operator), rest) => Some((operator, rest)),
        _ => None,
    }
}

fn invalid(path: impl Into<String>, message: impl Into<String>) -> FilterError {
    InputError::new(codes::INVALID_FILTER, path, message)
}
