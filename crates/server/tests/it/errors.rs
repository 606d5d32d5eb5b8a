//! What goes wrong on the way to a handler, and how it looks: every error is a problem with a request id.

use serde_json::json;

use crate::server::{Server, edits, server_with_edits, stable};

#[test]
fn unknown_paths_and_methods_are_problems() {
    let server = Server::start();
    let reply = server.get("/nowhere").expect(404);
    assert_eq!(reply.header("content-type"), Some("application/problem+json"));
    insta::assert_json_snapshot!("not_found", stable(reply.json()));
    let wrong = server.delete("/api/v1/query");
    assert!(
        wrong.header("allow").is_some_and(|methods| methods.contains("POST")),
        "{:?}",
        wrong.header("allow")
    );
    wrong.problem(405, "method_not_allowed");
    server.get("/api/v1/datasets/%FF").problem(400, "malformed_request");
}

#[test]
fn a_head_says_what_the_body_would_be() {
    let server = Server::start();
    for path in ["/api/v1/datasets", "/health/live", "/"] {
        let (whole, head) = (server.get(path).expect(200), server.request("HEAD", path).send().expect(200));
        let shown = ["content-type", "content-length"].map(|name| (whole.header(name), head.header(name)));
        assert!(shown.iter().all(|(whole, head)| whole.is_some() && whole == head), "{path}: {shown:?}");
        assert!(head.body.is_empty() && !whole.body.is_empty(), "{path}");
    }
    let wrong = server.request("HEAD", "/api/v1/rows").send().expect(405);
    assert_eq!(wrong.header("allow"), Some("POST"));
}

#[test]
fn names_in_paths_are_decoded_once() {
    let server = Server::start();
    for (path, name) in [("a%20b", "a b"), ("a+b", "a+b"), ("a%2525", "a%25"), ("a%2Fb", "a/b")] {
        let problem = server.get(&format!("/api/v1/datasets/{path}")).problem(404, "unknown_dataset");
        let detail = problem["detail"].as_str().expect("text");
        assert!(detail.contains(&format!("'{name}'")), "{path}: {detail}");
    }
}

#[test]
fn request_ids_go_in_and_out() {
    let server = Server::start();
    let reply = server.request("GET", "/nowhere").header("x-request-id", "abc-123").send();
    assert_eq!(reply.header("x-request-id"), Some("abc-123"));
    assert_eq!(reply.json()["request_id"], "abc-123");
    let long = "x".repeat(500);
    let reply = server.request("GET", "/health/live").header("x-request-id", &long).send();
    assert!(reply.header("x-request-id").is_some_and(|id| id.len() < 64));
}

#[test]
fn media_types_and_encodings_are_checked() {
    let server = server_with_edits(1);
    let post =
        |content_type: &str| server.request("POST", "/api/v1/ingest/edits").body(content_type, b"x").send();
    insta::assert_json_snapshot!(
        "wrong_media_type",
        stable(post("text/xml").problem(415, "unsupported_media_type"))
    );
    let missing = server.request("POST", "/api/v1/ingest/edits").raw(b"{}").send();
    missing.problem(415, "unsupported_media_type");
    let packed = server.request("POST", "/api/v1/ingest/edits").header("content-encoding", "br");
    packed.body("application/json", b"{}").send().problem(415, "unsupported_encoding");
    let query = server.request("POST", "/api/v1/query").body("text/plain", b"{}").send();
    query.problem(415, "unsupported_media_type");
    let accept = server.request("POST", "/api/v1/query").header("accept", "image/png");
    let question = json!({"dataset": "edits", "metrics": ["edits"]});
    accept.json(&question).send().problem(406, "not_acceptable");
}

#[test]
fn bodies_are_bounded_before_and_after_unpacking() {
    let server = Server::start_with(&[("TIDEWATER_SERVER__BODY_BYTES_MAX", "100000")]);
    server.put("/api/v1/datasets/edits", &edits()).expect(201);
    let large = vec![b' '; 100_001];
    server
        .request("POST", "/api/v1/ingest/edits")
        .body("application/json", &large)
        .send()
        .problem(413, "body_too_large");
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut bomb, &vec![b' '; 50_000_000]).expect("it packs");
    let bomb = bomb.finish().expect("it packs");
    assert!(bomb.len() < 100_000);
    let packed = server.request("POST", "/api/v1/ingest/edits").header("content-encoding", "gzip");
    packed.body("application/json", &bomb).send().problem(413, "body_too_large");
    let mut small = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut small, b"[{\"added\": 1}]").expect("it packs");
    let small = small.finish().expect("it packs");
    let cut = server.request("POST", "/api/v1/ingest/edits").header("content-encoding", "gzip");
    cut.body("application/json", &small[..small.len() - 6]).send().problem(400, "malformed_encoding");
}

#[test]
fn wrong_questions_say_what_would_be_right() {
    let server = server_with_edits(3);
    let ask = |question: serde_json::Value| server.post("/api/v1/query", &question);
    let base = |members: serde_json::Value| {
        let mut question = json!({"dataset": "edits", "metrics": ["edits"], "date_range": "all"});
        let members = members.as_object().expect("an object").clone();
        question.as_object_mut().expect("an object").extend(members);
        question
    };
    let cases = [
        ("unknown_dataset", json!({"dataset": "edit"})),
        ("unknown_metric", json!({"metrics": ["edit"]})),
        ("unknown_column", json!({"filters": [["is", "chanel", ["a"]]]})),
        ("unknown_dimension", json!({"dimensions": ["usr"]})),
        ("unknown_timezone", json!({"timezone": "Europe/Berln"})),
        ("unknown_field", json!({"metric": ["edits"]})),
        ("invalid_date_range", json!({"date_range": ["2026-02-01T00:00:00Z", "2026-01-01T00:00:00Z"]})),
        ("invalid_regex", json!({"filters": [["matches", "channel", ["("]]]})),
        ("limit_exceeded", json!({"pagination": {"limit": 10_001}})),
        ("invalid_version", json!({"min_version": "7"})),
        ("invalid_cursor", json!({"pagination": {"cursor": "abc"}})),
    ];
    for (code, members) in cases {
        let problem = ask(base(members)).problem(400, code);
        insta::assert_json_snapshot!(format!("question_{code}"), stable(problem));
    }
    let broken = server.request("POST", "/api/v1/query").body("application/json", b"{\"dataset\":").send();
    broken.problem(400, "invalid_json");
    server.request("POST", "/api/v1/query").body("application/json", b"").send().problem(400, "empty_body");
    let many: Vec<_> = (0..51).map(|_| base(json!({}))).collect();
    server.post("/api/v1/query/batch", &json!({"queries": many})).problem(400, "limit_exceeded");
}
