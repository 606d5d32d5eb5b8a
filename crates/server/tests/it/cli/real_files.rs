//! `import --create` of recorded files, held to counts another engine computed. Skips, saying so, without `TIDEWATER_REAL_DATA`.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{printed, verb};
use crate::server::Server;

fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("TIDEWATER_REAL_DATA").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("skipped: TIDEWATER_REAL_DATA is not set");
    }
    folder
}

#[test]
fn recorded_files_import_as_they_are() {
    let Some(folder) = folder() else { return };
    let folder = folder.canonicalize().expect("the folder is there");
    let server = Server::start();
    let import = |file: &str, arguments: &[&str]| {
        let path = folder.join(file);
        let path = path.to_str().expect("a UTF-8 path");
        printed(verb(&server, &[&["import", path, "--create", "-d"], arguments].concat()));
    };
    import(
        "llm/azure_code_2023.csv",
        &["azure", "--map", "input_tokens=ContextTokens", "--map", "output_tokens=GeneratedTokens"],
    );
    import("web/wikiticker.ndjson.gz", &["wiki"]);
    import("web/nasa.tsv.gz", &["nasa", "--set", "site=ksc"]);
    import("web/gh_events.ndjson.gz", &["github"]);
    import("machines/elasticoffee.ndjson.gz", &["coffee"]);
    import("machines/nab/machine_temperature_system_failure.csv", &["nab"]);
    let truth: Value =
        serde_json::from_slice(&std::fs::read(folder.join("truth.json")).expect("read")).expect("JSON");
    let cases = [
        (
            "azure",
            "azure.totals",
            vec![json!({"agg": "count"}), sum("input_tokens"), sum("output_tokens"), max("input_tokens")],
        ),
        (
            "wiki",
            "wikiticker.totals",
            vec![json!({"agg": "count"}), sum("added"), sum("deleted"), sum("delta")],
        ),
        (
            "nasa",
            "nasa.totals",
            vec![json!({"agg": "count"}), json!({"agg": "uniq", "column": "host"}), sum("bytes")],
        ),
    ];
    for (dataset, name, metrics) in cases {
        let question = json!({"dataset": dataset, "date_range": "all", "metrics": metrics, "exact": true});
        let expected: Vec<Value> =
            truth[name]["rows"][0].as_array().expect("a row")[..metrics.len()].to_vec();
        assert_eq!(server.query(&question)["results"][0]["metrics"], json!(expected), "{name}");
    }
}

fn sum(column: &str) -> Value {
    json!({"agg": "sum", "column": column})
}

fn max(column: &str) -> Value {
    json!({"agg": "max", "column": column})
}
