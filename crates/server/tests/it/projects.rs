//! Projects: created, listed, given a title, and deleted with everything they have.

use serde_json::{Value, json};

use crate::server::{Server, edit_rows, edits};

fn server() -> Server {
    let server = Server::start_with(&[
        ("TIDEWATER_STORE__FLUSH_INTERVAL_MS", "50"),
        ("TIDEWATER_STORE__MAINTENANCE_INTERVAL_MS", "50"),
    ]);
    let mut dataset = edits();
    dataset["rollups"] = json!([{"name": "channels", "dimensions": ["channel"], "tiers": ["1h", "1d"]}]);
    server.put("/api/v1/datasets/edits", &dataset).expect(201);
    server.put("/api/v1/datasets/pages", &json!({"time": "ts", "columns": {"page": "string"}})).expect(201);
    server
}

fn send(server: &Server, dataset: &str, project: &str, rows: &Value) {
    server.post(&format!("/api/v1/ingest/{dataset}?project={project}"), rows).expect(200);
}

fn edits_of(server: &Server, project: &str) -> Value {
    let question = json!({"dataset": "edits", "project": project, "metrics": ["edits"], "date_range": "all"});
    server.query(&question)["results"][0]["metrics"][0].clone()
}

fn wait_until_done(server: &Server, job: &str) -> Value {
    let state = || server.get(&format!("/api/v1/jobs/{job}")).expect(200).json()["job"].clone();
    server.wait_until("the project is deleted", || state()["status"] == "done");
    state()
}

#[test]
fn projects_are_created_and_given_titles() {
    let server = server();
    send(&server, "edits", "used", &edit_rows(1));
    let made =
        server.post("/api/v1/projects", &json!({"name": "web", "title": "Our Web Site"})).expect(201).json();
    assert_eq!((&made["title"], &made["state"]), (&json!("Our Web Site"), &json!("active")));
    for name in ["web", "used"] {
        server.post("/api/v1/projects", &json!({"name": name})).problem(409, "project_exists");
    }
    for name in ["", "Web", "../web", "a/b", "a b", &"x".repeat(65)] {
        server.post("/api/v1/projects", &json!({"name": name})).problem(400, "invalid_name");
    }
    let change = |body: Value| server.request("PATCH", "/api/v1/projects/web").json(&body).send();
    assert_eq!(change(json!({"title": "Shop"})).expect(200).json()["title"], "Shop");
    change(json!({"name": "shop"})).problem(400, "immutable_name");
    change(json!({})).problem(400, "missing_field");
    change(json!({"title": "a\u{7}b"})).problem(400, "invalid_value");
    change(json!({"title": "x".repeat(201)})).problem(400, "invalid_value");
    let server = server.restart();
    let list = server.get("/api/v1/projects").expect(200).json();
    assert_eq!(list["projects"], json!(["used", "web"]));
    assert_eq!(list["details"][1]["title"], "Shop");
    server.get("/api/v1/projects/none").problem(404, "unknown_project");
    server.delete("/api/v1/projects/none").problem(404, "unknown_project");
    let red = server.create_key(Some("red"), &["admin"]);
    let as_red = |method, path| server.request(method, path).key(Some(&red)).send();
    as_red("GET", "/api/v1/projects/web").problem(404, "unknown_project");
    as_red("DELETE", "/api/v1/projects/web").problem(404, "unknown_project");
    let make =
        server.request("POST", "/api/v1/projects").key(Some(&red)).json(&json!({"name": "blue"})).send();
    make.problem(403, "wrong_project");
}

#[test]
fn a_deleted_project_is_gone_with_all_it_had() {
    let server = server();
    for project in ["gone", "kept"] {
        send(&server, "edits", project, &edit_rows(200));
        send(&server, "pages", project, &json!([{"page": "a"}, {"page": "b"}]));
    }
    let bad = server.post("/api/v1/ingest/edits?project=gone", &json!([{"added": "many"}, {"added": 1}]));
    bad.expect(200);
    let (gone, kept) =
        (server.create_key(Some("gone"), &["ingest", "query"]), server.create_key(Some("kept"), &["query"]));
    server.wait_until("rows are in segments", || server.get("/api/v1/status").json()["memtable_rows"] == 0);
    // Rows in memory go too, and so does a kept answer.
    send(&server, "edits", "gone", &json!([{"channel": "late"}]));
    assert_eq!(edits_of(&server, "gone"), 202);
    let begun = server.delete("/api/v1/projects/gone").expect(202).json()["job"].clone();
    assert_eq!((&begun["kind"], &begun["project"]), (&json!("delete_project"), &json!("gone")));
    let ask = |key: &str| server.request("GET", "/api/v1/datasets").key(Some(key)).send().status;
    assert_eq!((ask(&gone), ask(&kept)), (401, 200), "its keys end at once, others stay");
    let job = wait_until_done(&server, begun["id"].as_str().expect("an id"));
    assert!(job["deleted"].as_u64() >= Some(204) && job["finished_at"].is_string(), "{job:#}");
    assert_eq!((edits_of(&server, "gone"), edits_of(&server, "kept")), (json!(0), json!(200)));
    let list = server.get("/api/v1/projects").json();
    assert_eq!(list["projects"], json!(["kept"]), "{list:#}");
    assert_eq!(server.get("/api/v1/ingest/rejects?project=gone").json()["rejects"], json!([]));
    let verified = server.get("/api/v1/verify").expect(200).json();
    assert_eq!(verified["ok"], true, "{verified:#}");
    let server = server.restart();
    assert_eq!((edits_of(&server, "gone"), edits_of(&server, "kept")), (json!(0), json!(200)));
    // The name can be used again, and brings nothing back.
    send(&server, "edits", "gone", &json!([{"channel": "new"}]));
    assert_eq!(edits_of(&server, "gone"), 1);
}

#[test]
fn a_delete_that_a_crash_interrupts_is_finished_after_it() {
    let server = Server::start_with(&[
        ("TIDEWATER_STORE__FLUSH_INTERVAL_MS", "50"),
        ("TIDEWATER_STORE__MAINTENANCE_INTERVAL_MS", "500"),
    ]);
    server.put("/api/v1/datasets/edits", &edits()).expect(201);
    send(&server, "edits", "gone", &edit_rows(200));
    server.wait_until("rows are in segments", || server.get("/api/v1/status").json()["memtable_rows"] == 0);
    let begun = server.delete("/api/v1/projects/gone").expect(202).json()["job"].clone();
    let late = server.post("/api/v1/ingest/edits?project=gone", &json!([{"channel": "late"}]));
    // Where the delete was quicker, this is the first row of a new project of that name.
    let rows_max = u64::from(late.status == 200);
    if rows_max == 0 {
        late.problem(409, "project_deleting");
    }
    let server = server.kill_and_restart();
    let job = wait_until_done(&server, begun["id"].as_str().expect("an id"));
    assert_eq!(job["status"], "done");
    assert!(edits_of(&server, "gone").as_u64() <= Some(rows_max));
}
