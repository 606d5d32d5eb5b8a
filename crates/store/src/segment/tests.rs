//! Properties of segments: what is written is read, whatever is asked for equals a naive filter, a merge is the sorted
//! concatenation, and damage is an error.

mod damage;
mod fixture;
mod properties;
mod sample;
