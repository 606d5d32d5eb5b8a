//! Columnar memory: batches of a dataset's rows as Arrow arrays, their compact byte form, and filters over them.
//!
//! Sits between `model` (pure vocabulary) and everything that touches rows. It is not: parsing of user formats
//! (`decode`), files (`store`), aggregation (`query`).

mod batch;
pub mod codec;
mod concat;
mod intern;
pub mod mask;
mod nested;
#[cfg(test)]
mod testing;
mod text;

pub use batch::{RowBatch, data_type};
pub use concat::{concat_columns, concat_strings};
pub use intern::Interner;
pub use nested::{Exploded, explode, map_key};
pub use text::{StringsRef, TextBuilder};
