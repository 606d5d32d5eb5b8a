//! CSV and TSV bodies: a header row that names columns, then a row per record.
//!
//! Types are the columns': a field is text that is read as its column's type. An empty field is null; in a string column a
//! quoted empty field is the empty string. Lists and maps stand as JSON text, or a column `props.KEY` holds one key.

mod records;

use tidewater_model::schema::{ColumnType, Dataset};

use self::records::{Field, Record, Records};
use crate::error::codes;
use crate::mapping::Target;
use crate::rows::Rows;
use crate::utf8::Text;
use crate::{DecodeError, Decoded, Options};

/// Reads a body. Fields of tab-separated files have no quotes.
pub(crate) fn decode(
    body: &[u8],
    delimiter: u8,
    dataset: &Dataset,
    options: &Options<'_>,
) -> Result<Decoded, DecodeError> {
    let text = Text::new(body);
    let mut rows = Rows::new(dataset, options)?;
    let mut records = Records::new(&text.text, delimiter, delimiter == b',');
    let mut fields = Vec::new();
    let header = records.next(&mut fields).ok_or(DecodeError::Empty)?;
    let targets = read_header(&header, &fields, &rows)?;
    let mut scratch = String::new();
    while let Some(record) = records.next(&mut fields) {
        if !text.is_valid(record.range.clone()) {
            rows.fail(None, codes::INVALID_UTF8, || "the row holds bytes that are no UTF-8".to_owned());
        } else if let Some(problem) = record.problem {
            rows.fail(None, codes::MALFORMED_CSV, || format!("line {}: {problem}", record.line));
        } else if fields.len() != targets.len() {
            let (found, expected) = (fields.len(), targets.len());
            rows.fail(None, codes::RAGGED_ROW, || {
                format!("line {} has {found} fields, the header has {expected}", record.line)
            });
        } else {
            for (target, field) in targets.iter().zip(&fields) {
                put(&mut rows, target, field, &mut scratch);
            }
        }
        rows.finish_row(|| &text.bytes[record.range])?;
    }
    Ok(rows.finish())
}

fn put(rows: &mut Rows<'_>, target: &Target, field: &Field<'_>, scratch: &mut String) {
    let is_string = match target {
        Target::Column(id) => rows.kind(*id) == ColumnType::String,
        _ => true,
    };
    if field.raw.is_empty() && !(field.is_quoted && is_string) {
        return;
    }
    rows.put_field_at(target, field.text(scratch));
}

fn read_header(header: &Record, fields: &[Field<'_>], rows: &Rows<'_>) -> Result<Vec<Target>, DecodeError> {
    if let Some(problem) = header.problem {
        return Err(DecodeError::MalformedCsv { reason: format!("line {}: {problem}", header.line) });
    }
    let mut targets: Vec<Target> = Vec::with_capacity(fields.len());
    let mut scratch = String::new();
    for (place, field) in fields.iter().enumerate() {
        let name = field.text(&mut scratch).trim();
        if name.is_empty() {
            return Err(DecodeError::MalformedCsv { reason: format!("column {} has no name", place + 1) });
        }
        let target = rows.targets.resolve(name);
        if target == Target::Refused {
            let message = rows.targets.refusal(name);
            return Err(DecodeError::UnknownColumn { name: name.to_owned(), message });
        }
        if matches!(target, Target::Column(_) | Target::Key(_, _)) && targets.contains(&target) {
            return Err(DecodeError::DuplicateColumn { name: name.to_owned() });
        }
        targets.push(target);
    }
    Ok(targets)
}
