//! Rows as an aligned text table.
//!
//! Not here: what the rows are; cells arrive as JSON values.

use serde_json::Value;

/// Widest column, in characters; longer cells end in an ellipsis.
const CELL_CHARACTERS_MAX: usize = 60;

/// Lays out a header and rows; columns of numbers are aligned to the right.
pub fn render(header: &[String], rows: &[Vec<Value>]) -> String {
    let cells: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(cell).collect()).collect();
    let width = |index: usize| {
        let longest = cells.iter().filter_map(|row| row.get(index)).map(|cell| cell.chars().count()).max();
        longest.unwrap_or(0).max(header[index].chars().count())
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let numeric: Vec<bool> = (0..header.len())
        .map(|index| {
            rows.iter().filter_map(|row| row.get(index)).all(|value| value.is_number() || value.is_null())
        })
        .map(|numeric| numeric && !rows.is_empty())
        .collect();
    let mut out = line(header, &widths, &numeric);
    let rules: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
    out += &line(&rules, &widths, &numeric);
    for row in &cells {
        out += &line(row, &widths, &numeric);
    }
    out
}

fn line(cells: &[String], widths: &[usize], numeric: &[bool]) -> String {
    let mut out = String::new();
    for (index, cell) in cells.iter().enumerate() {
        let padding = " ".repeat(widths[index].saturating_sub(cell.chars().count()));
        let separator = if index == 0 { "" } else { "  " };
        out += separator;
        if numeric[index] {
            out += &padding;
            out += cell;
        } else {
            out += cell;
            out += &padding;
        }
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => "·".to_owned(),
        Value::String(text) => text.replace(['\n', '\r', '\t'], " "),
        other => other.to_string(),
    };
    if text.chars().count() <= CELL_CHARACTERS_MAX {
        return text;
    }
    text.chars().take(CELL_CHARACTERS_MAX - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_stand_to_the_right() {
        let header = ["model".to_owned(), "cost".to_owned()];
        let rows = [vec![json!("a"), json!(12.5)], vec![Value::Null, json!(3)]];
        assert_eq!(render(&header, &rows), "model  cost\n─────  ────\na      12.5\n·         3\n");
    }
}
