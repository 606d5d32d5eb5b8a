//! What Tidewater knows about its three kinds of data: web and product events, LLM traces, machine readings.
//!
//! Here: ready dataset definitions. Not here: I/O, and how payloads of other systems become rows.

use tidewater_model::schema::DatasetDefinition;

/// The names [`preset`] knows.
pub const PRESETS: [&str; 3] = ["events", "llm", "machines"];

/// A ready dataset definition.
///
/// - `events`: one row per event of a visitor. `name` is `pageview` for page views; `revenue` is in the shop's currency.
/// - `llm`: one row per trace. `status` is `ok` or `error`; `ttft_ms` is the time to the first token.
/// - `machines`: one row per reading or interval of a machine. Overall equipment effectiveness is made of sums, so that it
///   is right for any group: availability = Σ `run_s` ÷ Σ `planned_s`, performance = Σ `ideal_s` ÷ Σ `run_s` with
///   `ideal_s` = `ideal_cycle_s` × `total_count`, quality = Σ `good_count` ÷ Σ `total_count`, and
///   OEE = Σ `ideal_good_s` ÷ Σ `planned_s` with `ideal_good_s` = `ideal_cycle_s` × `good_count` (ISO 22400-2).
pub fn preset(name: &str) -> Option<DatasetDefinition> {
    let text = match name {
        "events" => include_str!("presets/events.json"),
        "llm" => include_str!("presets/llm.json"),
        "machines" => include_str!("presets/machines.json"),
        _ => return None,
    };
    let definition = DatasetDefinition::from_json(text.as_bytes());
    Some(definition.expect("the text is part of the binary, and a test reads each"))
}

#[cfg(test)]
mod tests {
    use tidewater_model::query::MetricExpr;
    use tidewater_model::schema::Dataset;

    use super::*;

    #[test]
    fn every_preset_compiles_and_widens_itself() {
        for name in PRESETS {
            let definition = preset(name).expect("a name of the list is known");
            let dataset =
                Dataset::compile(name, definition.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(
                dataset.id.is_some() && !dataset.sort.is_empty() && !dataset.rollups.is_empty(),
                "{name}"
            );
            assert!(
                dataset.metrics.values().any(|metric| matches!(metric, MetricExpr::Ratio { .. })),
                "{name}"
            );
            assert_eq!(dataset.widen(definition), Ok(dataset), "{name}");
        }
        assert_eq!(preset("nothing"), None);
    }

    #[test]
    fn a_preset_reads_back_as_written() {
        for name in PRESETS {
            let definition = preset(name).expect("a name of the list is known");
            let text = serde_json::to_vec(&definition).expect("definitions are plain data");
            assert_eq!(DatasetDefinition::from_json(&text), Ok(definition), "{name}");
        }
    }
}
