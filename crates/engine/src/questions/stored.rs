//! Recorded questions as bytes in the catalog: JSON with a version, one value per dataset and project, one per dataset for the
//! uses of its roll-ups.
//!
//! A value or record that does not read is dropped and logged: the log helps, and must never keep a store from opening.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::log::{Group, QuestionRecord, Uses};

/// The form written here. Values of another version are dropped: what they hold is gathered again within days.
const VERSION: u16 = 1;
/// Between dataset and project in a key; no name holds it.
const SEPARATOR: char = '/';

#[derive(Serialize, Deserialize)]
struct Stored<T> {
    version: u16,
    content: T,
}

/// The key of a group's value.
pub(crate) fn group_key((dataset, project): &Group) -> String {
    format!("{dataset}{SEPARATOR}{project}")
}

/// The group behind such a key.
pub(crate) fn read_group_key(key: &str) -> Option<Group> {
    key.split_once(SEPARATOR).map(|(dataset, project)| (dataset.to_owned(), project.to_owned()))
}

/// The value of a group.
pub(crate) fn encode_records(records: &[QuestionRecord]) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&Stored { version: VERSION, content: records })
}

/// The value of a dataset's uses.
pub(crate) fn encode_uses(uses: &Uses) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&Stored { version: VERSION, content: uses })
}

/// What of a value reads; the rest is dropped.
pub(crate) fn decode_records(key: &str, bytes: &[u8]) -> Vec<QuestionRecord> {
    let values: Vec<Value> = decode(key, bytes).unwrap_or_default();
    let read = |value: Value| match serde_json::from_value(value) {
        Ok(record) => Some(record),
        Err(error) => {
            tracing::warn!(key, %error, "a recorded question does not read and is dropped");
            None
        }
    };
    values.into_iter().filter_map(read).collect()
}

/// The uses in a value; none where it does not read.
pub(crate) fn decode_uses(key: &str, bytes: &[u8]) -> Uses {
    decode(key, bytes).unwrap_or_default()
}

fn decode<T: for<'de> Deserialize<'de>>(key: &str, bytes: &[u8]) -> Option<T> {
    // The version alone first: another one may hold other content.
    let version = serde_json::from_slice::<Stored<Value>>(bytes).map(|stored| stored.version);
    let content = match version {
        Ok(VERSION) => serde_json::from_slice::<Stored<T>>(bytes).map(|stored| stored.content),
        Ok(version) => {
            tracing::warn!(key, version, "recorded questions of another version are dropped");
            return None;
        }
        Err(error) => Err(error),
    };
    content
        .inspect_err(|error| tracing::warn!(key, %error, "recorded questions do not read and are dropped"))
        .ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;
    use tidewater_model::time::Timestamp;

    use super::super::log::{Cost, QuestionLog};
    use super::super::shape::Asked;
    use super::*;

    fn records() -> Vec<QuestionRecord> {
        let group = ("edits".to_owned(), "web".to_owned());
        let mut log = QuestionLog::new(10);
        let question = json!({"dataset": "edits", "metrics": [{"agg": "count"}], "dimensions": ["channel"]});
        let cost = Cost {
            elapsed: Duration::from_millis(3),
            raw: Duration::from_millis(2),
            rows_raw: 900,
            rollups: vec!["channels/1h".to_owned()],
        };
        log.record(&group, Asked { question, range: "7d".to_owned() }, &cost, Timestamp(5));
        log.take_dirty(1).remove(0).1
    }

    fn text(records: &[QuestionRecord]) -> String {
        serde_json::to_string(records).expect("it prints")
    }

    #[test]
    fn what_is_written_reads_back() {
        let records = records();
        let bytes = encode_records(&records).expect("it prints");
        assert_eq!(text(&decode_records("k", &bytes)), text(&records));
        let group = ("edits".to_owned(), "web".to_owned());
        assert_eq!(read_group_key(&group_key(&group)), Some(group));
    }

    #[test]
    fn damage_loses_only_what_is_damaged() {
        let bytes = encode_records(&records()).expect("it prints");
        let whole = String::from_utf8(bytes.clone()).expect("text");
        let mut value: Value = serde_json::from_slice(&bytes).expect("it reads");
        let good = value["content"][0].clone();
        value["content"] = json!([good, {"question": 3}, null, good]);
        assert_eq!(decode_records("k", value.to_string().as_bytes()).len(), 2);
        for damaged in
            ["", "[]", "{", &whole[..whole.len() / 2], &whole.replace("\"version\":1", "\"version\":9")]
        {
            assert!(decode_records("k", damaged.as_bytes()).is_empty(), "{damaged}");
            assert!(decode_uses("k", damaged.as_bytes()).is_empty(), "{damaged}");
        }
    }
}
