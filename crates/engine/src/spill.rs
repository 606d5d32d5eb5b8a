//! Pinned answers on disk: a file without a name in the data folder, rendered rows in blocks.
//!
//! The file is never read by another process and dies with this one, so its format has no version. Block `i` holds rows
//! `i × BLOCK_ROWS ..`: each row's cells, then the comparison's cells, as written by [`encode_cell`].

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use tidewater_model::time::Timestamp;
use tidewater_query::{Answer, AnswerRow, AnswerRows, Cell};

use crate::error::{EngineError, EngineResult};
use crate::keys::random_hex;
use crate::page::PageRows;

/// Rows of one block: a page of the default size reads one or two.
const BLOCK_ROWS: u32 = 1_000;
/// The folder in the data folder.
const FOLDER: &str = "spill";

/// One answer's rows on disk.
pub(crate) struct SpilledRows {
    file: File,
    /// Start of each block, and the end of the last.
    starts: Vec<u64>,
    rows: u64,
}

/// Removes what a killed process may have left between naming and unnaming a file.
pub(crate) fn clean(data_dir: &Path) {
    // Nothing depends on it: leftovers cost room, not correctness.
    let _ = std::fs::remove_dir_all(data_dir.join(FOLDER));
}

impl SpilledRows {
    /// Writes all rows of an answer.
    pub fn write(data_dir: &Path, answer: &Answer) -> EngineResult<Self> {
        let file = nameless(&data_dir.join(FOLDER))
            .map_err(|source| EngineError::Spill { operation: "create", source })?;
        let rows = answer.total_rows();
        let mut starts = vec![0];
        let mut out = BufWriter::new(&file);
        let mut block = Vec::new();
        let mut end = 0;
        while ((starts.len() - 1) as u64) * u64::from(BLOCK_ROWS) < rows {
            let offset = (starts.len() - 1) as u64 * u64::from(BLOCK_ROWS);
            block.clear();
            encode_page(&PageRows::of(answer, offset, BLOCK_ROWS), &mut block);
            out.write_all(&block).map_err(|source| EngineError::Spill { operation: "write", source })?;
            end += block.len() as u64;
            starts.push(end);
        }
        out.flush().map_err(|source| EngineError::Spill { operation: "write", source })?;
        drop(out);
        Ok(SpilledRows { file, starts, rows })
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.starts.last().copied().unwrap_or(0)
    }

    /// The rows `offset .. offset + limit`.
    pub fn page(&self, offset: u64, limit: u32) -> EngineResult<PageRows> {
        let end = offset.saturating_add(u64::from(limit)).min(self.rows);
        let mut page = PageRows::default();
        let mut at = offset;
        while at < end {
            let block = at / u64::from(BLOCK_ROWS);
            let first = block * u64::from(BLOCK_ROWS);
            let rows = self.block(block)?;
            let range = (at - first) as usize..((end - first) as usize).min(rows.rows.len());
            if range.is_empty() {
                break;
            }
            at += range.len() as u64;
            range.clone().for_each(|row| page.rows.push(rows.rows.get(row)));
            if let Some(comparison) = rows.comparison {
                let compared = page.comparison.get_or_insert_default();
                range.for_each(|row| compared.push(comparison.get(row)));
            }
        }
        Ok(page)
    }

    fn block(&self, block: u64) -> EngineResult<PageRows> {
        let index = block as usize;
        let (start, end) = (self.starts[index], self.starts[index + 1]);
        let mut bytes = vec![0; (end - start) as usize];
        let read = self.file.read_exact_at(&mut bytes, start);
        read.map_err(|source| EngineError::Spill { operation: "read", source })?;
        decode_page(&mut &bytes[..]).ok_or_else(|| EngineError::Spill {
            operation: "read",
            source: std::io::ErrorKind::InvalidData.into(),
        })
    }
}

fn nameless(folder: &Path) -> std::io::Result<File> {
    std::fs::create_dir_all(folder)?;
    let name = random_hex::<8>().map_err(|_| std::io::Error::other("no random name"))?;
    let path = folder.join(name);
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

fn encode_page(page: &PageRows, out: &mut Vec<u8>) {
    encode_rows(&page.rows, out);
    out.push(u8::from(page.comparison.is_some()));
    if let Some(comparison) = &page.comparison {
        encode_rows(comparison, out);
    }
}

fn encode_rows(rows: &AnswerRows, out: &mut Vec<u8>) {
    put_length(rows.len(), out);
    for row in rows.iter() {
        for cells in [&row.dimensions, &row.metrics] {
            put_length(cells.len(), out);
            cells.iter().for_each(|cell| encode_cell(cell, out));
        }
    }
}

fn encode_cell(cell: &Cell, out: &mut Vec<u8>) {
    match cell {
        Cell::Null => out.push(0),
        Cell::Bool(value) => out.extend([1, u8::from(*value)]),
        Cell::Int(value) => put_tagged(2, &value.to_le_bytes(), out),
        Cell::Float(value) => put_tagged(3, &value.to_le_bytes(), out),
        Cell::Money(value) => put_tagged(4, &value.to_le_bytes(), out),
        Cell::Text(text) => {
            out.push(5);
            put_text(text, out);
        }
        Cell::Time(time) => put_tagged(6, &time.0.to_le_bytes(), out),
        Cell::Bucket(start, label) => {
            put_tagged(7, &start.0.to_le_bytes(), out);
            put_text(label, out);
        }
        Cell::List(items) => {
            out.push(8);
            put_length(items.len(), out);
            items.iter().for_each(|item| put_text(item, out));
        }
        Cell::Map(entries) => {
            out.push(9);
            put_length(entries.len(), out);
            for (key, value) in entries {
                put_text(key, out);
                put_text(value, out);
            }
        }
    }
}

fn put_tagged(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    out.extend_from_slice(bytes);
}

fn put_length(length: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&(length as u32).to_le_bytes());
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    put_length(text.len(), out);
    out.extend_from_slice(text.as_bytes());
}

fn decode_page(bytes: &mut &[u8]) -> Option<PageRows> {
    let rows = decode_rows(bytes)?;
    let comparison = match take::<1>(bytes)? {
        [0] => None,
        _ => Some(decode_rows(bytes)?),
    };
    Some(PageRows { rows, comparison })
}

fn decode_rows(bytes: &mut &[u8]) -> Option<AnswerRows> {
    let rows = take_length(bytes)?;
    (0..rows)
        .map(|_| Some(AnswerRow { dimensions: decode_cells(bytes)?, metrics: decode_cells(bytes)? }))
        .collect()
}

fn decode_cells(bytes: &mut &[u8]) -> Option<Vec<Cell>> {
    let cells = take_length(bytes)?;
    (0..cells).map(|_| decode_cell(bytes)).collect()
}

fn decode_cell(bytes: &mut &[u8]) -> Option<Cell> {
    let [tag] = take::<1>(bytes)?;
    Some(match tag {
        0 => Cell::Null,
        1 => Cell::Bool(take::<1>(bytes)? != [0]),
        2 => Cell::Int(i128::from_le_bytes(take(bytes)?)),
        3 => Cell::Float(f64::from_le_bytes(take(bytes)?)),
        4 => Cell::Money(i128::from_le_bytes(take(bytes)?)),
        5 => Cell::Text(take_text(bytes)?),
        6 => Cell::Time(Timestamp(i64::from_le_bytes(take(bytes)?))),
        7 => Cell::Bucket(Timestamp(i64::from_le_bytes(take(bytes)?)), take_text(bytes)?),
        8 => {
            let items = take_length(bytes)?;
            Cell::List((0..items).map(|_| take_text(bytes)).collect::<Option<_>>()?)
        }
        9 => {
            let entries = take_length(bytes)?;
            let entry = |_| Some((take_text(bytes)?, take_text(bytes)?));
            Cell::Map((0..entries).map(entry).collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

fn take_length(bytes: &mut &[u8]) -> Option<usize> {
    take::<4>(bytes).map(|length| u32::from_le_bytes(length) as usize)
}

fn take_text(bytes: &mut &[u8]) -> Option<Arc<str>> {
    let length = take_length(bytes)?;
    let (head, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    std::str::from_utf8(head).ok().map(Arc::from)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text() -> impl Strategy<Value = Arc<str>> {
        ".{0,12}".prop_map(Arc::from)
    }

    fn metric() -> BoxedStrategy<BoxedStrategy<Cell>> {
        let kinds = [
            any::<bool>().prop_map(Cell::Bool).boxed(),
            any::<i128>().prop_map(Cell::Int).boxed(),
            any::<i128>().prop_map(Cell::Money).boxed(),
            (-1e300..1e300f64).prop_map(Cell::Float).boxed(),
            text().prop_map(Cell::Text).boxed(),
            any::<i64>().prop_map(|us| Cell::Time(Timestamp(us))).boxed(),
        ];
        let or_null = |kind: BoxedStrategy<Cell>| prop_oneof![1 => Just(Cell::Null), 3 => kind].boxed();
        proptest::sample::select(kinds.map(or_null).to_vec()).boxed()
    }

    fn dimension() -> BoxedStrategy<Cell> {
        prop_oneof![
            Just(Cell::Null),
            (-1e300..1e300f64).prop_map(Cell::Float),
            text().prop_map(Cell::Text),
            (any::<i64>(), text()).prop_map(|(us, label)| Cell::Bucket(Timestamp(us), label)),
            proptest::collection::vec(text(), 0..4).prop_map(Cell::List),
            proptest::collection::vec((text(), text()), 0..4).prop_map(Cell::Map),
        ]
        .boxed()
    }

    /// Rows of a few columns; of a metric's every cell has one kind.
    fn rows() -> impl Strategy<Value = AnswerRows> {
        let columns = (0usize..4, proptest::collection::vec(metric(), 0..4));
        let rows = columns.prop_flat_map(|(dimensions, metrics)| {
            let dimensions = vec![dimension(); dimensions];
            let row =
                (dimensions, metrics).prop_map(|(dimensions, metrics)| AnswerRow { dimensions, metrics });
            proptest::collection::vec(row, 0..5)
        });
        rows.prop_map(|rows| rows.into_iter().collect())
    }

    proptest! {
        #[test]
        fn pages_read_back(rows in rows(), comparison in proptest::option::of(rows())) {
            let page = PageRows { rows, comparison };
            let mut bytes = Vec::new();
            encode_page(&page, &mut bytes);
            prop_assert_eq!(decode_page(&mut &bytes[..]), Some(page));
            // Cut anywhere, it is refused and not read past its end.
            for end in 0..bytes.len() {
                prop_assert!(decode_page(&mut &bytes[..end]).is_none());
            }
        }
    }
}
