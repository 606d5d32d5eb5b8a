//! Cuts a list of NDJSON files into batches of whole lines. Does not look inside a line.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use anyhow::Context;

/// Hands out the next batch to whoever asks. A batch never spans two files.
pub struct Splitter {
    files: std::vec::IntoIter<PathBuf>,
    current: Option<File>,
    /// Bytes read past the last batch.
    rest: Vec<u8>,
    rows_per_batch: usize,
}

/// Large enough that a batch of a few thousand rows takes few reads.
const READ_BYTES: usize = 1024 * 1024;

impl Splitter {
    /// All `*.ndjson` files of a folder, in the order of their names.
    pub fn of_folder(folder: &std::path::Path, rows_per_batch: usize) -> anyhow::Result<Splitter> {
        let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
            .with_context(|| format!("cannot read {}", folder.display()))?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()?;
        files.retain(|path| path.extension().is_some_and(|extension| extension == "ndjson"));
        anyhow::ensure!(!files.is_empty(), "no *.ndjson file in {}", folder.display());
        files.sort();
        Ok(Splitter { files: files.into_iter(), current: None, rest: Vec::new(), rows_per_batch })
    }

    /// Fills `batch` and returns its rows; 0 when everything has been handed out.
    pub fn next(&mut self, batch: &mut Vec<u8>) -> anyhow::Result<usize> {
        batch.clear();
        std::mem::swap(batch, &mut self.rest);
        let (mut rows, mut scanned) = (0, 0);
        loop {
            for newline in memchr::memchr_iter(b'\n', &batch[scanned..]) {
                rows += 1;
                if rows == self.rows_per_batch {
                    let end = scanned + newline + 1;
                    self.rest.extend_from_slice(&batch[end..]);
                    batch.truncate(end);
                    return Ok(rows);
                }
            }
            scanned = batch.len();
            if self.read_more(batch)? == 0 {
                self.current = None;
                let torn = usize::from(batch.last().is_some_and(|&byte| byte != b'\n'));
                if rows + torn > 0 || self.files.len() == 0 {
                    return Ok(rows + torn);
                }
            }
        }
    }

    fn read_more(&mut self, batch: &mut Vec<u8>) -> anyhow::Result<u64> {
        if self.current.is_none() {
            let Some(path) = self.files.next() else { return Ok(0) };
            let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
            self.current = Some(file);
        }
        let file = self.current.as_mut().expect("opened just above");
        Ok(file.take(READ_BYTES as u64).read_to_end(batch)? as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Batches come out whole, in order, without loss, whatever their size.
    #[test]
    fn batches_join_to_the_files() {
        let folder = std::env::temp_dir().join(format!("tidewater-bench-split-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("the temporary folder is writable");
        let files = ["a\nbb\nccc\n", "", "dddd\ne", "f\n"];
        for (index, text) in files.iter().enumerate() {
            std::fs::write(folder.join(format!("{index}.ndjson")), text).expect("a file can be written");
        }
        for rows_per_batch in 1..8 {
            let mut splitter = Splitter::of_folder(&folder, rows_per_batch).expect("the folder has files");
            let (mut joined, mut batch, mut total) = (Vec::new(), Vec::new(), 0);
            loop {
                let rows = splitter.next(&mut batch).expect("the files can be read");
                if rows == 0 {
                    break;
                }
                assert!(rows <= rows_per_batch);
                assert_eq!(rows, String::from_utf8_lossy(&batch).lines().count());
                total += rows;
                joined.extend_from_slice(&batch);
            }
            assert_eq!(joined, files.concat().into_bytes());
            assert_eq!(total, 6);
        }
        std::fs::remove_dir_all(&folder).expect("the temporary folder can be removed");
    }
}
