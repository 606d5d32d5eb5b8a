//! What an import shows: a bar on a terminal, a line every few seconds elsewhere, and the refused rows.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::journal::Totals;

/// Pause between two lines where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);
/// Refused rows that are shown; the others are only counted.
const ERRORS_SHOWN_MAX: usize = 10;

/// Progress through one file.
pub struct Progress {
    name: String,
    bar: Option<ProgressBar>,
    bytes: u64,
    read: Arc<AtomicU64>,
    rows: u64,
    started: Instant,
    last_line: Instant,
}

impl Progress {
    /// Starts the clock.
    pub fn new(path: &Path, bytes: u64, read: &Arc<AtomicU64>) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let bar = std::io::stderr().is_terminal().then(|| bar(bytes, &name));
        let now = Instant::now();
        Progress { name, bar, bytes, read: Arc::clone(read), rows: 0, started: now, last_line: now }
    }

    /// Shows that more rows were stored or refused.
    pub fn add(&mut self, rows: u64) {
        self.rows += rows;
        let read = self.read.load(Ordering::Relaxed).min(self.bytes);
        let rate = self.rows as f64 / self.started.elapsed().as_secs_f64().max(0.001);
        match &self.bar {
            Some(bar) => {
                bar.set_position(read);
                bar.set_message(format!("{} rows, {} rows/s", grouped(self.rows), grouped(rate as u64)));
            }
            None if self.last_line.elapsed() >= LINE_INTERVAL => {
                self.last_line = Instant::now();
                let share = 100.0 * read as f64 / self.bytes.max(1) as f64;
                let left = eta(self.started.elapsed(), read, self.bytes);
                let (rows, rate) = (grouped(self.rows), grouped(rate as u64));
                eprintln!("{}: {share:.0} %, {rows} rows, {rate} rows/s, {left} s left", self.name);
            }
            None => {}
        }
    }

    /// Takes the bar away and says how long it took.
    pub fn finish(self) -> Duration {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.started.elapsed()
    }
}

fn bar(bytes: u64, name: &str) -> ProgressBar {
    let template = "{prefix} {bar:32} {percent:>3} % · {msg} · {eta} left";
    let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr());
    // A template that does not parse would only cost its looks.
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_prefix(name.to_owned());
    bar
}

/// Whole seconds until all bytes are read at the rate so far.
fn eta(elapsed: Duration, read: u64, bytes: u64) -> u64 {
    let left = bytes.saturating_sub(read) as f64;
    (elapsed.as_secs_f64() * left / read.max(1) as f64).ceil() as u64
}

/// `1234567` as `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A refused row.
pub struct Refusal {
    /// Where it stands in the file.
    pub place: u64,
    /// What was wrong.
    pub message: String,
}

/// The first refused rows of a file.
#[derive(Default)]
pub struct Refusals {
    first: Vec<Refusal>,
}

impl Refusals {
    /// Remembers the first ones.
    pub fn add(&mut self, refusals: Vec<Refusal>) {
        let room = ERRORS_SHOWN_MAX.saturating_sub(self.first.len());
        self.first.extend(refusals.into_iter().take(room));
    }

    /// One line each.
    pub fn show(&self, path: &Path, place_name: &str, rejected: u64) {
        for refusal in &self.first {
            eprintln!("{}, {place_name} {}: {}", path.display(), refusal.place, refusal.message);
        }
        let more = rejected.saturating_sub(self.first.len() as u64);
        if more > 0 {
            eprintln!("… and {} more", grouped(more));
        }
    }
}

/// One line about what became of a file's rows.
pub fn summary(path: &Path, totals: Totals, elapsed: Duration) -> String {
    let mut line = format!("{}: {} rows stored", path.display(), grouped(totals.accepted));
    if totals.duplicates > 0 {
        line += &format!(", {} known already", grouped(totals.duplicates));
    }
    if totals.rejected > 0 {
        line += &format!(", {} refused", grouped(totals.rejected));
    }
    line + &format!(" in {:.1} s", elapsed.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        assert_eq!([7, 999, 1_000, 1_234_567].map(grouped), ["7", "999", "1,000", "1,234,567"]);
        assert_eq!(eta(Duration::from_secs(10), 25, 100), 30);
        let totals = Totals { accepted: 998, rejected: 2, duplicates: 0 };
        let line = summary(Path::new("a.csv"), totals, Duration::from_millis(1_540));
        assert_eq!(line, "a.csv: 998 rows stored, 2 refused in 1.5 s");
    }
}
