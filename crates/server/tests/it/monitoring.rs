//! `deploy/prometheus` and `deploy/grafana` against the real thing: rules are checked and unit-tested by promtool, and a real
//! Prometheus scrapes a real server, so that a metric which does not exist is noticed wherever it is named.
//!
//! Needs `promtool` and `prometheus` (Debian's package `prometheus` has both); see `tools`.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::server::{Server, edit_rows, server_with_edits};
use crate::tools::{find, repository, succeed};

/// What may stand in an alert's expression besides names of series. Anything else must be one that Prometheus holds.
const PROMQL_WORDS: [&str; 13] = [
    "sum",
    "by",
    "on",
    "group_left",
    "and",
    "or",
    "rate",
    "increase",
    "changes",
    "absent",
    "job",
    "instance",
    "reason",
];

fn prometheus_folder() -> PathBuf {
    repository().join("deploy/prometheus")
}

#[test]
fn every_alert_fires_alone_and_resolves() {
    let Some(promtool) = find("promtool", "TIDEWATER_PROMTOOL") else { return };
    let folder = prometheus_folder();
    for rules in ["thresholds.yml", "recording.yml", "alerts.yml"] {
        succeed(Command::new(&promtool).args(["check", "rules"]).arg(folder.join(rules)));
    }
    succeed(Command::new(&promtool).args(["test", "rules"]).arg(folder.join("tests/alerts_test.yml")));
}

#[test]
fn rules_and_dashboard_find_their_series_in_a_real_server() {
    let Some(program) = find("prometheus", "TIDEWATER_PROMETHEUS") else { return };
    let server = server_with_edits(30);
    let prometheus = Prometheus::start(&program, &server);
    let names = |expression: &str| {
        // Counters count something, so that nothing is empty for want of events.
        traffic(&server);
        !prometheus.query(expression).is_empty()
    };
    let rules = prometheus.rules();
    for rule in rules.iter().filter(|rule| rule["type"] == "recording") {
        let name = rule["name"].as_str().expect("a rule has a name");
        server.wait_until(&format!("Prometheus records {name}: {}", rule["query"]), || names(name));
    }
    for (title, expression) in dashboard_expressions() {
        server
            .wait_until(&format!("the panel '{title}' shows something: {expression}"), || names(&expression));
    }
    alerts_are_sound(&prometheus);
}

/// No alert fires on a healthy server, every series it names is there, and its runbook has a section about it.
fn alerts_are_sound(prometheus: &Prometheus) {
    let known: BTreeSet<String> = prometheus.get("/api/v1/label/__name__/values")["data"]
        .as_array()
        .expect("a list of names")
        .iter()
        .map(|name| name.as_str().unwrap_or_default().to_owned())
        .collect();
    let runbook =
        std::fs::read_to_string(repository().join("docs/operations.md")).expect("the operator's guide");
    let rules = prometheus.rules();
    let alerts: Vec<&Value> = rules.iter().filter(|rule| rule["type"] == "alerting").collect();
    assert!(alerts.len() >= 16, "{}", alerts.len());
    for alert in alerts {
        let (name, expression) =
            (alert["name"].as_str().expect("a name"), alert["query"].as_str().expect("a query"));
        assert_eq!(alert["health"], "ok", "{alert:#}");
        assert_ne!(alert["state"], "firing", "{alert:#}");
        for word in series_and_words(expression) {
            assert!(
                known.contains(&word) || PROMQL_WORDS.contains(&word.as_str()),
                "{name} names {word}, which no server has"
            );
        }
        let anchor = alert["annotations"]["runbook"].as_str().unwrap_or_default();
        let section =
            anchor.strip_prefix("docs/operations.md#").unwrap_or_else(|| panic!("{name}: {anchor}"));
        let has_section =
            runbook.lines().any(|line| line.starts_with("### ") && line[4..].to_lowercase() == section);
        assert!(
            has_section && runbook.contains(&format!("`{name}`")),
            "docs/operations.md says nothing of {name}"
        );
    }
}

#[test]
fn words_of_an_expression_leave_out_what_is_quoted() {
    let words = series_and_words("increase(a_total{job=\"x\", le=~\"b.*\"}[10m]) > 0 and on() c:d:e5m");
    assert_eq!(words, ["increase", "a_total", "and", "on", "c:d:e5m"]);
}

/// Identifiers of a PromQL expression outside of `{…}` and `[…]`.
fn series_and_words(expression: &str) -> Vec<String> {
    let (mut depth, mut words, mut word) = (0_usize, Vec::new(), String::new());
    for character in expression.chars().chain([' ']) {
        match character {
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            _ => {}
        }
        if depth == 0 && (character.is_ascii_alphanumeric() || character == '_' || character == ':') {
            word.push(character);
        } else if !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
    }
    words.retain(|word| !word.starts_with(|first: char| first.is_ascii_digit()));
    words
}

/// Title and expression of every target of every panel and annotation, with Grafana's variables filled in.
fn dashboard_expressions() -> Vec<(String, String)> {
    let text =
        std::fs::read(repository().join("deploy/grafana/dashboards/tidewater.json")).expect("the dashboard");
    let dashboard: Value = serde_json::from_slice(&text).expect("the dashboard is JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut found = Vec::new();
    for panel in panels {
        for target in panel["targets"].as_array().into_iter().flatten() {
            assert_eq!(target["datasource"]["uid"], "tidewater-prometheus", "{panel:#}");
            let expression = target["expr"].as_str().expect("an expression");
            let expression = expression.replace("$instance", ".*").replace("$__rate_interval", "1m");
            assert!(!expression.contains('$'), "a variable that Grafana is not given: {expression}");
            found.push((panel["title"].as_str().expect("a title").to_owned(), expression));
        }
    }
    assert!(found.len() > 50, "{}", found.len());
    found
}

/// A little of everything that is counted, refusals included.
fn traffic(server: &Server) {
    server.ingest("edits", &edit_rows(2));
    server.ingest(
        "edits",
        &json!([{"ts": 1_767_225_600, "channel": "a"}, {"ts": 1_767_225_600, "added": "many"}]),
    );
    let question =
        json!({"dataset": "edits", "date_range": "all", "metrics": ["edits"], "dimensions": ["channel"]});
    server.query(&question);
    server.query(&question);
}

/// A Prometheus with the example's configuration, but this server as its target and a second between scrapes.
struct Prometheus {
    child: Child,
    url: String,
    agent: ureq::Agent,
}

impl Prometheus {
    fn start(program: &Path, server: &Server) -> Self {
        let folder = server.folder().join("prometheus");
        std::fs::create_dir(&folder).expect("a folder");
        let target = server.url.strip_prefix("http://").expect("an address");
        let example =
            std::fs::read_to_string(prometheus_folder().join("prometheus.yml")).expect("the example");
        let rules = prometheus_folder();
        let config = example
            .replace("/etc/prometheus/", &format!("{}/", rules.display()))
            .replace("targets: [tidewater:8321]", &format!("targets: ['{target}']"))
            .replace("_interval: 15s", "_interval: 1s");
        assert!(config.contains(target), "the example still has a target to replace");
        let path = folder.join("prometheus.yml");
        std::fs::write(&path, config).expect("written");
        let log = std::fs::File::create(folder.join("log.txt")).expect("a log file");
        let address = format!("127.0.0.1:{}", free_port());
        let mut command = Command::new(program);
        command
            .arg(format!("--config.file={}", path.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .current_dir(&folder)
            .stdout(Stdio::null())
            .stderr(log);
        let child = command.spawn().expect("Prometheus starts");
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let prometheus = Prometheus { child, url: format!("http://{address}"), agent };
        server.wait_until("Prometheus scrapes the server", || {
            prometheus
                .try_get("/api/v1/query?query=up")
                .is_some_and(|reply| reply["data"]["result"][0]["value"][1] == "1")
        });
        prometheus
    }

    fn try_get(&self, path: &str) -> Option<Value> {
        let mut response = self.agent.get(format!("{}{path}", self.url)).call().ok()?;
        serde_json::from_slice(&response.body_mut().read_to_vec().ok()?).ok()
    }

    fn get(&self, path: &str) -> Value {
        self.try_get(path).unwrap_or_else(|| panic!("Prometheus does not answer {path}"))
    }

    /// The series an expression gives now.
    fn query(&self, expression: &str) -> Vec<Value> {
        let reply = self.get(&format!("/api/v1/query?query={}", crate::talk::percent_encoded(expression)));
        assert_eq!(reply["status"], "success", "{expression}: {reply}");
        reply["data"]["result"].as_array().cloned().unwrap_or_default()
    }

    fn rules(&self) -> Vec<Value> {
        let groups =
            self.get("/api/v1/rules")["data"]["groups"].as_array().cloned().expect("groups of rules");
        groups.iter().flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default()).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // Both fail only when the process is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}
