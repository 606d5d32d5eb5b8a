//! Groups: which group each row belongs to, and what the group's dimensions are.
//!
//! Each dimension turns its values into small codes (`Codes`); a tuple of codes is a group (`Groups`), numbered in order of
//! first sight. Codes and numbers are one thread's own until the parts are merged.

mod codes;
mod explode;
mod numbers;
mod strings;
mod table;
mod texts;

pub(crate) use codes::Codes;
pub(crate) use explode::Expansion;
pub(crate) use table::{GroupKeys, Groups};
