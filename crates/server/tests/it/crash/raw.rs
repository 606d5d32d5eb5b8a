//! Raw rows through crashes.

use std::collections::BTreeMap;

use serde_json::json;

use super::{Load, Torture, all_rows, batch_rows, crashes, number};

fn body(writer: usize, batch: u64) -> String {
    const START_S: u64 = 1_760_000_000;
    (0..batch_rows(writer, batch))
        .map(|row| {
            // Times spread over four days, so that a flush writes several segments.
            let ts = START_S + (batch * 7_919 + row * 104_729) % (4 * 86_400);
            format!("{{\"ts\":{ts},\"id\":\"{writer}-{batch}-{row}\",\"writer\":{writer},\"batch\":{batch},\"row\":{row}}}\n")
        })
        .collect()
}

fn check(torture: &Torture, crash: usize) {
    let question = json!({"dataset": "crash", "date_range": "all", "exact": true, "dimensions": ["writer", "batch"],
                          "metrics": [{"agg": "count"}, {"agg": "uniq", "column": "id"}],
                          "pagination": {"limit": 10_000}});
    let rows = all_rows(&torture.server, question);
    let found: BTreeMap<_, _> = rows
        .iter()
        .map(|(dimensions, metrics)| {
            ((number(&dimensions[0]), number(&dimensions[1])), (number(&metrics[0]), number(&metrics[1])))
        })
        .collect();
    torture.check_batches(&found, crash);
}

#[test]
fn a_killed_server_loses_nothing_acknowledged_and_counts_nothing_twice() {
    let crashes = crashes();
    let mut torture = Torture::new(Load { dataset: "crash", body }, &[]);
    let definition = json!({"time": "ts", "id": "id", "sort": ["writer"],
                            "columns": {"id": "string", "writer": "int", "batch": "int", "row": "int"}});
    assert!(torture.server.put("/api/v1/datasets/crash", &definition).status < 300);
    for crash in 0..crashes {
        torture.crash();
        if crash % 10 == 9 || crash + 1 == crashes {
            check(&torture, crash);
        }
    }
    let acknowledged = torture.acknowledged();
    assert!(acknowledged > crashes, "the writers got {acknowledged} batches through {crashes} crashes");
    eprintln!("{crashes} crashes, {acknowledged} acknowledged batches");
}
