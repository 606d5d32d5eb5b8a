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

pub use codes::Codes;
pub use explode::Expansion;
pub use table::{Groups, SharedMemory};
