//! The handlers, one file per group of routes. `router` says which path is whose.

pub mod admin;
pub mod advisor;
pub mod datasets;
pub mod health;
pub mod ingest;
pub mod keys;
pub mod page;
pub mod performance;
pub mod projects;
pub mod query;
pub mod rollups;
pub mod rows;
