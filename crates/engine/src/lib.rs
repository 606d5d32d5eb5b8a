//! The database as one asynchronous façade: ingest, questions, rows, deletes, keys, jobs, shutdown.
//!
//! It bounds what requests may hold and wait for, and puts synchronous work where it may block. It is not: HTTP or the JSON of
//! replies (`server`), reading of bodies (`decode`), computation (`query`), files (`store`).

mod access;
mod admission;
mod advise;
mod advisor;
mod answers;
mod ask;
mod compute;
mod config;
mod counters;
mod cursors;
mod delete;
mod engine;
mod error;
mod in_flight;
mod ingest;
mod jobs;
mod keys;
mod page;
mod projects;
mod questions;
mod ready;
mod rejects;
mod repeat;
mod reserved;
mod rollups;
mod rows;
mod running;
mod spill;
#[cfg(test)]
mod tests;
mod token;
mod usage;
mod warm;

use tidewater_model::names::ProjectName;

pub use access::{Access, Permission, Permissions, Reach, Role, Visibility, table as permission_table};
pub use admission::{AdmissionStats, Class, Reason};
pub use advise::Advised;
pub use advisor::{Advice, Suggestion, TierEstimate, Unserved, Unused};
pub use answers::{AnswerCache, AnswerStats, Lease};
pub use config::EngineConfig;
pub use counters::{Counters, DurationHistogram, QueryStages};
pub use engine::{Engine, QueueUse};
pub use error::{EngineError, EngineResult};
pub use in_flight::Permit;
pub use ingest::{IngestReply, IngestRequest, Origin, RowFault};
pub use jobs::Job;
pub use keys::{
    ApiKey, GRACE_MAX, KEY_NAME_BYTES_MAX, Keys, ListedKey, NewKey, Refusal, Scope, check_filters,
};
pub use page::{AnswerFacts, CacheUse, PageRows, QueryReply};
pub use projects::Project;
pub use questions::{QuestionHandle, QuestionRecord, RollupUse};
pub use ready::Part;
pub use rejects::Reject;
pub use reserved::{OWN_DATASET, OWN_PROJECT, is_own_dataset, is_own_project};
pub use rollups::{RollupState, RollupTierStatus};
pub use rows::{RowFilter, RowsReply, RowsRequest};
pub use running::RunningQuery;
pub use warm::Warmed;

/// The project of requests that name none.
pub fn default_project() -> ProjectName {
    ProjectName::new("default").expect("'default' has the form of a project name")
}
