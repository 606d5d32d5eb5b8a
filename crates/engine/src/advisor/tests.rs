//! Decisions of the advisor over a made-up dataset and made-up group counts.

use std::sync::Arc;

use serde_json::{Value, json};
use tidewater_model::names::ProjectName;
use tidewater_model::query::{QueryRequest, ResolveContext, resolve};

use super::*;
use crate::questions::RollupUse;

const NOW: Timestamp = Timestamp(1_767_225_600_000_000);
const RAW: RawFacts = RawFacts { rows: 1_000_000, bytes: 100_000_000, distinct: BTreeMap::new() };

fn dataset(rollups: &Value) -> Arc<Dataset> {
    let definition = json!({"time": "ts",
        "columns": {"channel": "string", "user": "string", "page": "string", "robot": "bool", "added": "int", "props": "map"},
        "metrics": {"edits": {"agg": "count"}, "added": {"agg": "sum", "column": "added"},
            "mean": {"agg": "avg", "column": "added"}, "editors": {"agg": "uniq", "column": "user"},
            "robots": {"agg": "count", "filters": [["is", "robot", [true]]]}},
        "rollups": rollups});
    let definition = DatasetDefinition::from_json(definition.to_string().as_bytes()).expect("a definition");
    Arc::new(Dataset::compile("edits", definition).expect("a dataset"))
}

fn need(dataset: &Arc<Dataset>, question: &Value) -> Result<Need, Unserved> {
    let mut whole = json!({"dataset": "edits", "metrics": ["edits"], "date_range": "30d"});
    for (member, value) in question.as_object().expect("an object") {
        whole[member] = value.clone();
    }
    let context = ResolveContext {
        dataset: Arc::clone(dataset),
        project: ProjectName::new("p").expect("a name"),
        now: NOW,
        first_row: &|| None,
    };
    let request = QueryRequest::from_json(&whole).expect("a question");
    Need::of(&resolve(&request, &context).expect("it resolves"))
}

/// Groups: each column multiplies them, each finer tier too.
fn groups(dataset: &Dataset, dimensions: &BTreeSet<ColumnRef>, tier: Tier) -> Groups {
    let values = |column: &ColumnRef| match dataset.display(column).as_str() {
        "channel" => 20,
        "robot" => 2,
        "page" => 300,
        _ => 50_000,
    };
    let buckets = match tier {
        Tier::Minute => 43_200,
        Tier::Minutes5 => 8_640,
        Tier::Hour => 720,
        Tier::Day => 30,
    };
    let rows = dimensions.iter().map(values).product::<u64>().saturating_mul(buckets).min(RAW.rows);
    Groups { rows, sample: Sample { rows: 1_000, groups: rows / 1_000, quarter: None } }
}

fn ask(rollups: &Value, uses: &Uses, questions: &[(Value, u64)]) -> Advice {
    let dataset = dataset(rollups);
    let facts = |(question, raw_us): &(Value, u64)| QuestionFacts {
        need: need(&dataset, question),
        asked: 1,
        raw_us: *raw_us,
        last_asked: NOW,
    };
    let questions: Vec<QuestionFacts> = questions.iter().map(facts).collect();
    let mut count = |dimensions: &BTreeSet<ColumnRef>, tier| Some(groups(&dataset, dimensions, tier));
    advise(&dataset, &questions, uses, &RAW, &mut count)
}

fn suggested(advice: &Advice) -> Vec<Value> {
    let rollup = |suggestion: &Suggestion| json!(suggestion.definition.rollups[0]);
    advice.suggestions.iter().map(rollup).collect()
}

#[test]
fn a_roll_up_is_suggested_with_grouped_and_filtered_columns() {
    let question = json!({"dimensions": ["time:hour", "channel"], "metrics": ["added", "editors"],
        "filters": [["is", "robot", [false]]]});
    let advice = ask(
        &json!([]),
        &Uses::new(),
        &[(question, 700), (json!({"exact": true, "metrics": ["editors"]}), 300)],
    );
    let expected = json!({"name": "channel_robot", "dimensions": ["channel", "robot"], "metrics": ["added", "editors"],
        "tiers": ["1h"]});
    assert_eq!(suggested(&advice), [expected]);
    let suggestion = &advice.suggestions[0];
    assert_eq!((suggestion.questions, suggestion.raw_us, suggestion.widens), (1, 700, false));
    assert_eq!((advice.raw_us, advice.covered_us), (1_000, 0));
    assert_eq!(advice.unserved, [(Unserved::Exact, 1, 300)]);
}

#[test]
fn what_a_declared_roll_up_covers_is_not_advised() {
    let rollups = json!([{"name": "channels", "dimensions": ["channel", "robot"], "metrics": ["mean", "robots"], "tiers": ["1h"]}]);
    let covered = [
        json!({"dimensions": ["time:hour", "channel"]}),
        json!({"dimensions": ["time:day", "robot"], "metrics": ["added", "mean"]}),
        json!({"filters": [["is", "channel", ["a"]]], "metrics": ["robots"], "timezone": "America/New_York"}),
        json!({"dimensions": ["time:month"], "timezone": "Asia/Tokyo"}),
        json!({"metrics": [{"agg": "sum", "column": "added", "filters": [["is", "robot", [false]]]}]}),
    ];
    for question in covered {
        let advice = ask(&rollups, &Uses::new(), &[(question.clone(), 9)]);
        assert_eq!((suggested(&advice), advice.covered_us), (vec![], 9), "{question}");
    }
    let open = [
        json!({"dimensions": ["time:minute", "channel"]}),
        json!({"dimensions": ["time:hour", "page"]}),
        json!({"metrics": ["editors"]}),
        json!({"metrics": ["edits", {"agg": "count", "filters": [["is", "page", ["x"]]]}]}),
        json!({"dimensions": ["time:day"], "timezone": "Asia/Kolkata"}),
    ];
    for question in open {
        let advice = ask(&rollups, &Uses::new(), &[(question.clone(), 9)]);
        assert_eq!(
            (advice.suggestions.len() + advice.not_paying.len(), advice.covered_us),
            (1, 0),
            "{question}"
        );
    }
}

#[test]
fn the_tier_follows_bucket_zone_and_range() {
    let dataset = dataset(&json!([]));
    let cases = [
        (json!({"dimensions": ["time:minute"]}), Tier::Minute),
        (json!({"dimensions": ["time:30m"]}), Tier::Minutes5),
        (json!({"dimensions": ["time:hour"]}), Tier::Hour),
        (json!({"dimensions": ["time:hour"], "timezone": "Asia/Kathmandu"}), Tier::Minutes5),
        (json!({"dimensions": ["time:week"]}), Tier::Day),
        (json!({"dimensions": ["time:day"], "timezone": "Europe/Berlin"}), Tier::Hour),
        (json!({"date_range": "1h"}), Tier::Minute),
        (json!({"date_range": "24h"}), Tier::Hour),
        (json!({"date_range": "90d"}), Tier::Day),
    ];
    for (question, tier) in cases {
        assert_eq!(need(&dataset, &question).map(|need| need.tier), Ok(tier), "{question}");
    }
    let unserved = [
        (json!({"filters": [["gt", "ts", "2026-01-01T00:00:00Z"]]}), Unserved::TimeFilter),
        (json!({"filters": [["exists", "props"]]}), Unserved::WholeMap),
    ];
    for (question, reason) in unserved {
        assert_eq!(need(&dataset, &question), Err(reason), "{question}");
    }
}

#[test]
fn similar_candidates_merge_and_distant_ones_do_not() {
    let by = |columns: &[&str]| {
        let dimensions: Vec<&str> = [&["time:day"], columns].concat();
        json!({"dimensions": dimensions, "metrics": ["editors"]})
    };
    let advice = ask(
        &json!([]),
        &Uses::new(),
        &[
            (by(&["channel"]), 500),
            (by(&["channel", "robot"]), 300),
            (by(&["page"]), 200),
            (json!({"dimensions": ["time:hour"]}), 100),
        ],
    );
    let names: Vec<&str> =
        advice.suggestions.iter().map(|suggestion| suggestion.definition.rollups[0].name.as_str()).collect();
    assert_eq!(names, ["channel_robot", "page", "totals"], "{advice:#?}");
    assert_eq!((advice.suggestions[0].questions, advice.suggestions[0].raw_us), (2, 800));
}

#[test]
fn what_does_not_pay_is_said_and_not_suggested() {
    let advice = ask(
        &json!([]),
        &Uses::new(),
        &[(json!({"dimensions": ["time:minute", "user"], "metrics": ["added", "editors"]}), 100)],
    );
    assert!(advice.suggestions.is_empty());
    assert!(advice.not_paying[0].tiers.iter().all(|tier| !tier.pays && tier.rows == RAW.rows));
    let few_bytes = json!({"dimensions": ["time:minute", "user"]});
    let advice = ask(&json!([]), &Uses::new(), &[(few_bytes, 100)]);
    let tier = advice.not_paying[0].tiers[0];
    assert!(tier.bytes < RAW.bytes / 10 && !tier.pays, "as many groups as rows: {tier:?}");
}

#[test]
fn a_roll_up_with_the_same_columns_is_widened() {
    let rollups =
        json!([{"name": "channels", "dimensions": ["channel"], "metrics": ["edits"], "tiers": ["1d"]}]);
    let question = json!({"dimensions": ["time:hour", "channel"], "metrics": [{"agg": "p95", "column": "added"},
        {"agg": "max", "column": "added", "filters": [["is", "page", ["x"]]]}]});
    let advice = ask(&rollups, &Uses::new(), &[(question, 5)]);
    assert!(advice.suggestions[0].widens);
    let definition = json!(advice.suggestions[0].definition);
    assert_eq!(
        definition,
        json!({"metrics": {"p95_added": {"agg": "p95", "column": "added"},
                "max_added_where": {"agg": "max", "column": "added", "filters": [["is", "page", ["x"]]]}},
            "rollups": [{"name": "channels", "dimensions": ["channel"], "metrics": ["edits", "p95_added", "max_added_where"],
                "tiers": ["1h", "1d"]}]})
    );
    let addition = DatasetDefinition::from_json(definition.to_string().as_bytes()).expect("it reads");
    dataset(&rollups).widen(addition).expect("it is accepted");
}

#[test]
fn unused_roll_ups_are_named_once_questions_were_asked() {
    let rollups =
        json!([{"name": "one", "dimensions": ["channel"]}, {"name": "two", "dimensions": ["page"]}]);
    let uses = |since, used| RollupUse { since: Timestamp(since), last_used: None, used };
    let watched: Uses = [("one".to_owned(), uses(5, 3)), ("two".to_owned(), uses(7, 0))].into();
    let question = [(json!({"dimensions": ["channel"]}), 1)];
    assert_eq!(
        ask(&rollups, &watched, &question).unused,
        [Unused { rollup: "two".to_owned(), since: Timestamp(7) }]
    );
    assert_eq!(ask(&rollups, &watched, &[]).unused, []);
    let later: Uses = [("two".to_owned(), uses(NOW.0 + 1, 0))].into();
    assert_eq!(ask(&rollups, &later, &question).unused, [], "nobody asked since it is watched");
}

#[test]
fn groups_grow_with_buckets_and_within_them() {
    let whole = Sample { rows: 1_000, groups: 50, quarter: None };
    assert_eq!(groups_in_all(&whole, 100_000, 7), 5_000);
    // Every value has been seen in the first quarter: a whole bucket has no more.
    let saturated = Sample { rows: 1_000, groups: 50, quarter: Some((250, 50)) };
    assert_eq!(groups_in_all(&saturated, 1_000_000, 10), 500);
    // Each row is a group of its own.
    let distinct = Sample { rows: 1_000, groups: 1_000, quarter: Some((250, 250)) };
    assert_eq!(groups_in_all(&distinct, 1_000_000, 10), 1_000_000);
    // Half as many again for four times the rows: a power between the two.
    let growing = Sample { rows: 1_000, groups: 300, quarter: Some((250, 200)) };
    let estimated = groups_in_all(&growing, 160_000, 10);
    assert!((6_700..6_800).contains(&estimated), "{estimated}");
    assert_eq!(groups_in_all(&Sample { rows: 0, groups: 0, quarter: None }, 10, 1), 0);
}

#[test]
fn few_values_make_small_states() {
    let question = json!({"dimensions": ["time:day", "channel"], "metrics": ["editors"]});
    let dataset = dataset(&json!([]));
    let need = need(&dataset, &question).expect("it can be served");
    let user = need.measures[0].column.clone().expect("it has a column");
    let bytes = |distinct: &[(ColumnRef, u64)]| {
        let raw = RawFacts { distinct: distinct.iter().cloned().collect(), ..RAW };
        section_bytes(600, &raw, &need.dimensions, &need.measures)
    };
    assert!(bytes(&[]) > 600 * 10_000, "nothing is known of the column");
    assert!((600 * 40..600 * 100).contains(&bytes(&[(user.clone(), 7)])));
    assert!((600 * 1_000..600 * 9_000).contains(&bytes(&[(user, 700)])));
}
