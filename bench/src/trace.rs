//! One LLM trace: what its columns hold, and how it is written as a JSON line.
//!
//! A trace is a pure function of (seed, row number), so the ordered and the shuffled files hold the same
//! rows. Files and threads are in `generate`.

use crate::random::{Random, Weighted};

/// The data ends at a fixed instant, so that questions can name dates and runs repeat.
/// 2026-10-31T00:00:00Z in Unix milliseconds.
pub const END_MS: i64 = 1_793_404_800_000;
pub const DAY_MS: i64 = 86_400_000;
/// How far a row may stand from its place in time order: clocks and queues of real clients differ by seconds.
const JITTER_MS: i64 = 5_000;

const PROJECTS: [&str; 10] = [
    "assistant",
    "support-bot",
    "code-review",
    "search",
    "summaries",
    "translate",
    "onboarding",
    "moderation",
    "voice",
    "sandbox",
];
const USERS: usize = 100_000;

/// A model with its prices in nano-dollars a token (USD per million tokens × 1,000).
struct Model {
    provider: &'static str,
    name: &'static str,
    input_price: i64,
    output_price: i64,
}

const fn model(provider: &'static str, name: &'static str, input_price: i64, output_price: i64) -> Model {
    Model { provider, name, input_price, output_price }
}

/// Invented list prices of realistic size; the order is the order of popularity.
const MODELS: [Model; 24] = [
    model("openai", "gpt-4o-mini", 150, 600),
    model("anthropic", "claude-sonnet-4", 3_000, 15_000),
    model("google", "gemini-2.0-flash", 100, 400),
    model("openai", "gpt-4o", 2_500, 10_000),
    model("anthropic", "claude-haiku-3.5", 800, 4_000),
    model("mistral", "mistral-small", 100, 300),
    model("openai", "gpt-4.1", 2_000, 8_000),
    model("google", "gemini-2.5-pro", 1_250, 10_000),
    model("meta", "llama-3.3-70b", 590, 790),
    model("anthropic", "claude-opus-4", 15_000, 75_000),
    model("openai", "gpt-4.1-mini", 400, 1_600),
    model("google", "gemini-2.5-flash", 300, 2_500),
    model("mistral", "mistral-large", 2_000, 6_000),
    model("openai", "gpt-4.1-nano", 100, 400),
    model("meta", "llama-3.1-8b", 50, 80),
    model("openai", "o3-mini", 1_100, 4_400),
    model("anthropic", "claude-haiku-3", 250, 1_250),
    model("google", "gemini-1.5-pro", 1_250, 5_000),
    model("meta", "llama-4-scout", 110, 340),
    model("mistral", "codestral", 300, 900),
    model("openai", "o3", 10_000, 40_000),
    model("google", "gemini-1.5-flash", 75, 300),
    model("meta", "llama-3.1-405b", 3_500, 3_500),
    model("mistral", "ministral-8b", 100, 100),
];

/// One row. Money is in nano-dollars, the duration in tenths of a millisecond: both print exactly.
pub struct Trace {
    pub time_ms: i64,
    project: &'static str,
    model: &'static Model,
    user: usize,
    status: &'static str,
    input_tokens: i64,
    output_tokens: i64,
    duration_tenths: i64,
    cost_nanos: i64,
    trace_id: u128,
}

/// The distributions, shared by all rows.
pub struct Traces {
    rows: u64,
    seed: u64,
    span_ms: i64,
    projects: Weighted,
    models: Weighted,
    users: Weighted,
}

impl Traces {
    /// `rows` traces spread evenly over the `days` before [`END_MS`].
    pub fn new(rows: u64, seed: u64, days: u32) -> Traces {
        Traces {
            rows,
            seed,
            span_ms: i64::from(days) * DAY_MS,
            projects: Weighted::zipf(PROJECTS.len(), 1.0),
            models: Weighted::zipf(MODELS.len(), 0.8),
            users: Weighted::zipf(USERS, 0.9),
        }
    }

    /// The trace at place `row` of the time order, `row < rows`.
    pub fn row(&self, row: u64) -> Trace {
        self.row_of(self.seed, row)
    }

    /// The trace of another seed at the same place: other values of the same distributions.
    pub fn row_of(&self, seed: u64, row: u64) -> Trace {
        let mut random = Random::of_row(seed, row);
        let model = &MODELS[self.models.pick(&mut random)];
        let (input, output) = random.normals();
        let (duration, _) = random.normals();
        let status = match random.below(1_000) {
            0..=24 => "error",
            25..=32 => "timeout",
            _ => "ok",
        };
        let input_tokens = (6.6 + 1.1 * input).exp().min(200_000.0) as i64 + 1;
        // A failed call returns no text, as providers bill it.
        let output_tokens =
            if status == "ok" { (5.3 + 0.9 * output).exp().min(32_000.0) as i64 + 1 } else { 0 };
        Trace {
            time_ms: self.time_ms(row, &mut random),
            project: PROJECTS[self.projects.pick(&mut random)],
            model,
            user: self.users.pick(&mut random),
            status,
            input_tokens,
            output_tokens,
            duration_tenths: ((7.2 + 0.8 * duration).exp() * 10.0).min(6_000_000.0) as i64 + 1,
            cost_nanos: input_tokens * model.input_price + output_tokens * model.output_price,
            trace_id: (u128::from(random.next()) << 64) | u128::from(random.next()),
        }
    }

    fn time_ms(&self, row: u64, random: &mut Random) -> i64 {
        let start = END_MS - self.span_ms;
        let place = (i128::from(self.span_ms) * i128::from(row) / i128::from(self.rows.max(1))) as i64;
        let jitter = random.below(JITTER_MS as u64) as i64 - JITTER_MS / 2;
        (start + place + jitter).clamp(start, END_MS - 1)
    }
}

impl Trace {
    /// Appends the trace as one JSON line, the newline included.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"ts\":\"");
        write_time(out, self.time_ms);
        for (name, value) in [
            (&b"\",\"project\":\""[..], self.project),
            (b"\",\"provider\":\"", self.model.provider),
            (b"\",\"model\":\"", self.model.name),
        ] {
            out.extend_from_slice(name);
            out.extend_from_slice(value.as_bytes());
        }
        out.extend_from_slice(b"\",\"user\":\"user-");
        write_padded(out, self.user as u64, 6);
        out.extend_from_slice(b"@app.example.com\",\"status\":\"");
        out.extend_from_slice(self.status.as_bytes());
        out.extend_from_slice(b"\",\"input_tokens\":");
        write_int(out, self.input_tokens as u64);
        out.extend_from_slice(b",\"output_tokens\":");
        write_int(out, self.output_tokens as u64);
        out.extend_from_slice(b",\"duration_ms\":");
        write_int(out, self.duration_tenths as u64 / 10);
        out.push(b'.');
        write_padded(out, self.duration_tenths as u64 % 10, 1);
        out.extend_from_slice(b",\"cost_usd\":");
        write_money(out, self.cost_nanos as u64);
        out.extend_from_slice(b",\"trace_id\":\"");
        write_hex(out, self.trace_id);
        out.extend_from_slice(b"\"}\n");
    }
}

/// RFC 3339 in UTC with milliseconds.
fn write_time(out: &mut Vec<u8>, time_ms: i64) {
    let (year, month, day) = civil_from_days(time_ms.div_euclid(DAY_MS));
    let of_day = time_ms.rem_euclid(DAY_MS) as u64;
    for (value, digits, after) in [
        (year, 4, b'-'),
        (month, 2, b'-'),
        (day, 2, b'T'),
        (of_day / 3_600_000, 2, b':'),
        (of_day / 60_000 % 60, 2, b':'),
        (of_day / 1_000 % 60, 2, b'.'),
        (of_day % 1_000, 3, b'Z'),
    ] {
        write_padded(out, value, digits);
        out.push(after);
    }
}

/// Year, month and day of a day number counted from 1970-01-01; after Howard Hinnant, "chrono-Compatible
/// Low-Level Date Algorithms", for days that are not negative.
fn civil_from_days(days: i64) -> (u64, u64, u64) {
    let shifted = days as u64 + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, of_year - (153 * from_march + 2) / 5 + 1)
}

fn write_int(out: &mut Vec<u8>, value: u64) {
    write_padded(out, value, value.checked_ilog10().unwrap_or(0) as usize + 1);
}

/// Decimal digits, at least as many as `digits` asks for; more digits than that are cut off on the left.
fn write_padded(out: &mut Vec<u8>, mut value: u64, digits: usize) {
    let mut text = [b'0'; 20];
    for place in text[..digits].iter_mut().rev() {
        *place = b'0' + (value % 10) as u8;
        value /= 10;
    }
    out.extend_from_slice(&text[..digits]);
}

/// Nano-dollars as a decimal without trailing zeros.
fn write_money(out: &mut Vec<u8>, nanos: u64) {
    write_int(out, nanos / 1_000_000_000);
    if !nanos.is_multiple_of(1_000_000_000) {
        out.push(b'.');
        write_padded(out, nanos % 1_000_000_000, 9);
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
}

fn write_hex(out: &mut Vec<u8>, value: u128) {
    let mut text = [0u8; 32];
    for (pair, byte) in text.chunks_exact_mut(2).zip(value.to_be_bytes()) {
        pair[0] = b"0123456789abcdef"[usize::from(byte >> 4)];
        pair[1] = b"0123456789abcdef"[usize::from(byte & 15)];
    }
    out.extend_from_slice(&text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("only ASCII is written")
    }

    #[test]
    fn numbers_and_times_print_as_json_expects() {
        assert_eq!(text(|out| write_time(out, END_MS)), "2026-10-31T00:00:00.000Z");
        assert_eq!(text(|out| write_time(out, END_MS - 1)), "2026-10-30T23:59:59.999Z");
        assert_eq!(text(|out| write_time(out, 1_709_164_800_000)), "2024-02-29T00:00:00.000Z");
        assert_eq!(text(|out| write_money(out, 0)), "0");
        assert_eq!(text(|out| write_money(out, 12_345_000)), "0.012345");
        assert_eq!(text(|out| write_money(out, 2_000_000_001)), "2.000000001");
        assert_eq!(text(|out| write_int(out, 0)), "0");
        assert_eq!(text(|out| write_int(out, 1_000)), "1000");
        assert_eq!(text(|out| write_hex(out, 0xab)), format!("{:032x}", 0xab));
    }

    #[test]
    fn rows_are_valid_ordered_and_of_the_stated_size() {
        let (rows, mut bytes) = (20_000u64, 0);
        let traces = Traces::new(rows, 42, 30);
        let mut latest = 0;
        for row in 0..rows {
            let trace = traces.row(row);
            assert!(trace.time_ms > latest - JITTER_MS, "row {row} stands more than the jitter out of order");
            latest = latest.max(trace.time_ms);
            let line = text(|out| trace.write_json(out));
            bytes += line.len() as u64;
            let value: serde_json::Value = serde_json::from_str(&line).expect("a line is valid JSON");
            assert_eq!(value.as_object().map(|object| object.len()), Some(11), "{line}");
        }
        let per_row = bytes as f64 / rows as f64;
        assert!((275.0..=279.0).contains(&per_row), "{per_row} bytes a row");
    }

    #[test]
    fn models_and_providers_are_as_many_as_stated() {
        let distinct = |names: Vec<&str>| names.into_iter().collect::<std::collections::BTreeSet<_>>().len();
        assert_eq!(distinct(MODELS.iter().map(|model| model.name).collect()), 24);
        assert_eq!(distinct(MODELS.iter().map(|model| model.provider).collect()), 5);
    }
}
