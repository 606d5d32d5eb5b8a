//! A file to import: what format it is in, what it is packed with, and how much of it was read.
//!
//! Not here: its rows (`split`).

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, bail};
use tidewater_decode::Format;
use xxhash_rust::xxh3::Xxh3;

/// Bytes of the file read at once.
const BUFFER_BYTES: usize = 256 << 10;
/// Bytes at the beginning and at the end of a file that stand for its content.
const FINGERPRINT_BYTES: u64 = 1 << 20;
/// Bytes looked at to tell a format.
const SNIFF_BYTES: usize = 512;
/// The largest zstd window, as a power of two (128 MiB, what `zstd --long` makes).
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
const ZSTD_MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const PARQUET_MAGIC: &[u8] = b"PAR1";
const UTF8_MARK: &[u8] = &[0xef, 0xbb, 0xbf];

/// One file.
pub struct Source {
    /// As named.
    pub path: PathBuf,
    /// What its rows are written in.
    pub format: Format,
    /// Its size on disk.
    pub bytes: u64,
    /// Bytes of it that were read so far.
    pub read: Arc<AtomicU64>,
    packed: Packed,
}

#[derive(Clone, Copy, PartialEq)]
enum Packed {
    Plain,
    Gzip,
    Zstd,
}

impl Source {
    /// Looks at a file; `format` is what the user said.
    pub fn open(path: &Path, format: Option<Format>) -> anyhow::Result<Self> {
        let mut file = File::open(path).with_context(|| format!("cannot open '{}'", path.display()))?;
        let bytes = file.metadata()?.len();
        let mut head = Vec::new();
        file.by_ref().take(4).read_to_end(&mut head)?;
        let packed = match head {
            _ if head.starts_with(GZIP_MAGIC) => Packed::Gzip,
            _ if head.starts_with(ZSTD_MAGIC) => Packed::Zstd,
            _ => Packed::Plain,
        };
        let mut source =
            Source { path: path.to_owned(), format: Format::Ndjson, bytes, read: Arc::default(), packed };
        source.format = match format {
            Some(format) => format,
            None if head.starts_with(PARQUET_MAGIC) => Format::Parquet,
            None => source.guess()?,
        };
        if source.format == Format::Parquet && packed != Packed::Plain {
            bail!("'{}' is a packed Parquet file; unpack it first", path.display());
        }
        Ok(source)
    }

    /// The format, from the name or else from the first bytes.
    fn guess(&self) -> anyhow::Result<Format> {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let plain = [".gz", ".zst", ".zstd"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
        if let Some(format) = Format::from_file_name(plain) {
            return Ok(format);
        }
        let mut head = Vec::new();
        self.reader()?.take(SNIFF_BYTES as u64).read_to_end(&mut head)?;
        match head.trim_ascii_start().first() {
            Some(b'{') => Ok(Format::Ndjson),
            Some(b'[') => Ok(Format::Json),
            _ => bail!("the name of '{}' does not tell its format; give --format", self.path.display()),
        }
    }

    /// The unpacked bytes from the beginning, without a byte order mark.
    pub fn reader(&self) -> anyhow::Result<Box<dyn BufRead + Send>> {
        let file = BufReader::with_capacity(
            BUFFER_BYTES,
            Counting { file: self.file()?, read: Arc::clone(&self.read) },
        );
        self.read.store(0, Ordering::Relaxed);
        let mut reader: Box<dyn BufRead + Send> = match self.packed {
            Packed::Plain => Box::new(file),
            Packed::Gzip => {
                Box::new(BufReader::with_capacity(BUFFER_BYTES, flate2::bufread::MultiGzDecoder::new(file)))
            }
            Packed::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(file)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder))
            }
        };
        let head = reader.fill_buf().with_context(|| self.unreadable())?;
        if head.starts_with(UTF8_MARK) {
            reader.consume(UTF8_MARK.len());
        }
        Ok(reader)
    }

    /// The file as it lies on disk.
    pub fn file(&self) -> anyhow::Result<File> {
        File::open(&self.path).with_context(|| self.unreadable())
    }

    /// For errors while reading.
    pub fn unreadable(&self) -> String {
        format!("cannot read '{}'", self.path.display())
    }

    /// A hash of the file's size, beginning and end: the same file under another name is the same, a file that grew is not.
    pub fn fingerprint(&self) -> anyhow::Result<u128> {
        let mut file = self.file()?;
        let mut hash = Xxh3::new();
        hash.update(&self.bytes.to_le_bytes());
        let mut part = Vec::new();
        file.by_ref().take(FINGERPRINT_BYTES).read_to_end(&mut part)?;
        hash.update(&part);
        part.clear();
        file.seek(std::io::SeekFrom::Start(self.bytes.saturating_sub(FINGERPRINT_BYTES)))?;
        file.take(FINGERPRINT_BYTES).read_to_end(&mut part)?;
        hash.update(&part);
        Ok(hash.digest128())
    }
}

/// Counts what is read, for the progress bar.
struct Counting {
    file: File,
    read: Arc<AtomicU64>,
}

impl Read for Counting {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}
