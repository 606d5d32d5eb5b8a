//! Who may call what: every route × every kind of credential × the own project and another one, against one table. A route that
//! is in the router and not in the table fails the test.

use serde_json::{Value, json};

use crate::jwt::{SECRET, token};
use crate::server::{ADMIN_KEY, Server, edits};

/// A route with a harmless request to it, and what it takes to call it.
struct Route {
    method: &'static str,
    /// As the OpenAPI document writes it.
    path: &'static str,
    /// Its parameters filled in: names of things that are not there, where something would be ended.
    filled: &'static str,
    body: &'static str,
    needs: Needs,
}

/// What it takes to call a route.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Needs {
    /// No credential.
    Nothing,
    /// A permission, for any project.
    Permission(&'static str),
    /// A permission and the reach of all projects: what it touches belongs to all.
    AllProjects(&'static str),
}

use Needs::{AllProjects, Nothing, Permission};

const fn route(
    (method, path): (&'static str, &'static str),
    filled: &'static str,
    body: &'static str,
    needs: Needs,
) -> Route {
    Route { method, path, filled, body, needs }
}

const QUESTION: &str = r#"{"dataset": "edits", "metrics": ["cost"], "date_range": "1h"}"#;
const PROJECT: &str = "/api/v1/projects/{name}";
const DATASET: &str = "/api/v1/datasets/{name}";

/// Every route there is.
const ROUTES: &[Route] = &[
    route(("GET", "/"), "/", "", Nothing),
    route(("GET", "/docs"), "/docs", "", Nothing),
    route(("GET", "/health/live"), "/health/live", "", Nothing),
    route(("GET", "/health/ready"), "/health/ready", "", Nothing),
    route(("GET", "/metrics"), "/metrics", "", Nothing),
    route(("GET", "/api/v1/openapi.json"), "/api/v1/openapi.json", "", Nothing),
    route(
        ("POST", "/api/v1/ingest/{dataset}"),
        "/api/v1/ingest/edits",
        r#"{"channel": "a"}"#,
        Permission("ingest"),
    ),
    route(("POST", "/api/v1/query"), "/api/v1/query", QUESTION, Permission("query")),
    route(("GET", "/api/v1/query"), "/api/v1/query?dataset=edits&metrics=cost", "", Permission("query")),
    route(("POST", "/api/v1/query/batch"), "/api/v1/query/batch", r#"{"queries": []}"#, Permission("query")),
    route(("POST", "/api/v1/rows"), "/api/v1/rows", r#"{"dataset": "edits"}"#, Permission("rows")),
    route(
        ("POST", "/api/v1/rows/delete"),
        "/api/v1/rows/delete",
        r#"{"dataset": "edits", "filters": [["is", "channel", ["none"]]]}"#,
        Permission("delete"),
    ),
    route(("GET", "/api/v1/jobs/{id}"), "/api/v1/jobs/none", "", Permission("delete")),
    route(("GET", "/api/v1/datasets"), "/api/v1/datasets", "", Permission("schema")),
    route(("GET", DATASET), "/api/v1/datasets/edits", "", Permission("schema")),
    route(("PUT", DATASET), "/api/v1/datasets/edits", r#"{"time": "ts"}"#, AllProjects("define")),
    route(("DELETE", DATASET), "/api/v1/datasets/none", "", AllProjects("define")),
    route(("POST", "/api/v1/projects"), "/api/v1/projects", r#"{"name": "red"}"#, Permission("projects")),
    route(("GET", PROJECT), "/api/v1/projects/none", "", Permission("schema")),
    route(("PATCH", PROJECT), "/api/v1/projects/none", r#"{"title": "None"}"#, Permission("projects")),
    route(("DELETE", PROJECT), "/api/v1/projects/none", "", Permission("projects")),
    route(("GET", "/api/v1/projects"), "/api/v1/projects", "", Permission("schema")),
    route(("GET", "/api/v1/status"), "/api/v1/status", "", Permission("status")),
    route(("GET", "/api/v1/keys"), "/api/v1/keys", "", Permission("keys")),
    route(
        ("POST", "/api/v1/keys"),
        "/api/v1/keys",
        r#"{"name": "k", "project": "red", "scopes": ["query"]}"#,
        Permission("keys"),
    ),
    route(("DELETE", "/api/v1/keys/{id}"), "/api/v1/keys/none", "", Permission("keys")),
    route(("POST", "/api/v1/keys/{id}/rotate"), "/api/v1/keys/none/rotate", "{}", Permission("keys")),
    route(("GET", "/api/v1/ingest/rejects"), "/api/v1/ingest/rejects", "", Permission("operate")),
    route(("GET", "/api/v1/queries"), "/api/v1/queries", "", Permission("operate")),
    route(("DELETE", "/api/v1/queries/{id}"), "/api/v1/queries/99999999", "", Permission("operate")),
    route(("GET", "/api/v1/advisor"), "/api/v1/advisor", "", Permission("operate")),
    route(("GET", "/api/v1/performance"), "/api/v1/performance", "", Permission("operate")),
    route(("GET", "/api/v1/performance/queries"), "/api/v1/performance/queries", "", Permission("operate")),
    route(("GET", "/api/v1/performance/ingest"), "/api/v1/performance/ingest", "", Permission("operate")),
    route(("GET", "/api/v1/performance/cache"), "/api/v1/performance/cache", "", AllProjects("operate")),
    route(
        ("GET", "/api/v1/performance/database"),
        "/api/v1/performance/database",
        "",
        AllProjects("operate"),
    ),
    route(("POST", "/api/v1/performance/reset"), "/api/v1/performance/reset", "", Permission("operate")),
    route(("GET", "/api/v1/rollups"), "/api/v1/rollups", "", AllProjects("operate")),
    route(("POST", "/api/v1/backup"), "/api/v1/backup", "{}", AllProjects("operate")),
    route(("GET", "/api/v1/verify"), "/api/v1/verify", "", AllProjects("operate")),
];

/// A kind of credential and the permissions it has; `None` for all.
struct Kind {
    name: &'static str,
    secret: String,
    permissions: Option<&'static [&'static str]>,
    is_bound: bool,
}

fn kinds(server: &Server) -> Vec<Kind> {
    const READS: &[&str] = &["query", "rows", "schema", "status"];
    let key = |project: Option<&str>, scopes: &[&str], role: Option<&str>| {
        let body = json!({"name": "k", "project": project, "scopes": scopes, "role": role});
        let made = server.post("/api/v1/keys", &body).expect(201).json();
        made["key"].as_str().expect("a secret").to_owned()
    };
    let mut kinds =
        vec![Kind { name: "first key", secret: ADMIN_KEY.to_owned(), permissions: None, is_bound: false }];
    for project in [None, Some("red")] {
        let mut add = |name, scopes: &[&str], role, permissions| {
            let (secret, is_bound) = (key(project, scopes, role), project.is_some());
            kinds.push(Kind { name, secret, permissions, is_bound });
        };
        add("ingest key", &["ingest"], None, Some(&["ingest"][..]));
        add("query key", &["query"], None, Some(READS));
        add(
            "ingest and query key",
            &["ingest", "query"],
            None,
            Some(&["ingest", "query", "rows", "schema", "status"][..]),
        );
        add("admin key", &["admin"], None, None);
        add("developer key", &["query"], Some("developer"), Some(READS));
        add("viewer key", &["query"], Some("viewer"), Some(&["query", "rows", "schema"][..]));
        add("billing key", &["query"], Some("billing"), Some(&["query", "schema"][..]));
    }
    for projects in [json!("*"), json!(["red"])] {
        let mut add = |name, role: &str, permissions| {
            let secret = token(json!({"role": role, "projects": projects}));
            kinds.push(Kind { name, secret, permissions, is_bound: projects != "*" });
        };
        add("admin JWT", "admin", None);
        add("developer JWT", "developer", Some(&["ingest", "query", "rows", "schema", "status"][..]));
        add("viewer JWT", "viewer", Some(&["query", "rows", "schema"][..]));
        add("billing JWT", "billing", Some(&["query", "schema"][..]));
    }
    kinds
}

/// The status and code that a request of `kind` should get; `None` where it should be let in.
fn expected(route: &Route, kind: &Kind, is_other_project: bool) -> Option<(u16, &'static str)> {
    let (Permission(name) | AllProjects(name)) = route.needs else { return None };
    if is_other_project && kind.is_bound {
        return Some((403, "wrong_project"));
    }
    if kind.permissions.is_some_and(|permissions| !permissions.contains(&name)) {
        return Some((403, "missing_scope"));
    }
    (kind.is_bound && matches!(route.needs, AllProjects(_))).then_some((403, "wrong_project"))
}

fn send(server: &Server, route: &Route, key: Option<&str>, project: Option<&str>) -> (u16, Value) {
    let request = server.request(route.method, route.filled).key(key);
    let request = match project {
        None => request,
        Some(project) => request.header("x-project", project),
    };
    let request =
        if route.body.is_empty() { request } else { request.body("application/json", route.body.as_bytes()) };
    let reply = request.send();
    (reply.status, serde_json::from_slice(&reply.body).unwrap_or(Value::Null))
}

#[test]
fn every_route_lets_in_whom_it_should() {
    let server = Server::start_with(&[("TIDEWATER_AUTH__JWT__SECRET", SECRET)]);
    let mut dataset = edits();
    dataset["metrics"]["cost"]["cost"] = json!(true);
    server.put("/api/v1/datasets/edits", &dataset).expect(201);
    let kinds = kinds(&server);
    for route in ROUTES {
        let name = format!("{} {}", route.method, route.path);
        let (status, problem) = send(&server, route, None, None);
        let is_open = route.needs == Nothing;
        assert_eq!(status == 401, !is_open, "{name} without a credential: {status} {problem}");
        if !is_open {
            assert_eq!(send(&server, route, Some("tw_nobody"), None).0, 401, "{name} with an unknown key");
        }
        for kind in &kinds {
            for project in [None, Some("red"), Some("blue")] {
                let (status, problem) = send(&server, route, Some(&kind.secret), project);
                let seen =
                    matches!(status, 401 | 403).then(|| (status, problem["code"].as_str().unwrap_or("?")));
                let bound = if kind.is_bound { "of project red" } else { "of all projects" };
                let said =
                    format!("{name} with a {} {bound}, naming {project:?}: {status} {problem}", kind.name);
                assert_eq!(seen, expected(route, kind, project == Some("blue")), "{said}");
                assert!(status < 500, "{said}");
            }
        }
    }
}

#[test]
fn every_route_stands_in_the_table() {
    let server = Server::start();
    let document = server.get("/api/v1/openapi.json").json();
    let mut known: Vec<(String, String)> = Vec::new();
    for (path, operations) in document["paths"].as_object().expect("paths") {
        let methods = operations.as_object().expect("operations").keys();
        known.extend(
            methods
                .filter(|method| *method != "parameters")
                .map(|method| (method.to_uppercase(), path.clone())),
        );
    }
    let mut listed: Vec<(String, String)> =
        ROUTES.iter().map(|route| (route.method.to_owned(), route.path.to_owned())).collect();
    known.sort();
    listed.sort();
    assert_eq!(known, listed, "left: routes of the server, right: rows of the table");
    // `routes!` puts a handler into the document; a plain route would pass this test unseen.
    let router = include_str!("../../src/router.rs");
    assert!(!router.contains(".route("), "every route of router.rs is added with `.routes(routes!(…))`");
    assert!(!router.contains(".nest_service(") && !router.contains(".route_service("));
}
