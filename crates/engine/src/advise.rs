//! The advisor's facts: recorded questions with what they need, and groups counted in a bounded sample of real rows.
//!
//! Not here: what follows from them (`advisor`).

mod sample;

use std::sync::Arc;

use tidewater_model::names::ProjectName;
use tidewater_model::query::QueryRequest;
use tidewater_model::schema::Dataset;
use tidewater_model::time::Timestamp;
use tidewater_query::Control;
use tidewater_store::DatasetView;

use crate::admission::{Class, Errand};
use crate::advisor::{self, Advice, Need, QuestionFacts, Suggestion};
use crate::engine::Engine;
use crate::error::EngineResult;
use crate::questions::QuestionRecord;
use crate::rollups::RollupState;
use sample::Sampler;

/// Advice with what it is based on.
#[derive(Clone, Debug)]
pub struct Advised {
    /// What to do.
    pub advice: Advice,
    /// The recorded questions, with the project that asked each.
    pub questions: Vec<(ProjectName, QuestionRecord)>,
    /// When the oldest of them was first asked.
    pub since: Option<Timestamp>,
    /// Raw rows of the dataset, of all projects.
    pub raw_rows: u64,
    /// Their bytes in files, extrapolated to rows that are not in one yet.
    pub raw_bytes: u64,
    /// Whose rows the estimates were made from.
    pub sampled_project: Option<ProjectName>,
    /// Declared tiers that no segment keeps, by roll-up: they would take too large a part of its bytes.
    pub tiers_not_paying: Vec<(Arc<str>, &'static str)>,
}

impl Advised {
    /// Up to `count` questions that a suggestion serves, with their projects; those that cost most first.
    pub fn examples(
        &self,
        suggestion: &Suggestion,
        count: usize,
    ) -> impl Iterator<Item = &(ProjectName, QuestionRecord)> {
        let mut served: Vec<&(ProjectName, QuestionRecord)> =
            suggestion.served.iter().filter_map(|index| self.questions.get(*index)).collect();
        served.sort_by_key(|(_, record)| std::cmp::Reverse(record.raw_us));
        served.into_iter().take(count)
    }
}

impl Engine {
    /// Advice about one dataset or all, from the questions of one project or all.
    pub async fn advise(
        &self,
        dataset: Option<&str>,
        project: Option<&ProjectName>,
    ) -> EngineResult<Vec<Advised>> {
        let datasets: Vec<Arc<Dataset>> = match dataset {
            Some(name) => vec![self.dataset(name)?],
            None => self.datasets(),
        };
        self.questions.follow(self.now());
        let mut all = Vec::with_capacity(datasets.len());
        for dataset in datasets {
            all.push(self.advise_on(&dataset, project).await?);
        }
        Ok(all)
    }

    async fn advise_on(&self, dataset: &Dataset, project: Option<&ProjectName>) -> EngineResult<Advised> {
        let snapshot = self.store.snapshot();
        let view = self.view(&snapshot, &dataset.name)?;
        let of_project = project.map(ProjectName::as_str);
        let recorded = self.questions.of_dataset(&dataset.name, of_project, self.now()).into_iter();
        // A name that does not read cannot come from a request.
        let named = recorded.filter_map(|(name, record)| Some((ProjectName::new(&name).ok()?, record)));
        let (questions, facts) = self.facts(named.collect(), &view);
        let sampled = sampled_project(&questions, &facts);
        let uses = self.questions.uses(&dataset.name);
        let tiers = self.rollup_tiers(Some(&dataset.name))?.into_iter();
        let unpaid = tiers.filter(|tier| tier.state == RollupState::NotPaying);
        let tiers_not_paying: Vec<_> = unpaid.map(|tier| (tier.status.rollup, tier.status.tier)).collect();
        let engine = self.clone();
        let task = move |control: &Control| {
            let mut raw = sample::raw_facts(&view);
            let mut sampler = Sampler::new(&engine, &view, sampled.as_ref(), raw.rows, control.clone());
            let needs = facts.iter().filter_map(|question| question.need.as_ref().ok());
            raw.distinct = sampler.distinct(needs.flat_map(Need::sized_columns));
            let mut count = |dimensions: &_, tier| sampler.count(dimensions, tier);
            let advice = advisor::advise(&view.dataset, &facts, &uses, &raw, &mut count);
            let since = questions.iter().map(|(_, record)| record.first_asked).min();
            Ok(Advised {
                advice,
                questions: questions.clone(),
                since,
                raw_rows: raw.rows,
                raw_bytes: raw.bytes,
                sampled_project: sampled.clone(),
                tiers_not_paying: tiers_not_paying.clone(),
            })
        };
        let shown = project.cloned().unwrap_or_else(crate::default_project);
        // It counts many samples: dashboards go before it.
        self.run_as(Class::Heavy, Errand::one(&shown, &dataset.name), Arc::new(task)).await
    }

    /// The questions that still mean something, each with its facts.
    fn facts(
        &self,
        recorded: Vec<(ProjectName, QuestionRecord)>,
        view: &DatasetView,
    ) -> (Vec<(ProjectName, QuestionRecord)>, Vec<QuestionFacts>) {
        let facts = recorded.into_iter().filter_map(|(project, record)| {
            let request = QueryRequest::from_json(&record.question).ok()?;
            let query = self.resolve(&request, &project, view).ok()?;
            let facts = QuestionFacts {
                need: Need::of(&query),
                asked: record.asked(),
                raw_us: record.raw_us,
                last_asked: record.last_asked,
            };
            Some(((project, record), facts))
        });
        facts.unzip()
    }
}

/// The project whose questions spent the most time on raw rows: its rows are the ones that matter.
fn sampled_project(
    questions: &[(ProjectName, QuestionRecord)],
    facts: &[QuestionFacts],
) -> Option<ProjectName> {
    let mut spent: std::collections::BTreeMap<&ProjectName, u64> = Default::default();
    for ((project, _), facts) in questions.iter().zip(facts) {
        *spent.entry(project).or_default() += facts.raw_us;
    }
    spent.into_iter().max_by_key(|(_, raw_us)| *raw_us).map(|(project, _)| project.clone())
}
