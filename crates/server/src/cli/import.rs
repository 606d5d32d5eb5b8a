//! `tidewater import`: files into a dataset, of a running server or straight into a data folder.
//!
//! ```text
//! file ─► source (unpack) ─► split (pieces) ─► decode with the mapping ─► target (server or folder) ─► journal
//! ```
//!
//! Memory is bounded by a few pieces. A piece is the unit of acknowledgement: an interrupted import goes on with the first piece that
//! is not in the journal. Not here: how rows are read (`decode`) and stored (`store`).

mod encode;
mod folder;
mod infer;
mod journal;
mod report;
mod server;
mod source;
mod split;
mod target;

use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use anyhow::{Context, bail};
use tidewater_columns::RowBatch;
use tidewater_decode::{Format, Mapping, Options, Unknown, decode};
use tidewater_model::limits::BATCH_ROWS_MAX;
use tidewater_model::schema::Dataset;
use tidewater_model::time::Timestamp;

use self::folder::Folder;
use self::journal::{Identity, Journal, Totals};
use self::report::{Progress, Refusal, Refusals, grouped, summary};
use self::server::Server;
use self::source::Source;
use self::split::{Piece, Splitter};
use self::target::{Sent, Target};
use super::client::Remote;

/// Pieces that are decoded ahead of the one being stored.
const PIECES_AHEAD: usize = 2;
/// Bytes that one piece may unpack to: a Parquet piece holds few rows, but they may be wide.
const UNPACKED_BYTES_MAX: usize = 1 << 30;

/// Loads CSV, TSV, NDJSON, JSON or Parquet files into a dataset
///
/// Examples:
///   tidewater import requests.csv --dataset llm --map input_tokens=ContextTokens --time TIMESTAMP
///   tidewater import edits.ndjson.gz --dataset edits --create
///   tidewater import access.tsv.gz --dataset web --create --time time --set site=shop
///   tidewater import old/*.parquet --dataset events --data ./data
///
/// Files may be packed with gzip or zstd. An import that was interrupted goes on
/// where it stopped when the same command is given again; a file that was
/// imported is not imported twice unless --again is given.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    /// The files.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The dataset to import into.
    #[arg(long, short)]
    dataset: String,
    /// Another name for a column: TARGET=SOURCE, where TARGET is a column of the dataset (or COLUMN.KEY of a map) and
    /// SOURCE its name in the file; may be repeated.
    #[arg(long, value_name = "TARGET=SOURCE", value_parser = pair)]
    map: Vec<(String, String)>,
    /// A value for rows that have none: COLUMN=VALUE; may be repeated.
    #[arg(long, value_name = "COLUMN=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
    /// The column of the file that holds the time.
    #[arg(long, value_name = "SOURCE")]
    time: Option<String>,
    /// What the files are written in; without it their names tell.
    #[arg(long, value_parser = ["csv", "tsv", "ndjson", "json", "parquet"])]
    format: Option<String>,
    /// What happens to columns the dataset does not have: refuse the row, ignore them, or keep them in the map 'props'.
    #[arg(long, value_parser = ["reject", "ignore", "props"], default_value = "reject")]
    unknown: String,
    /// Create the dataset if it is not there, with columns guessed from the first rows.
    #[arg(long)]
    create: bool,
    /// Import files once more that were imported already.
    #[arg(long)]
    again: bool,
    /// Succeed although rows were refused.
    #[arg(long)]
    allow_rejects: bool,
    /// Store straight into this data folder, which no server may be using, instead of sending to --url.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    remote: Remote,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

impl Arguments {
    fn format(&self) -> Option<Format> {
        // The names of formats are the extensions of their files.
        self.format.as_deref().and_then(|name| Format::from_file_name(&format!(".{name}")))
    }

    fn unknown(&self) -> Unknown {
        match self.unknown.as_str() {
            "ignore" => Unknown::Ignore,
            "props" => Unknown::Props,
            _ => Unknown::Reject,
        }
    }

    fn mapping(&self) -> Mapping {
        let turned = self.map.iter().map(|(target, source)| (source.clone(), target.clone()));
        Mapping { fields: turned.collect(), constants: self.set.iter().cloned().collect() }
    }

    fn target(&self) -> anyhow::Result<Target> {
        Ok(match &self.data {
            Some(dir) => Target::Folder(Folder::open(dir, &self.dataset, self.remote.project.as_deref())?),
            None => Target::Server(Server::new(&self.remote, &self.dataset)?),
        })
    }

    fn target_name(&self) -> anyhow::Result<String> {
        Ok(match &self.data {
            Some(dir) => dir.canonicalize()?.display().to_string(),
            None => self.remote.url.trim_end_matches('/').to_owned(),
        })
    }

    /// Everything but the file and the target that decides what is stored.
    fn options(&self, mapping: &Mapping) -> String {
        format!("{:?} {:?} {} {:?}", mapping.fields, mapping.constants, self.unknown, self.format)
    }
}

/// Imports the files one after the other.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let sources: Vec<Source> = arguments
        .files
        .iter()
        .map(|path| Source::open(path, arguments.format()))
        .collect::<Result<_, _>>()?;
    let target = arguments.target()?;
    let mut totals = Totals::default();
    for source in &sources {
        totals.add(import_file(arguments, source, &target)?);
    }
    target.close()?;
    if totals.rejected > 0 && !arguments.allow_rejects {
        bail!("{} rows were refused; the others are stored", grouped(totals.rejected));
    }
    Ok(())
}

/// What the pieces of a file are decoded with.
struct Plan {
    dataset: Dataset,
    mapping: Mapping,
    unknown: Unknown,
    now: Timestamp,
}

fn import_file(arguments: &Arguments, source: &Source, target: &Target) -> anyhow::Result<Totals> {
    let known = target.dataset()?;
    let is_new = known.is_none();
    let (dataset, mapping) = match known {
        Some(dataset) => {
            let mapping = match arguments.create {
                // What a first run with --create renamed, a second one renames too.
                true => renames(arguments, source, &dataset)?,
                false => with_time(arguments.mapping(), arguments.time.as_deref(), &dataset),
            };
            (dataset, mapping)
        }
        None if arguments.create => create(arguments, source, target)?,
        None => bail!(
            "there is no dataset '{0}'; define it with 'tidewater datasets define {0} …', or add --create",
            arguments.dataset
        ),
    };
    let identity = Identity {
        file: format!("{:032x}", source.fingerprint()?),
        dataset: arguments.dataset.clone(),
        project: arguments.remote.project.clone().unwrap_or_default(),
        target: arguments.target_name()?,
    };
    let store = target.store_id()?;
    let again = arguments.again || is_new;
    let options = arguments.options(&mapping);
    let dir = target.journal_dir();
    let mut journal = Journal::open(&dir, identity, &source.path, &options, store.as_deref(), again)?;
    if journal.pieces > 0 {
        let rows = grouped(journal.totals.rows());
        eprintln!("{}: going on after {rows} rows of an earlier run", source.path.display());
    }
    let now = Timestamp(journal.now_us);
    let plan = Plan { dataset, mapping, unknown: arguments.unknown(), now };
    store_pieces(source, target, &plan, &mut journal)
}

/// The user's mapping, with `--time`.
fn with_time(mut mapping: Mapping, time: Option<&str>, dataset: &Dataset) -> Mapping {
    if let Some(time) = time
        && time != &*dataset.columns[0].name
    {
        mapping.fields.insert(time.to_owned(), dataset.columns[0].name.to_string());
    }
    mapping
}

fn create(arguments: &Arguments, source: &Source, target: &Target) -> anyhow::Result<(Dataset, Mapping)> {
    let inferred = infer_from(arguments, source)?;
    let dataset = target.create(&inferred.definition)?;
    let columns: Vec<String> =
        dataset.columns.iter().map(|column| format!("{} {}", column.name, column.kind.name())).collect();
    eprintln!("dataset '{}' is created: {}", dataset.name, columns.join(", "));
    eprintln!("the time is read from '{}'; the metric 'rows' counts", inferred.time_source);
    Ok((dataset, inferred.mapping))
}

fn infer_from(arguments: &Arguments, source: &Source) -> anyhow::Result<infer::Inferred> {
    let first = Splitter::new(source)?.next()?;
    let first =
        first.with_context(|| format!("'{}' has no rows to make a dataset of", source.path.display()))?;
    infer::infer(&first, &arguments.mapping(), arguments.time.as_deref())
}

/// The mapping of an import with `--create` into a dataset that is there: the new names, as far as the dataset has them.
fn renames(arguments: &Arguments, source: &Source, dataset: &Dataset) -> anyhow::Result<Mapping> {
    let mut mapping = with_time(arguments.mapping(), arguments.time.as_deref(), dataset);
    let Ok(inferred) = infer_from(arguments, source) else { return Ok(mapping) };
    for (name, renamed) in inferred.mapping.fields {
        if dataset.resolve_column(&name).is_err() && dataset.resolve_column(&renamed).is_ok() {
            mapping.fields.entry(name).or_insert(renamed);
        }
    }
    Ok(mapping)
}

/// A piece with its good rows as columns.
struct Decoded {
    piece: u64,
    rows: u64,
    batch: RowBatch,
    /// Where each row of the batch stands in the file.
    places: Vec<u64>,
    rejected: u64,
    refusals: Vec<Refusal>,
}

fn store_pieces(
    source: &Source,
    target: &Target,
    plan: &Plan,
    journal: &mut Journal,
) -> anyhow::Result<Totals> {
    let mut progress = Progress::new(&source.path, source.bytes, &source.read);
    let mut refusals = Refusals::default();
    let skip = journal.pieces;
    thread::scope(|scope| {
        let (ready, pieces) = sync_channel(PIECES_AHEAD);
        let reader = scope.spawn(move || decode_pieces(source, plan, skip, &ready));
        for piece in pieces {
            let token = journal.token(piece.piece);
            let sent = match piece.batch.rows() {
                0 => Sent::default(),
                _ => target.send(&plan.dataset, &token, piece.batch)?,
            };
            let (accepted, duplicates) = (sent.accepted, sent.duplicates);
            journal.acknowledge(Totals { accepted, duplicates, rejected: piece.rejected + sent.rejected })?;
            refusals.add(piece.refusals);
            let place = |index: usize| piece.places.get(index).copied().unwrap_or_default();
            refusals.add(
                sent.refusals
                    .into_iter()
                    .map(|(index, message)| Refusal { place: place(index), message })
                    .collect(),
            );
            progress.add(piece.rows);
        }
        // A reader that failed has said why; its channel is closed like that of one that came to the end.
        reader.join().map_err(|_| anyhow::anyhow!("reading '{}' failed", source.path.display()))?
    })?;
    journal.finish()?;
    let elapsed = progress.finish();
    println!("{}", summary(&source.path, journal.totals, elapsed));
    refusals.show(&source.path, Splitter::place_name(source.format), journal.totals.rejected);
    Ok(journal.totals)
}

/// Reads the whole file and hands on what comes after the first `skip` pieces; ends early when nobody listens any more.
fn decode_pieces(source: &Source, plan: &Plan, skip: u64, ready: &SyncSender<Decoded>) -> anyhow::Result<()> {
    let mut splitter = Splitter::new(source)?;
    let mut number = 0;
    while let Some(piece) = splitter.next().with_context(|| source.unreadable())? {
        if number >= skip {
            let decoded = decode_piece(number, &piece, plan).with_context(|| refused(&source.path))?;
            if ready.send(decoded).is_err() {
                return Ok(());
            }
        }
        number += 1;
    }
    Ok(())
}

fn refused(path: &Path) -> String {
    format!("'{}' does not fit the dataset", path.display())
}

fn decode_piece(number: u64, piece: &Piece, plan: &Plan) -> anyhow::Result<Decoded> {
    let options = Options {
        now: plan.now,
        unknown: plan.unknown,
        rows_max: BATCH_ROWS_MAX,
        bytes_max: UNPACKED_BYTES_MAX,
        mapping: &plan.mapping,
    };
    let decoded = decode(piece.format, &piece.body, &plan.dataset, &options)?;
    let place = |index: u32| piece.places.get(index as usize).copied().unwrap_or_default();
    let describe = |error: &tidewater_decode::RowError| {
        let message = in_file(&error.message);
        let message = match &error.field {
            Some(field) if !message.contains(field.as_str()) => format!("{field}: {message}"),
            _ => message.to_owned(),
        };
        Refusal { place: place(error.index), message }
    };
    Ok(Decoded {
        piece: number,
        rows: piece.places.len() as u64,
        places: decoded.row_index.iter().map(|index| place(*index)).collect(),
        batch: decoded.batch,
        rejected: decoded.rejected,
        refusals: decoded.errors.iter().map(describe).collect(),
    })
}

/// A message without its line number, which counts from the beginning of the piece.
fn in_file(message: &str) -> &str {
    let Some(rest) = message.strip_prefix("line ") else { return message };
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    rest.trim_start_matches([':', ' '])
}
