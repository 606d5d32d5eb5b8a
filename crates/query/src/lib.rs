//! The columnar operator: a resolved question over a snapshot becomes an answer.
//!
//! `Query → Plan → Frame (a range) → Pieces → Partials (kept, or read by a Worker) → Merged → Answer`. Synchronous and CPU only: it owns its threads and a memory
//! budget, and knows no clock but the question's `now` and its deadline. It is not: parsing of questions (`model`), files
//! (`store`), caching and admission (`engine`), JSON (`server`).

mod aggregation;
mod answer;
mod budget;
mod cache;
mod control;
mod costs;
mod error;
mod execution;
mod executor;
mod finish;
mod frame;
mod gathered;
mod having;
mod lttb;
mod merged;
mod order;
mod others;
mod partial;
mod pieces;
mod plan;
pub mod planner;
mod pool;
mod rows;
mod scan;
mod section;
mod sources;
mod table;
mod team;
mod turns;
mod values;
mod worker;

pub use aggregation::CacheUse;
pub use answer::{Answer, AnswerRow, AnswerRows, Explain, MetricQuality, Others};
pub use cache::CacheStats;
pub use control::{CancelToken, Control, Progress};
pub use costs::SourceCost;
pub use error::ExecuteError;
pub use executor::{Executor, ExecutorConfig};
pub use rows::{ROWS_PAGE_MAX, RowKey, RowsPage, RowsQuery};
pub use tidewater_aggregate::Cell;
