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
    for open in ["/", "/docs", "/health/live", "/health/ready", "/metrics", "/api/v1/openapi.json"] {
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
    assert_eq!(projects["projects"], json!(["red"]));
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
fn a_revoked_key_is_refused_at_once() {
    let server = server_with_edits(3);
    let body = json!({"name": "brief", "project": null, "scopes": ["query"]});
    let made = server.post("/api/v1/keys", &body).expect(201).json();
    let (id, key) = (made["id"].as_str().expect("an id"), made["key"].as_str().expect("a key"));
    let question =
        json!({"dataset": "edits", "metrics": ["edits"], "date_range": "all", "max_staleness_ms": 60_000});
    let ask = || server.request("POST", "/api/v1/query").key(Some(key)).json(&question).send();
    ask().expect(200);
    // Now the written reply is kept.
    assert_eq!(ask().expect(200).header("x-cache"), Some("hit"));
    server.delete(&format!("/api/v1/keys/{id}")).expect(204);
    ask().problem(401, "invalid_credentials");
}

#[test]
fn a_rotated_key_has_another_secret() {
    let server = server_with_edits(1);
    let body = json!({"name": "k", "project": "red", "scopes": ["query"]});
    let made = server.post("/api/v1/keys", &body).expect(201).json();
    let (id, first) = (made["id"].as_str().expect("an id"), made["key"].as_str().expect("a key"));
    let ask = |key: &str| server.request("GET", "/api/v1/datasets").key(Some(key)).send().status;
    let rotate = |body| server.post(&format!("/api/v1/keys/{id}/rotate"), &body);
    let rotated = rotate(json!({"grace_s": 3_600})).expect(200).json();
    let second = rotated["key"].as_str().expect("a key");
    assert_eq!((ask(first), ask(second)), (200, 200), "both are good for an hour");
    let listed = server.get("/api/v1/keys").json();
    let listed = listed["keys"].as_array().expect("keys").iter().find(|key| key["id"] == id).cloned();
    let listed = listed.expect("it is listed once");
    assert!(listed["replaced_secret_until"].is_string() && listed["last_used_at"].is_string(), "{listed}");
    let rotated = server.post(&format!("/api/v1/keys/{id}/rotate"), &json!({})).expect(200).json();
    let third = rotated["key"].as_str().expect("a key");
    assert_eq!(
        (ask(first), ask(second), ask(third)),
        (401, 401, 200),
        "without grace the old one ends at once"
    );
    rotate(json!({"grace_s": 99_999_999})).problem(400, "limit_exceeded");
    let red = server.create_key(Some("blue"), &["admin"]);
    let path = format!("/api/v1/keys/{id}/rotate");
    server.request("POST", &path).key(Some(&red)).json(&json!({})).send().problem(404, "unknown_key");
    let log = server.log();
    assert!([first, second, third].iter().all(|secret| !log.contains(secret)), "no secret is logged");
}

#[test]
fn a_publishable_key_sends_rows_from_its_pages_only() {
    let server = server_with_edits(1);
    let body = json!({"name": "web", "project": "web", "scopes": ["ingest"], "publishable": true,
        "origins": ["https://example.org", "http://localhost:3000"]});
    let made = server.post("/api/v1/keys", &body).expect(201).json();
    assert_eq!(made["publishable"], true);
    let key = made["key"].as_str().expect("a key");
    let send = |method: &str, path: &str, origin: Option<&str>| {
        let request = server.request(method, path).key(Some(key)).json(&json!({"channel": "a"}));
        match origin {
            Some(origin) => request.header("origin", origin).send(),
            None => request.send(),
        }
    };
    let ingest = |origin| send("POST", "/api/v1/ingest/edits", origin);
    ingest(Some("https://example.org")).expect(200);
    ingest(Some("http://localhost:3000")).expect(200);
    for wrong in [
        None,
        Some("https://example.org.evil.net"),
        Some("http://example.org"),
        Some("null"),
        Some("https://example.org:8443"),
    ] {
        ingest(wrong).problem(403, "wrong_origin");
    }
    send("GET", "/api/v1/datasets", Some("https://example.org")).problem(403, "missing_scope");
    send("POST", "/api/v1/ingest/edits?project=other", Some("https://example.org"))
        .problem(403, "wrong_project");
}

#[test]
fn nobody_makes_a_key_with_more_than_they_have() {
    let server = Server::start();
    let admin = server.create_key(Some("red"), &["admin"]);
    let body = json!({"name": "k", "project": "red", "scopes": ["admin"]});
    server.request("POST", "/api/v1/keys").key(Some(&admin)).json(&body).send().expect(201);
    let body = json!({"name": "k", "scopes": ["query"]});
    server.request("POST", "/api/v1/keys").key(Some(&admin)).json(&body).send().problem(403, "wrong_project");
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
        (json!({"name": "k", "scopes": ["query"], "role": "king"}), "invalid_value"),
        (json!({"name": "k", "scopes": ["admin"], "role": "viewer"}), "invalid_value"),
        (json!({"name": "k", "scopes": ["admin"], "filters": [["is", "user", ["a"]]]}), "invalid_value"),
        (json!({"name": "k", "scopes": ["query"], "filters": ["user"]}), "invalid_filter"),
        (json!({"name": "k", "scopes": ["ingest"], "project": "p", "publishable": true}), "missing_field"),
        (
            json!({"name": "k", "scopes": ["ingest"], "project": "p", "origins": ["https://a.b"]}),
            "missing_field",
        ),
        (
            json!({"name": "k", "scopes": ["ingest"], "publishable": true, "origins": ["https://a.b"]}),
            "invalid_value",
        ),
        (
            json!({"name": "k", "scopes": ["ingest"], "project": "p", "publishable": true, "origins": ["*"]}),
            "invalid_value",
        ),
    ];
    for (body, code) in cases {
        server.post("/api/v1/keys", &body).problem(400, code);
    }
}
