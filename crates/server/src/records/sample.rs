//! A random sample of what came, within a number of rows, with what each row of it stands for.
//!
//! Algorithm R (Vitter, "Random sampling with a reservoir", 1985) in each stratum: kinds of events apart, and what is slow or failed
//! apart from the rest, so that a flood of quick answers does not wash the rare ones out. In a stratum every event has the same
//! chance, so a row stands for (came ÷ kept), and sums of weights are unbiased.

use crate::observe::{Event, random_id};
use crate::performance::End;

/// Kinds of events, each with what is notable and what is not.
const STRATA: usize = 6;

/// See the module.
#[derive(Debug)]
pub struct Sample {
    strata: [Stratum; STRATA],
    /// Rows a stratum keeps.
    rows_max: usize,
}

#[derive(Debug, Default)]
struct Stratum {
    kept: Vec<Event>,
    came: u64,
}

impl Sample {
    /// At most `rows_max` rows in all.
    pub fn new(rows_max: usize) -> Self {
        Sample { strata: Default::default(), rows_max: (rows_max / STRATA).max(1) }
    }

    /// Offers an event.
    pub fn add(&mut self, event: &Event) {
        let stratum = &mut self.strata[stratum(event)];
        stratum.came += 1;
        if stratum.kept.len() < self.rows_max {
            stratum.kept.push(event.clone());
            return;
        }
        let place = random_id() % stratum.came;
        if let Some(kept) = stratum.kept.get_mut(place as usize) {
            *kept = event.clone();
        }
    }

    /// Takes the sample, each event with what it stands for.
    pub fn take(&mut self) -> Vec<(Event, f64)> {
        let mut all = Vec::new();
        for stratum in &mut self.strata {
            let Stratum { kept, came } = std::mem::take(stratum);
            let weight = came as f64 / kept.len().max(1) as f64;
            all.extend(kept.into_iter().map(|event| (event, weight)));
        }
        all
    }
}

fn stratum(event: &Event) -> usize {
    let (kind, is_notable) = match event {
        Event::Request(event) => (0, End::of(event.status) == End::Failed),
        Event::Question(event) => {
            let is_failed = event.problem.is_some_and(|(status, _)| End::of(status) == End::Failed);
            (1, event.is_slow || is_failed)
        }
        Event::Rows(event) => (2, End::of(event.status) == End::Failed),
    };
    kind * 2 + usize::from(is_notable)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tidewater_model::names::ProjectName;
    use tidewater_model::time::Timestamp;

    use super::*;
    use crate::observe::{RequestId, RowCounts, RowsEvent};

    fn rows(status: u16, elapsed_us: u64) -> Event {
        let (at, id) = (Timestamp(0), RequestId::any());
        let (project, dataset) = (ProjectName::new("p").expect("a name"), Arc::from("d"));
        Event::Rows(RowsEvent { at, id, project, dataset, elapsed_us, rows: RowCounts::default(), status })
    }

    #[test]
    fn what_fits_stands_for_itself() {
        let mut sample = Sample::new(60);
        (0..10).for_each(|n| sample.add(&rows(200, n)));
        let taken = sample.take();
        assert!(taken.len() == 10 && taken.iter().all(|(_, weight)| *weight == 1.0));
        assert!(sample.take().is_empty());
    }

    #[test]
    fn weights_add_up_and_what_failed_stays() {
        let mut sample = Sample::new(60);
        (0..10_000).for_each(|n| sample.add(&rows(200, n)));
        (0..3).for_each(|n| sample.add(&rows(503, n)));
        let taken = sample.take();
        assert_eq!(taken.len(), 13);
        let total: f64 = taken.iter().map(|(_, weight)| weight).sum();
        assert!((total - 10_003.0).abs() < 1e-6, "{total}");
        let failed =
            taken.iter().filter(|(event, _)| matches!(event, Event::Rows(rows) if rows.status == 503));
        assert_eq!(failed.count(), 3);
        // A fair sample of 0..10,000 has its mean near the middle: 5 σ of a mean of ten are 4,564.
        let elapsed = taken.iter().filter_map(|(event, _)| match event {
            Event::Rows(rows) if rows.status == 200 => Some(rows.elapsed_us as f64),
            _ => None,
        });
        let mean = elapsed.sum::<f64>() / 10.0;
        assert!((436.0..9_564.0).contains(&mean), "{mean}");
    }
}
