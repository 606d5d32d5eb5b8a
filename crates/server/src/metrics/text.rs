//! Prometheus text, format 0.0.4.

use std::fmt::{Display, Write as _};

use super::families::{Families, Family, Kind, Labels, Sampled};

/// Every metric as text. A metric without a sample is left out.
pub fn write(families: &Families) -> String {
    let mut out = String::with_capacity(64 << 10);
    for family in families.iter().filter(|family| !family.samples.is_empty()) {
        let Family { name, help, kind, .. } = family;
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        line(&mut out, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        for (labels, value) in &family.samples {
            match value {
                Sampled::Number(number) => sample(&mut out, name, "", labels, None, number),
                Sampled::Histogram { bounds, counts, sum } => {
                    histogram(&mut out, name, labels, (bounds, counts, *sum));
                }
            }
        }
    }
    out
}

fn histogram(out: &mut String, name: &str, labels: &Labels, (bounds, counts, sum): (&[f64], &[u64], f64)) {
    let mut below = 0;
    for (bucket, count) in counts.iter().enumerate() {
        below += count;
        let bound = bounds.get(bucket).map_or_else(|| "+Inf".to_owned(), f64::to_string);
        sample(out, name, "_bucket", labels, Some(&bound), below);
    }
    sample(out, name, "_sum", labels, None, sum);
    sample(out, name, "_count", labels, None, below);
}

fn sample(
    out: &mut String,
    name: &str,
    suffix: &str,
    labels: &Labels,
    bound: Option<&str>,
    value: impl Display,
) {
    line(out, format_args!("{name}{suffix}"));
    let bound = bound.map(|bound| ("le", bound));
    let all = labels.iter().map(|(label, text)| (*label, text.as_str())).chain(bound);
    let mut open = '{';
    for (label, text) in all {
        let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        line(out, format_args!("{open}{label}=\"{text}\""));
        open = ',';
    }
    let close = if open == ',' { "}" } else { "" };
    line(out, format_args!("{close} {value}\n"));
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a String cannot fail");
}
