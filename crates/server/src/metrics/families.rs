//! Metrics at one moment, as names, labels and values: what every way out of the server is written from.
//!
//! Not here: which metrics there are (`exposition`), how they are written (`text`, `otlp`).

use tidewater_store::HistogramCounts;

/// What a metric's values do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, and starts at 0 with the process.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Counts by bucket, which only grow.
    Histogram,
}

/// Labels of one sample.
pub type Labels = Vec<(&'static str, String)>;

/// The value of one sample.
#[derive(Clone, Debug, PartialEq)]
pub enum Sampled {
    /// Of a counter or gauge.
    Number(f64),
    /// Of a histogram.
    Histogram {
        /// Upper bounds in the metric's unit; the last bucket has none.
        bounds: Vec<f64>,
        /// Per bucket, not cumulative; one more than there are bounds.
        counts: Vec<u64>,
        /// All values, in the metric's unit.
        sum: f64,
    },
}

/// A metric with its samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// Its full name.
    pub name: &'static str,
    /// What its values do.
    pub kind: Kind,
    /// One line for people.
    pub help: &'static str,
    /// One per set of labels.
    pub samples: Vec<(Labels, Sampled)>,
}

/// All metrics at one moment.
#[derive(Clone, Debug, Default)]
pub struct Families {
    list: Vec<Family>,
}

/// A number a metric can have.
pub trait Figure {
    /// As Prometheus holds it: whole up to 2⁵³.
    fn figure(self) -> f64;
}

macro_rules! figures {
    ($($number:ty),*) => {$(
        impl Figure for $number {
            #[allow(clippy::cast_lossless, reason = "the widths of the types differ")]
            fn figure(self) -> f64 {
                self as f64
            }
        }
    )*};
}

figures!(u8, u32, u64, usize, i64, f64);

impl Families {
    /// Starts a metric; its samples are added to what this returns.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &'static str) -> &mut Family {
        self.list.push(Family { name, kind, help, samples: Vec::new() });
        self.list.last_mut().expect("one was just pushed")
    }

    /// A metric with one sample without labels.
    pub fn single(&mut self, name: &'static str, kind: Kind, help: &'static str, value: impl Figure) {
        self.family(name, kind, help).add(&[], value);
    }

    /// Every metric, in the order they were added.
    pub fn iter(&self) -> impl Iterator<Item = &Family> {
        self.list.iter()
    }
}

impl Family {
    /// Adds a sample of a counter or gauge.
    pub fn add(&mut self, labels: &[(&'static str, &str)], value: impl Figure) {
        self.samples.push((owned(labels), Sampled::Number(value.figure())));
    }

    /// Adds a sample of a histogram of whole numbers; `scale` makes them the metric's unit.
    pub fn histogram(&mut self, labels: &[(&'static str, &str)], counts: &HistogramCounts, scale: f64) {
        // Dividing is exact for the decimal fractions that bounds are; multiplying would show 0.1 as 0.10000000000000001.
        let unit = |value: u64| {
            if scale < 1.0 { value as f64 / scale.recip().round() } else { value as f64 * scale }
        };
        let bounds = counts.bounds.iter().map(|bound| unit(*bound)).collect();
        let value = Sampled::Histogram { bounds, counts: counts.counts.clone(), sum: unit(counts.sum) };
        self.samples.push((owned(labels), value));
    }
}

fn owned(labels: &[(&'static str, &str)]) -> Labels {
    labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}
