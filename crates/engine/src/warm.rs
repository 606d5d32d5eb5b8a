//! Warming: after a start the most valuable recorded questions are computed once, so that a restart is not cold.
//!
//! One question at a time, never beside a question somebody waits for, bounded in number and time. Dropping the future stops it.
//! Not here: which questions are valuable (`questions`).

use std::time::{Duration, Instant};

use tidewater_model::query::QueryRequest;

use crate::counters::Counters;
use crate::engine::Engine;
use crate::error::EngineResult;
use crate::questions::Remembered;

/// Longest time for all questions: what is not warm after a minute, users have asked themselves.
const WARMING_TIME_MAX: Duration = Duration::from_secs(60);
/// Longest time for one question.
const QUESTION_TIME_MAX: Duration = Duration::from_secs(10);
/// How often it is looked whether users' questions have ended.
const IDLE_POLL: Duration = Duration::from_millis(20);

/// What warming did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Warmed {
    /// Questions computed.
    pub computed: usize,
    /// Questions that failed or took too long: columns may be gone, rows may have expired.
    pub failed: usize,
    /// Questions left out because the time was over or the server is stopping.
    pub left: usize,
}

impl Engine {
    /// Computes the most valuable recorded questions once. Words like `24h` mean what they mean now.
    pub async fn warm(&self) -> Warmed {
        let started = Instant::now();
        let remembered = self.questions.most_valuable(self.config.warm_questions_max, self.now());
        let mut warmed = Warmed::default();
        for question in &remembered {
            if !self.wait_until_idle(started + WARMING_TIME_MAX).await {
                break;
            }
            let _uncounted = self.questions.warm(question.key);
            let began = Instant::now();
            match tokio::time::timeout(QUESTION_TIME_MAX, self.warm_question(question)).await {
                Ok(Ok(())) => {
                    warmed.computed += 1;
                    Counters::add(&self.counters.warmed, 1);
                }
                Ok(Err(error)) => {
                    tracing::debug!(error = &error as &dyn std::error::Error, "a question is not warmed");
                    warmed.failed += 1;
                }
                Err(_elapsed) => warmed.failed += 1,
            }
            // At most half of the time: ingest and background work share the processors.
            tokio::time::sleep(began.elapsed()).await;
        }
        warmed.left = remembered.len() - warmed.computed - warmed.failed;
        if warmed.computed + warmed.failed > 0 {
            let elapsed_ms = started.elapsed().as_millis() as u64;
            let Warmed { computed, failed, left } = warmed;
            tracing::info!(computed, failed, left, elapsed_ms, "the most valuable questions are warm");
        }
        warmed
    }

    /// Waits until no question runs; false when the time is over or the server is stopping.
    async fn wait_until_idle(&self, deadline: Instant) -> bool {
        while self.running_count() > 0 && Instant::now() < deadline && !self.is_closing() {
            tokio::time::sleep(IDLE_POLL).await;
        }
        Instant::now() < deadline && !self.is_closing()
    }

    async fn warm_question(&self, question: &Remembered) -> EngineResult<()> {
        let request = QueryRequest::from_json(&question.question)?;
        self.query(request, question.project.clone()).await.map(|_| ())
    }
}
