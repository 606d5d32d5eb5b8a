//! Reading and merging the sources of the configuration.
//!
//! The defaults, written as TOML, are the list of known fields and of their types: there is no second list to keep.

use std::path::{Path, PathBuf};

use tidewater_model::names::suggest;
use toml::{Table, Value};

use super::Config;

/// Environment variables that mean a field and are not named after it.
const ALIASES: [(&str, &str); 1] = [("TIDEWATER_ADMIN_KEY", "TIDEWATER_AUTH__ADMIN_KEY")];
/// What every variable begins with.
const PREFIX: &str = "TIDEWATER_";
/// Read where no file is named.
const DEFAULT_FILE: &str = "tidewater.toml";

/// Where fields come from, weakest first.
#[derive(Debug, Default)]
pub struct Sources {
    /// A file that must exist; without one `tidewater.toml` is read where it exists.
    pub file: Option<PathBuf>,
    /// Environment variables.
    pub environment: Vec<(String, String)>,
    /// `(section, field, value)` of flags.
    pub flags: Vec<(&'static str, &'static str, Value)>,
}

/// What is wrong with the configuration. The reader is the operator, so paths are named.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read {path}", path = path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file is not TOML.
    #[error("{path} is not valid TOML", path = path.display())]
    Syntax {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: toml::de::Error,
    },
    /// A field that does not exist.
    #[error("unknown configuration field '{name}' in {place}{}", remedy(.nearest.as_deref()))]
    Unknown {
        /// As written.
        name: String,
        /// File or environment.
        place: String,
        /// The nearest known one.
        nearest: Option<String>,
    },
    /// A value of the wrong type.
    #[error("{place}: '{name}' must be {expected}, not '{value}'")]
    WrongType {
        /// Which field.
        name: String,
        /// File or environment.
        place: String,
        /// What would be right.
        expected: &'static str,
        /// As written.
        value: String,
    },
    /// The merged fields do not make a configuration.
    #[error("the configuration does not read")]
    Merge(#[source] toml::de::Error),
    /// The defaults do not print; a fault of the program.
    #[error("the default configuration does not print")]
    Defaults(#[source] toml::ser::Error),
}

fn remedy(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!("; did you mean '{name}'?"))
}

/// Merges all sources.
pub fn load(sources: &Sources) -> Result<Config, ConfigError> {
    let known = Table::try_from(Config::default()).map_err(ConfigError::Defaults)?;
    let mut merged = known.clone();
    if let Some((path, table)) = read_file(sources.file.as_deref())? {
        merge_file(&known, &mut merged, table, &path)?;
    }
    for (name, value) in &sources.environment {
        merge_variable(&known, &mut merged, name, value)?;
    }
    for (section, field, value) in &sources.flags {
        set(&mut merged, section, field, value.clone());
    }
    Value::Table(merged).try_into().map_err(ConfigError::Merge)
}

fn read_file(named: Option<&Path>) -> Result<Option<(PathBuf, Table)>, ConfigError> {
    let path = named.unwrap_or(Path::new(DEFAULT_FILE)).to_owned();
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_none() => return Ok(None),
        Err(source) => return Err(ConfigError::Read { path, source }),
    };
    match text.parse() {
        Ok(table) => Ok(Some((path, table))),
        Err(source) => Err(ConfigError::Syntax { path, source }),
    }
}

fn merge_file(known: &Table, merged: &mut Table, file: Table, path: &Path) -> Result<(), ConfigError> {
    let place = path.display().to_string();
    for (section, fields) in file {
        if section == "datasets" {
            merged.insert(section, fields);
            continue;
        }
        let Some(Value::Table(known_fields)) = known.get(&section) else {
            let sections = known.keys().map(String::as_str).chain(["datasets"]);
            let nearest = suggest(&section, sections).map(str::to_owned);
            return Err(ConfigError::Unknown { name: section, place, nearest });
        };
        let Value::Table(fields) = fields else {
            return Err(wrong_type(&section, &place, "a section like [server]", &fields.to_string()));
        };
        if let Some(Value::Table(merged)) = merged.get_mut(&section) {
            merge_fields(known_fields, merged, fields, &section, &place)?;
        }
    }
    Ok(())
}

/// Merges the fields of a section, and those of sections in it like `[auth.jwt]`.
fn merge_fields(
    known: &Table,
    merged: &mut Table,
    fields: Table,
    section: &str,
    place: &str,
) -> Result<(), ConfigError> {
    for (field, value) in fields {
        let name = format!("{section}.{field}");
        let Some(default) = known.get(&field) else {
            let nearest = suggest(&field, known.keys().map(String::as_str));
            let nearest = nearest.map(|field| format!("{section}.{field}"));
            return Err(ConfigError::Unknown { name, place: place.to_owned(), nearest });
        };
        match (default, value, merged.get_mut(&field)) {
            (Value::Table(known), Value::Table(fields), Some(Value::Table(merged))) => {
                merge_fields(known, merged, fields, &name, place)?;
            }
            (default, value, _) if default.same_type(&value) => {
                merged.insert(field, value);
            }
            (default, value, _) => {
                return Err(wrong_type(&name, place, type_name(default), &value.to_string()));
            }
        }
    }
    Ok(())
}

fn merge_variable(known: &Table, merged: &mut Table, name: &str, text: &str) -> Result<(), ConfigError> {
    let full = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, full)| full);
    let Some((section, field)) = full.strip_prefix(PREFIX).and_then(|rest| rest.split_once("__")) else {
        // Variables of other tools (TIDEWATER_URL, TIDEWATER_KEY of the command line) have no section.
        return Ok(());
    };
    let path: Vec<String> =
        std::iter::once(section).chain(field.split("__")).map(str::to_lowercase).collect();
    let Some(default) = find(known, &path) else {
        let names = variables(known);
        let nearest = suggest(name, names.iter().map(String::as_str)).map(str::to_owned);
        return Err(ConfigError::Unknown {
            name: name.to_owned(),
            place: "the environment".to_owned(),
            nearest,
        });
    };
    let value = parse_as(default, text)
        .ok_or_else(|| wrong_type(name, "the environment", type_name(default), text))?;
    if let Some(place) = find_mut(merged, &path) {
        *place = value;
    }
    Ok(())
}

fn find<'a>(table: &'a Table, path: &[String]) -> Option<&'a Value> {
    let (last, sections) = path.split_last()?;
    let table = sections.iter().try_fold(table, |table, section| table.get(section)?.as_table())?;
    table.get(last)
}

fn find_mut<'a>(table: &'a mut Table, path: &[String]) -> Option<&'a mut Value> {
    let (last, sections) = path.split_last()?;
    let table = sections.iter().try_fold(table, |table, section| table.get_mut(section)?.as_table_mut())?;
    table.get_mut(last)
}

/// Every field's variable.
fn variables(known: &Table) -> Vec<String> {
    fn collect(table: &Table, prefix: &str, names: &mut Vec<String>) {
        for (name, value) in table {
            let name = format!("{prefix}{name}").to_uppercase();
            match value {
                Value::Table(inner) => collect(inner, &format!("{name}__"), names),
                _ => names.push(name),
            }
        }
    }
    let mut names = Vec::new();
    collect(known, PREFIX, &mut names);
    names
}

fn parse_as(default: &Value, text: &str) -> Option<Value> {
    match default {
        Value::String(_) => Some(Value::String(text.to_owned())),
        Value::Integer(_) => text.trim().replace('_', "").parse().ok().map(Value::Integer),
        Value::Float(_) => text.trim().parse().ok().map(Value::Float),
        Value::Boolean(_) => match text.trim().to_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Some(Value::Boolean(true)),
            "false" | "0" | "no" | "off" => Some(Value::Boolean(false)),
            _ => None,
        },
        Value::Array(_) => parse_list(text),
        _ => None,
    }
}

/// A list of texts: as JSON, or plainly with commas between them.
fn parse_list(text: &str) -> Option<Value> {
    let texts: Vec<String> = match text.trim() {
        "" => Vec::new(),
        json if json.starts_with('[') => serde_json::from_str(json).ok()?,
        plain => plain.split(',').map(|part| part.trim().to_owned()).collect(),
    };
    Some(Value::Array(texts.into_iter().map(Value::String).collect()))
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Array(_) => "a list of texts",
        _ => "a table",
    }
}

fn wrong_type(name: &str, place: &str, expected: &'static str, value: &str) -> ConfigError {
    ConfigError::WrongType {
        name: name.to_owned(),
        place: place.to_owned(),
        expected,
        value: value.to_owned(),
    }
}

fn set(merged: &mut Table, section: &str, field: &str, value: Value) {
    if let Some(Value::Table(fields)) = merged.get_mut(section) {
        fields.insert(field.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Sources {
        let environment =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Sources { environment, ..Sources::default() }
    }

    #[test]
    fn later_sources_win() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("t.toml");
        std::fs::write(&file, "[server]\nlisten = \"a:1\"\ndrain_ms = 7\n[query]\ntimeout_ms = 5\n")
            .expect("written");
        let mut sources =
            environment(&[("TIDEWATER_SERVER__LISTEN", "b:2"), ("TIDEWATER_QUERY__TIMEOUT_MS", "6")]);
        sources.file = Some(file);
        sources.flags.push(("server", "listen", Value::String("c:3".into())));
        let config = load(&sources).expect("a configuration");
        assert_eq!((config.server.listen.as_str(), config.server.drain_ms), ("c:3", 7));
        assert_eq!(config.query.timeout_ms, 6);
    }

    #[test]
    fn unknown_and_wrong_fields_are_named() {
        let cases = [
            ("TIDEWATER_STORE__MEMTABLE_BYTES", "1", "did you mean 'TIDEWATER_STORE__MEMTABLE_BYTES_MAX'"),
            ("TIDEWATER_QUERY__TIMEOUT_MS", "soon", "must be a whole number, not 'soon'"),
        ];
        for (name, value, expected) in cases {
            let error = load(&environment(&[(name, value)])).expect_err("refused").to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn files_name_the_nearest_field() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("t.toml");
        let cases = [
            ("[sever]\nlisten = \"x\"", "did you mean 'server'?"),
            ("[server]\nlistn = \"x\"", "did you mean 'server.listen'?"),
            ("[server]\ndrain_ms = \"x\"", "'server.drain_ms' must be a whole number"),
        ];
        for (text, expected) in cases {
            std::fs::write(&file, text).expect("written");
            let error = load(&Sources { file: Some(file.clone()), ..Sources::default() })
                .expect_err("refused")
                .to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn the_admin_key_has_a_short_name_and_is_not_printed() {
        let config = load(&environment(&[("TIDEWATER_ADMIN_KEY", "hunter2"), ("TIDEWATER_URL", "x")]))
            .expect("a configuration");
        assert_eq!(config.auth.admin_key.expose(), "hunter2");
        assert!(!format!("{config:?}").contains("hunter2"), "nor in Debug");
        let printed = config.print().expect("it prints");
        assert!(!printed.contains("hunter2") && printed.contains("(set)"), "{printed}");
    }

    #[test]
    fn what_is_printed_reads_back() {
        let printed = Config::default().print().expect("it prints");
        let back: Config = toml::from_str(&printed).expect("it reads");
        assert_eq!(back.print().expect("it prints"), printed);
    }
}
