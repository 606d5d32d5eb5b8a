//! One dataset's rows in the order of time, from a moment on: first the past as fast as asked, then the present as it comes.
//!
//! Pure: `now` is an argument. Not here: sending.

use std::collections::VecDeque;

use super::season::MINUTE_US;
use super::{Row, Sample};

/// Rows of one dataset that were not handed out yet.
pub struct Feed {
    sample: Sample,
    density: f64,
    /// Everything up to and including this moment was handed out.
    done_us: i64,
    next_minute: i64,
    /// Rows of minutes before `next_minute`, in order.
    made: VecDeque<Row>,
}

impl Feed {
    /// Rows later than `after_us`.
    pub fn new(sample: Sample, density: f64, after_us: i64) -> Self {
        let next_minute = after_us.div_euclid(MINUTE_US);
        Feed { sample, density, done_us: after_us, next_minute, made: VecDeque::new() }
    }

    /// Which dataset.
    pub fn sample(&self) -> Sample {
        self.sample
    }

    /// The moment up to which everything was handed out.
    pub fn done_us(&self) -> i64 {
        self.done_us
    }

    /// The next rows up to `now_us`, about `rows_max` at most; rows of one moment are never parted, so that
    /// [`Feed::done_us`] tells exactly what was handed out.
    pub fn take(&mut self, now_us: i64, rows_max: usize) -> Vec<Row> {
        let mut out: Vec<Row> = Vec::new();
        loop {
            while let Some(row) = self.made.pop_front_if(|row| row.at_us <= now_us) {
                if out.len() >= rows_max && out.last().is_some_and(|last| last.at_us < row.at_us) {
                    self.made.push_front(row);
                    self.done_us = out.last().map_or(self.done_us, |last| last.at_us);
                    return out;
                }
                out.push(row);
            }
            if self.next_minute * MINUTE_US > now_us {
                self.done_us = self.done_us.max(now_us);
                return out;
            }
            let rows = self.sample.rows(self.next_minute, self.density);
            self.made.extend(rows.into_iter().filter(|row| row.at_us > self.done_us));
            self.next_minute += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However a span of time is cut, and wherever it is taken up again, the rows are the same.
    #[test]
    fn taking_in_parts_gives_the_same_rows() {
        let (from, to) = (29_900_000 * MINUTE_US + 12_345, 29_900_180 * MINUTE_US + 54_321);
        for sample in Sample::ALL {
            let whole: Vec<String> = texts(Feed::new(sample, 1.0, from).take(to, usize::MAX));
            assert!(whole.len() > 100, "{sample:?}: {} rows", whole.len());
            let mut parts = Vec::new();
            let mut feed = Feed::new(sample, 1.0, from);
            for (step, now) in (from..to).step_by(17 * 1_000_003).chain([to]).enumerate() {
                loop {
                    let rows = feed.take(now, 7);
                    if rows.is_empty() {
                        break;
                    }
                    parts.extend(texts(rows));
                }
                if step % 5 == 0 {
                    feed = Feed::new(sample, 1.0, feed.done_us());
                }
            }
            assert_eq!(whole, parts, "{sample:?}");
        }
    }

    fn texts(rows: Vec<Row>) -> Vec<String> {
        rows.into_iter().map(|row| row.json).collect()
    }
}
