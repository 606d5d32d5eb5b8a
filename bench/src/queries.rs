//! Asks the benchmark's questions over HTTP and times them. Checks no answer: `bench/report.py` compares them.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::Target;
use crate::http::Connection;

#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    target: Target,
    /// The folder with one query body a file, `NAME.json`.
    #[arg(long, default_value = "bench/questions")]
    questions: PathBuf,
    /// Timed runs of each question, after one that warms up.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// Where the full answers go, as `NAME.json` each.
    #[arg(long)]
    answers: Option<PathBuf>,
}

pub fn run(options: &Options) -> anyhow::Result<Value> {
    let mut connection = Connection::open(&options.target)?;
    let mut figures = serde_json::Map::new();
    for (name, mut query) in questions(&options.questions)? {
        query["dataset"] = json!(options.target.dataset);
        // Every run computes its own answer; none is shared with the one before.
        query["max_staleness_ms"] = json!(0);
        let (figure, answer) = ask(&mut connection, &query.to_string(), options.repeat)
            .with_context(|| format!("question '{name}'"))?;
        if let Some(folder) = &options.answers {
            std::fs::create_dir_all(folder)?;
            std::fs::write(folder.join(format!("{name}.json")), answer)?;
        }
        figures.insert(name, figure);
    }
    Ok(json!({ "questions": figures }))
}

/// Name and body of every question, by name.
pub fn questions(folder: &Path) -> anyhow::Result<Vec<(String, Value)>> {
    let mut questions = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if let (Some("json"), Some(name)) =
            (path.extension().and_then(|e| e.to_str()), path.file_stem().and_then(|s| s.to_str()))
        {
            let body = serde_json::from_slice(&std::fs::read(&path)?)
                .with_context(|| format!("{} is not JSON", path.display()))?;
            questions.push((name.to_owned(), body));
        }
    }
    ensure!(!questions.is_empty(), "no *.json in {}", folder.display());
    questions.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(questions)
}

/// The figures of one question and the body of its last answer.
fn ask(connection: &mut Connection, query: &str, repeat: u32) -> anyhow::Result<(Value, Vec<u8>)> {
    let mut times_ms = Vec::new();
    let mut answer = Vec::new();
    for run in 0..=repeat {
        let started = Instant::now();
        let response = connection.post("/api/v1/query", "application/json", query.as_bytes())?;
        let elapsed_ms = started.elapsed().as_secs_f64() * 1e3;
        ensure!(response.status == 200, "{}", response.describe());
        if run > 0 {
            times_ms.push(elapsed_ms);
        }
        answer = response.body;
    }
    times_ms.sort_by(f64::total_cmp);
    let reply: Value = serde_json::from_slice(&answer).context("the answer is not JSON")?;
    let mut hasher = DefaultHasher::new();
    reply["results"].to_string().hash(&mut hasher);
    let figure = json!({
        "min_ms": times_ms[0], "median_ms": times_ms[times_ms.len() / 2], "runs": times_ms.len(),
        "rows": reply["results"].as_array().map_or(0, Vec::len),
        "results_digest": format!("{:016x}", hasher.finish()),
        "source": reply["meta"]["source"], "server_ms": reply["meta"]["elapsed_ms"],
    });
    Ok((figure, answer))
}
