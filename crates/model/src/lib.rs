//! The vocabulary of Tidewater: datasets, time, filters, questions, mergeable aggregate states, limits.
//!
//! Pure data and pure functions: no I/O, no clock (`now` is an argument), no arrays. It owns the JSON form of datasets,
//! filters and questions, because those are stored (catalog, configuration file) as well as sent. It is not: columnar
//! memory (`columns`), files (`store`), execution (`query`), HTTP (`server`).

pub mod filter;
pub mod input_error;
pub mod limits;
pub mod money;
pub mod names;
pub mod query;
pub mod schema;
pub mod state;
pub mod time;
