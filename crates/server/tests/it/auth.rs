//! Who may do what: missing, wrong, expired and revoked keys, scopes, and keys bound to a project.

use serde_json::json;

use crate::server::{ADMIN_KEY, Server, edit_rows, edits, server_with_edits, stable};

#[test]
fn requests_need_a_known_key() {
    let server = Server::start();
    let ask = |key| server.request("GET", "/api/v1/datasets").key(key).send();
    let missing = ask(None).expect(401);
    assert_eq!(missing.header("www-authenticate"), Some("Bearer"));
    insta::assert_json_snapshot!("missing_key", stable(missing.json()));
    ask(Some("nonsense")).problem(401, "invalid_credentials");
    ask(Some(ADMIN_KEY)).expect(200);
    let with_header =
        server.request("GET", "/api/v1/datasets").key(None).header("x-api-key", ADMIN_KEY).send();
    with_header.expect(200);
    let basic =
        server.request("GET", "/api/v1/datasets").key(None).header("authorization", "Basic abc").send();
    basic.problem(401, "invalid_credentials");
    for open in ["/", "/health/live", "/health/ready", "/metrics", "/api/v1/openapi.json"] {
        server.request("GET", open).key(None).send().expect(200);
    }
}

#[test]
fn scopes_bound_what_a_key_may_do() {
    let server = server_with_edits(3);
    let question = json!({"dataset": "edits", "metrics": ["edits"], "date_range": "all"});
    let cases = [("ingest", [200, 403, 403]), ("query", [403, 200, 403]), ("admin", [200, 200, 200])];
    for (scope, [ingest, query, admin]) in cases {
        let key = server.create_key(None, &[scope]);
        let rows = edit_rows(1);
        let send = |method, path, body| server.request(method, path).key(Some(&key)).json(body).send().status;
        assert_eq!(send("POST", "/api/v1/ingest/edits", &rows), ingest, "{scope}");
        assert_eq!(send("POST", "/api/v1/query", &question), query, "{scope}");
        assert_eq!(send("PUT", "/api/v1/datasets/edits", &edits()), admin, "{scope}");
    }
}

#[test]
fn a_bound_key_sees_its_project_only() {
    let server = server_with_edits(5);
    let red = server.create_key(Some("red"), &["ingest", "query"]);
    let rows = edit_rows(2);
    let ingest = |path: &str| server.request("POST", path).key(Some(&red)).json(&rows).send();
    ingest("/api/v1/ingest/edits").expect(200);
    ingest("/api/v1/ingest/edits?project=red").expect(200);
    ingest("/api/v1/ingest/edits?project=blue").problem(403, "wrong_project");
    let with_header =
        server.request("POST", "/api/v1/ingest/edits").key(Some(&red)).header("x-project", "blue");
    with_header.json(&rows).send().problem(403, "wrong_project");

    let ask = |question| server.request("POST", "/api/v1/query").key(Some(&red)).json(&question).send();
    let own = ask(json!({"dataset": "edits", "metrics": ["edits"], "date_range": "all"})).expect(200).json();
    assert_eq!(own["results"][0]["metrics"][0], 2, "{own:#}");
    for member in ["project", "site_id"] {
        let question =
            json!({"dataset": "edits", "metrics": ["edits"], "date_range": "all", member: "default"});
        ask(question).problem(403, "wrong_project");
    }
    let in_url = server
        .request("GET", "/api/v1/query?dataset=edits&metrics=edits&project=default")
        .key(Some(&red))
        .send();
    in_url.problem(403, "wrong_project");
    let all = server
        .query(&json!({"dataset": "edits", "metrics": ["edits"], "date_range": "all", "project": "red"}));
    assert_eq!(all["results"][0]["metrics"][0], 2);
    let projects = server.request("GET", "/api/v1/projects").key(Some(&red)).send().expect(200).json();
    assert_eq!(projects, json!({"projects": ["red"]}));
}

#[test]
fn a_bound_admin_cannot_reach_past_its_project() {
    let server = server_with_edits(1);
    let admin = server.create_key(Some("red"), &["admin"]);
    let send = |method, path, body: serde_json::Value| {
        server.request(method, path).key(Some(&admin)).json(&body).send()
    };
    let key = |project: Option<&str>| json!({"name": "k", "project": project, "scopes": ["query"]});
    send("POST", "/api/v1/keys", key(Some("red"))).expect(201);
    send("POST", "/api/v1/keys", key(Some("blue"))).problem(403, "wrong_project");
    send("POST", "/api/v1/keys", key(None)).problem(403, "wrong_project");
    let delete = json!({"dataset": "edits", "project": "default", "date_range": "all"});
    send("POST", "/api/v1/rows/delete", delete).problem(403, "wrong_project");
    send("POST", "/api/v1/backup", json!({})).problem(403, "wrong_project");
}

#[test]
fn keys_expire_and_are_revoked() {
    let server = Server::start();
    let body =
        json!({"name": "old", "project": null, "scopes": ["query"], "expires_at": "2020-01-01T00:00:00Z"});
    let made = server.post("/api/v1/keys", &body).expect(201).json();
    let ask = |key: &str| server.request("GET", "/api/v1/datasets").key(Some(key)).send();
    ask(made["key"].as_str().expect("a key")).problem(401, "expired_credentials");

    let body = json!({"name": "new", "project": "red", "scopes": ["query", "ingest"]});
    let made = server.post("/api/v1/keys", &body).expect(201).json();
    insta::assert_json_snapshot!("created_key", stable(made.clone()));
    let key = made["key"].as_str().expect("a key");
    ask(key).expect(200);
    let list = server.get("/api/v1/keys").expect(200);
    assert!(!list.text().contains(key), "lists hold no secrets");
    assert_eq!(list.json()["keys"].as_array().map(Vec::len), Some(3));
    let path = format!("/api/v1/keys/{}", made["id"].as_str().expect("an id"));
    server.delete(&path).expect(204);
    ask(key).problem(401, "invalid_credentials");
    server.delete(&path).problem(404, "unknown_key");
    let server = server.restart();
    let ask = |key: &str| server.request("GET", "/api/v1/datasets").key(Some(key)).send();
    ask(key).problem(401, "invalid_credentials");
    assert_eq!(server.get("/api/v1/keys").json()["keys"].as_array().map(Vec::len), Some(2));
}

#[test]
fn malformed_key_requests_say_what_is_wrong() {
    let server = Server::start();
    let cases = [
        (json!({"name": "k", "scopes": []}), "missing_field"),
        (json!({"name": "k", "scopes": ["root"]}), "invalid_value"),
        (json!({"scopes": ["query"]}), "missing_field"),
        (json!({"name": "k", "scopes": ["query"], "project": "No Good"}), "invalid_name"),
        (json!({"name": "k", "scopes": ["query"], "expires_at": "soon"}), "invalid_time"),
        (json!({"name": "k", "scopes": ["query"], "color": "red"}), "unknown_field"),
    ];
    for (body, code) in cases {
        server.post("/api/v1/keys", &body).problem(400, code);
    }
}
