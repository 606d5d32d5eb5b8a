//! Readiness: whether each part of the database does its work now. The query part runs a real question.
//!
//! It has a place of its own, beside those of users' questions, and on the threads that compute its short reading goes before long
//! ones, so a server that is busy answering is still ready. One check at a time: whoever asks meanwhile gets what it finds, so that asking, which needs no
//! credential, cannot become a load.

use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use tidewater_model::query::DateRange;
use tidewater_model::time::{RangeSpec, RangeWord};
use tidewater_query::{Control, ExecuteError};

use crate::engine::Engine;
use crate::error::{EngineError, EngineResult};
use crate::rows::RowFilter;

/// Longest time the question of a readiness check may take: load balancers ask every few seconds.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// How long what a check found holds for others: load balancers ask every second at most.
const CHECK_HOLDS: Duration = Duration::from_millis(200);

/// The place of readiness checks, with what the last one found of the query part, and when.
#[derive(Debug, Default)]
pub(crate) struct Checks(Mutex<Option<(Instant, Option<String>)>>);

/// One part's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// `store`, `query`, `server`.
    pub name: &'static str,
    /// What is wrong, for people; `None` when nothing is.
    pub fault: Option<String>,
}

impl Engine {
    /// The state of every part.
    pub async fn readiness(&self) -> Vec<Part> {
        let closing = self.is_closing().then(|| "the server is shutting down".to_owned());
        vec![
            Part { name: "server", fault: closing },
            Part { name: "store", fault: self.store.poisoned().map(|cause| without_paths(&cause)) },
            Part { name: "query", fault: self.check_query().await },
        ]
    }

    async fn check_query(&self) -> Option<String> {
        // Whoever waits for it waits for a check that is bounded itself.
        let mut last = self.checks.0.lock().await;
        if let Some((_, fault)) = last.as_ref().filter(|(at, _)| at.elapsed() < CHECK_HOLDS) {
            return fault.clone();
        }
        let fault = self.check_query_now().await;
        *last = Some((Instant::now(), fault.clone()));
        fault
    }

    async fn check_query_now(&self) -> Option<String> {
        let Some(dataset) = self.datasets().into_iter().next() else {
            // Without a dataset there is nothing to ask; a snapshot is all a question would start with.
            let _ = self.store.snapshot();
            return None;
        };
        match tokio::time::timeout(CHECK_TIMEOUT, self.count_last_minute(dataset.name.to_string())).await {
            Ok(Ok(())) => None,
            // All memory is in use, by questions that get their answers.
            Ok(Err(EngineError::Query(ExecuteError::Busy { .. }))) => None,
            Ok(Err(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the readiness question failed");
                Some("a test question failed; the cause is in the log".to_owned())
            }
            Err(_) => Some(format!("a test question took longer than {} s", CHECK_TIMEOUT.as_secs())),
        }
    }

    /// Runs beside the places for questions: a server that is busy answering is still ready.
    async fn count_last_minute(&self, dataset: String) -> EngineResult<()> {
        let word = RangeWord::Minutes(1);
        let rows = RowFilter {
            dataset,
            date_range: Some(DateRange::Spec(RangeSpec::Word(word))),
            ..RowFilter::default()
        };
        self.blocking(move |engine| {
            let snapshot = engine.store.snapshot();
            let view = engine.view(&snapshot, &rows.dataset)?;
            let query = engine.resolve(&rows.count()?, &crate::default_project(), &view)?;
            let control = Control { deadline: Some(Instant::now() + CHECK_TIMEOUT), ..Control::default() };
            engine.executor.execute(&query, &view, &control)?;
            Ok(())
        })
        .await
    }
}

/// A cause without the names of files: readiness needs no credential.
fn without_paths(cause: &str) -> String {
    let words = cause.split(' ').map(|word| if word.contains('/') { "a file" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_name_no_files() {
        let cause = "sync /data/wal/0001.wal: No space left on device";
        assert_eq!(without_paths(cause), "sync a file No space left on device");
    }
}
