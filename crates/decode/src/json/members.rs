//! The members of a row object, each to its column.

use tidewater_model::limits::ROW_MEMBERS_MAX;
use tidewater_model::names::excerpt;
use tidewater_model::schema::{ColumnId, ColumnType};

use super::scan::{RawString, Scan, Scanner};
use crate::error::codes;
use crate::mapping::{Target, Targets};
use crate::rows::Rows;

/// Values nested deeper are refused: nobody can ask for what is in them.
const DEPTH_MAX: usize = 64;
/// Member names whose target is remembered; others are looked up each time.
const KEYS_MAX: usize = 256;
/// Remembered names that are compared before a name is looked up: rows leave out a few members, or swap them.
const KEYS_AHEAD: usize = 16;

/// Member names in the order rows have them, with their targets: the next name is nearly always the one that followed the
/// last time, so that it need not even be scanned.
pub(crate) struct KeyCache<'a> {
    keys: Vec<Key<'a>>,
    /// Where the next name is expected.
    next: usize,
    /// The target looked up last, where `keys` is full.
    spare: Target,
}

struct Key<'a> {
    name: &'a str,
    /// The name as it stood in the text: its quotes, the colon, what is between them.
    token: &'a str,
    target: Target,
}

impl Default for KeyCache<'_> {
    fn default() -> Self {
        KeyCache { keys: Vec::new(), next: 0, spare: Target::Ignored }
    }
}

impl<'a> KeyCache<'a> {
    /// The next member's name and target, if it is the expected one; then the scanner is behind its colon.
    #[inline]
    fn expected(&mut self, scanner: &mut Scanner<'a>) -> Option<(&'a str, &Target)> {
        let key = self.keys.get(self.next)?;
        if !scanner.take_token(key.token) {
            return None;
        }
        self.next += 1;
        Some((key.name, &key.target))
    }

    /// The target of a name without escapes.
    fn search(&mut self, name: &'a str, token: &'a str, targets: &Targets<'_>) -> &Target {
        let mut ahead = (self.next..self.keys.len()).chain(0..self.next).take(KEYS_AHEAD);
        if let Some(at) = ahead.find(|at| self.keys[*at].name == name) {
            self.next = at + 1;
            return &self.keys[at].target;
        }
        let target = targets.resolve(name);
        if self.keys.len() >= KEYS_MAX {
            self.spare = target;
            return &self.spare;
        }
        self.keys.insert(self.next, Key { name, token, target });
        self.next += 1;
        &self.keys[self.next - 1].target
    }
}

/// Reads one element of a body: puts an object's members into the row in progress, or marks it as bad. Ends after the
/// value; an error is one of syntax only.
pub(crate) fn read_row<'a>(
    scanner: &mut Scanner<'a>,
    rows: &mut Rows<'_>,
    keys: &mut KeyCache<'a>,
) -> Scan<()> {
    if !scanner.take(b'{') {
        let found = match scanner.peek() {
            Some(b'[') => "a list",
            Some(b'"') => "a string",
            Some(b'n') => "null",
            _ => "another value",
        };
        rows.fail(None, codes::INVALID_TYPE, || format!("expected an object, found {found}"));
        return scanner.skip_value().map(drop);
    }
    keys.next = 0;
    let mut members = 0;
    let mut is_more = !scanner.take(b'}');
    while is_more {
        members += 1;
        if members > ROW_MEMBERS_MAX {
            rows.fail(None, codes::LIMIT_EXCEEDED, || format!("a row has at most {ROW_MEMBERS_MAX} members"));
        }
        scanner.skip_space();
        match keys.expected(scanner) {
            Some(_) if rows.is_failed() => scanner.skip_value().map(drop)?,
            None if rows.is_failed() => skip_member(scanner)?,
            Some((_, Target::Column(id))) => put_value(scanner, rows, *id)?,
            Some((name, target)) => put_elsewhere(scanner, rows, target, name)?,
            None => put_unexpected(scanner, rows, keys)?,
        }
        is_more = scanner.take(b',');
        if !is_more {
            scanner.expect(b'}', "expected ',' or '}' after a member")?;
        }
    }
    Ok(())
}

/// Passes over a member of a row that will be left out.
fn skip_member(scanner: &mut Scanner<'_>) -> Scan<()> {
    scanner.string()?;
    scanner.expect(b':', "expected ':' after a member's name")?;
    scanner.skip_value().map(drop)
}

/// A member whose name is not the one that followed the last time.
fn put_unexpected<'a>(scanner: &mut Scanner<'a>, rows: &mut Rows<'_>, keys: &mut KeyCache<'a>) -> Scan<()> {
    let from = scanner.position();
    let name = scanner.string()?;
    scanner.expect(b':', "expected ':' after a member's name")?;
    if name.has_escapes {
        return put_escaped_member(scanner, rows, name);
    }
    let token = scanner.text_from(from);
    let target = keys.search(name.raw, token, &rows.targets);
    put_elsewhere(scanner, rows, target, name.raw)
}

#[cold]
fn put_escaped_member(scanner: &mut Scanner<'_>, rows: &mut Rows<'_>, name: RawString<'_>) -> Scan<()> {
    let mut scratch = String::new();
    match name.decode(&mut scratch) {
        Ok(name) => match rows.targets.resolve(name) {
            Target::Column(id) => put_value(scanner, rows, id),
            other => put_elsewhere(scanner, rows, &other, name),
        },
        Err(_) => {
            fail_surrogate(rows, None);
            scanner.skip_value().map(drop)
        }
    }
}

/// A member that is not a whole column.
fn put_elsewhere(scanner: &mut Scanner<'_>, rows: &mut Rows<'_>, target: &Target, name: &str) -> Scan<()> {
    match target {
        Target::Column(id) => put_value(scanner, rows, *id),
        Target::Key(id, key) => put_entry(scanner, rows, *id, key),
        Target::Inside if scanner.peek() == Some(b'{') => put_inside(scanner, rows, name),
        Target::Inside => skip(scanner, rows).map(drop),
        Target::Ignored => {
            rows.ignore_unknown();
            skip(scanner, rows).map(drop)
        }
        Target::Refused => {
            rows.fail_unknown(name);
            scanner.skip_value().map(drop)
        }
    }
}

/// The members of an object that the mapping names. Recursion is as deep as the mapping's longest path.
fn put_inside(scanner: &mut Scanner<'_>, rows: &mut Rows<'_>, path: &str) -> Scan<()> {
    each_member(scanner, rows, |scanner, rows, name| {
        let path = format!("{path}.{name}");
        match rows.targets.resolve_inside(&path) {
            Some(target) => put_elsewhere(scanner, rows, &target, &path),
            None => skip(scanner, rows).map(drop),
        }
    })
}

/// Passes over a value that is not kept.
fn skip(scanner: &mut Scanner<'_>, rows: &mut Rows<'_>) -> Scan<()> {
    if scanner.skip_value()? > DEPTH_MAX {
        rows.fail(None, codes::TOO_DEEP, || format!("values are nested deeper than {DEPTH_MAX}"));
    }
    Ok(())
}

/// Puts the next value into a column.
#[inline]
pub(crate) fn put_value(scanner: &mut Scanner<'_>, rows: &mut Rows<'_>, id: ColumnId) -> Scan<()> {
    match scanner.peek() {
        Some(b'"') => {
            let string = scanner.string()?;
            if string.has_escapes { put_escaped(rows, id, string) } else { rows.put_text(id, string.raw) }
        }
        Some(b'-' | b'0'..=b'9') => {
            let number = scanner.number()?;
            rows.put_number(id, number);
        }
        Some(b'[') => return put_list(scanner, rows, id),
        Some(b'{') => return put_map(scanner, rows, id),
        _ => {
            if let Some(value) = scanner.word()? {
                rows.put_bool(id, value);
            }
        }
    }
    Ok(())
}

fn put_escaped(rows: &mut Rows<'_>, id: ColumnId, string: RawString<'_>) {
    let mut scratch = String::new();
    match string.decode(&mut scratch) {
        Ok(text) => rows.put_text(id, text),
        Err(_) => fail_surrogate(rows, Some(id)),
    }
}

fn put_list(scanner: &mut Scanner<'_>, rows: &mut Rows<'_>, id: ColumnId) -> Scan<()> {
    if rows.kind(id) != ColumnType::Strings {
        rows.fail_type(id, "a list");
        return scanner.skip_value().map(drop);
    }
    if !rows.open_list(id) {
        return scanner.skip_value().map(drop);
    }
    scanner.expect(b'[', "expected a list")?;
    let mut scratch = String::new();
    let mut is_more = !scanner.take(b']');
    while is_more {
        if scanner.peek() != Some(b'"') {
            rows.fail_column(id, codes::INVALID_TYPE, || "expected a list of strings".to_owned());
            scanner.skip_value()?;
        } else {
            match scanner.string()?.decode(&mut scratch) {
                Ok(text) => rows.push_element(id, text),
                Err(_) => fail_surrogate(rows, Some(id)),
            }
        }
        is_more = scanner.take(b',');
        if !is_more {
            scanner.expect(b']', "expected ',' or ']' after an element")?;
        }
    }
    rows.close_list(id);
    Ok(())
}

fn put_map(scanner: &mut Scanner<'_>, rows: &mut Rows<'_>, id: ColumnId) -> Scan<()> {
    if rows.kind(id) != ColumnType::Map {
        rows.fail_type(id, "an object");
        return scanner.skip_value().map(drop);
    }
    rows.open_map(id);
    each_member(scanner, rows, |scanner, rows, key| put_entry(scanner, rows, id, key))
}

/// Reads an object; `each` takes the value of a member by its name. Values of a failed row are passed over.
fn each_member(
    scanner: &mut Scanner<'_>,
    rows: &mut Rows<'_>,
    mut each: impl FnMut(&mut Scanner<'_>, &mut Rows<'_>, &str) -> Scan<()>,
) -> Scan<()> {
    scanner.expect(b'{', "expected an object")?;
    let mut scratch = String::new();
    let mut is_more = !scanner.take(b'}');
    while is_more {
        let name = scanner.string()?;
        scanner.expect(b':', "expected ':' after a member's name")?;
        match name.decode(&mut scratch) {
            _ if rows.is_failed() => scanner.skip_value().map(drop)?,
            Ok(name) => each(scanner, rows, name)?,
            Err(_) => {
                fail_surrogate(rows, None);
                scanner.skip_value()?;
            }
        }
        is_more = scanner.take(b',');
        if !is_more {
            scanner.expect(b'}', "expected ',' or '}' after a member")?;
        }
    }
    Ok(())
}

/// Puts the next value under a key of the row's map: strings as they are, null not at all, all else as JSON text.
fn put_entry(scanner: &mut Scanner<'_>, rows: &mut Rows<'_>, id: ColumnId, key: &str) -> Scan<()> {
    match scanner.peek() {
        Some(b'"') => {
            let mut scratch = String::new();
            match scanner.string()?.decode(&mut scratch) {
                Ok(text) => rows.push_entry(id, key, text),
                Err(_) => fail_surrogate(rows, Some(id)),
            }
        }
        Some(b'n') => {
            scanner.word()?;
        }
        _ => {
            let from = scanner.position();
            if scanner.skip_value()? > DEPTH_MAX {
                rows.fail_column(id, codes::TOO_DEEP, || {
                    format!("the value of '{}' is nested deeper than {DEPTH_MAX}", excerpt(key))
                });
            } else {
                rows.push_entry(id, key, scanner.text_from(from));
            }
        }
    }
    Ok(())
}

#[cold]
fn fail_surrogate(rows: &mut Rows<'_>, id: Option<ColumnId>) {
    let message = || "a \\u escape stands for half a character".to_owned();
    match id {
        Some(id) => rows.fail_column(id, codes::INVALID_UTF8, message),
        None => rows.fail(None, codes::INVALID_UTF8, message),
    }
}
