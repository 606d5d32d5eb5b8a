//! The pure planner over sections: which source answers which part of a unit, and whether a range can be answered at all.
//!
//! `facts` is what is known before anything is read, `piece` what is decided. Not here: reading any of it (`execution`), which
//! units a snapshot has (`store`), and what a section holds (`aggregate`).

mod facts;
mod piece;

pub use facts::{Ages, MeasureKey, Question, RawFacts, SectionFacts, UnitFacts, Wanted};
pub use piece::{Gap, Piece, PieceMeasure, Source, SourceSummary, UnitPlan};
