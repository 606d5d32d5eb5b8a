//! The operator against an oracle, and the properties no single answer shows: budgets, cancellation, pages of rows.

mod bounds;
mod cache;
mod data;
mod equality;
mod oracle;
mod questions;
mod rollups;
mod rows;
