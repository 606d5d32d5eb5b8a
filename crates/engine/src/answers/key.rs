//! What makes two questions the same, whatever the time: the key of cached and of running answers.

use std::sync::Arc;

use serde_json::{Value, json};
use tidewater_model::names::ProjectName;
use tidewater_model::query::{Query, QueryRequest, all_filters, normalised};
use tidewater_model::schema::DatasetId;

/// A question's identity. Two requests of one key mean the same at the same instant over the same definition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct QuestionKey {
    /// Whose rows. What else narrows what a caller may see is in the text, as filters.
    project: ProjectName,
    /// Ids are never used again, so a dataset dropped and made anew is another.
    dataset: DatasetId,
    text: Arc<str>,
}

impl QuestionKey {
    /// The key of a question, and its meaning now: the canonical text with every word resolved.
    pub fn of(request: &QueryRequest, query: &Query, dataset: DatasetId) -> (Self, Arc<str>) {
        let mut text = normalised(query);
        if query.asked_filter.is_some() {
            // Both: the rows are those of all filters, and the answer repeats the caller's own.
            text["all_filters"] = all_filters(query);
        }
        let meaning = Arc::from(text.to_string());
        if let Value::Object(members) = &mut text {
            // Words move with the clock, and so do ranges without an end where something is compared with them.
            if query.range.to.is_none() {
                let asked = request.date_range.clone().unwrap_or_default();
                members.insert("date_range".to_owned(), json!(format!("{asked:?}")));
            }
            if let Some(compare) = &request.compare {
                members.insert("compare".to_owned(), json!(format!("{compare:?}")));
            }
        }
        let key = QuestionKey { project: query.project.clone(), dataset, text: Arc::from(text.to_string()) };
        (key, meaning)
    }

    /// Bytes it holds.
    pub fn memory_bytes(&self) -> usize {
        self.text.len() + size_of::<Self>()
    }
}
