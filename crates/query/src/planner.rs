//! The pure planner over sections: which source answers which part of a unit, and whether a range can be answered at all.
//!
//! `facts` is what is known before anything is read, `piece` what is decided. `serve` says which measures a section can give,
//! `cells` at which instants, `cost` at what price; `choose` finds the cheapest sources of a set of measures, `unit` the sets;
//! `coverage` refuses what has expired, and `range` puts all of it together. Not here: reading any of it, which units a snapshot has
//! (`store`), and what a section holds (`aggregate`).

mod cells;
mod choose;
mod cost;
mod coverage;
mod facts;
mod piece;
mod range;
mod serve;
mod unit;

#[cfg(test)]
mod tests;

pub use coverage::Coverage;
pub use facts::{Ages, Question, RawFacts, SectionFacts, SectionSchema, UnitFacts, Wanted};
pub use piece::{Gap, Piece, PieceMeasure, Source, SourceSummary, UnitPlan};
pub use range::{NotCovered, RangePlan};
pub use unit::Planner;
