//! Web pages of other sites: preflights and requests, for origins of the configuration and of publishable keys.

use serde_json::json;

use crate::server::{Reply, Server, edits};

const APP: &str = "https://app.example.org";
const SHOP: &str = "https://shop.example.org";
const EVIL: &str = "https://evil.example.org";

fn preflight(server: &Server, path: &str, origin: &str) -> Reply {
    let request = server.request("OPTIONS", path).key(None).header("origin", origin);
    request.header("access-control-request-method", "POST").send()
}

fn allowed(reply: &Reply) -> Option<&str> {
    reply.header("access-control-allow-origin")
}

#[test]
fn origins_of_the_configuration_may_use_everything() {
    let server = Server::start_with(&[("TIDEWATER_CORS__ORIGINS", APP)]);
    let reply = preflight(&server, "/api/v1/query", APP).expect(204);
    assert_eq!(allowed(&reply), Some(APP));
    let headers = reply.header("access-control-allow-headers").expect("headers");
    assert!(headers.contains("authorization") && headers.contains("idempotency-key"), "{headers}");
    assert!(reply.header("x-request-id").is_some());
    let ask = |origin: &str| server.request("GET", "/api/v1/datasets").header("origin", origin).send();
    let reply = ask(APP).expect(200);
    assert_eq!(allowed(&reply), Some(APP));
    assert!(reply.header("access-control-expose-headers").is_some_and(|names| names.contains("etag")));
    assert!(reply.header("access-control-allow-credentials").is_none(), "keys are no cookies");
    // A page may read why it is refused.
    let refused = server.request("GET", "/api/v1/datasets").key(Some("wrong")).header("origin", APP).send();
    assert_eq!(allowed(&refused.expect(401)), Some(APP));
    preflight(&server, "/api/v1/query", EVIL).problem(403, "wrong_origin");
    assert_eq!(allowed(&ask(EVIL).expect(200)), None, "the browser keeps it from the page");
    // Without an origin nothing changes.
    assert_eq!(allowed(&server.get("/api/v1/datasets")), None);
    server.request("OPTIONS", "/api/v1/query").send().problem(405, "method_not_allowed");
}

#[test]
fn publishable_keys_bring_their_own_origins_for_rows() {
    let server = Server::start();
    server.put("/api/v1/datasets/edits", &edits()).expect(201);
    preflight(&server, "/api/v1/ingest/edits", SHOP).problem(403, "wrong_origin");
    let body = json!({"name": "shop", "project": "web", "scopes": ["ingest"], "publishable": true, "origins": [SHOP]});
    let key = server.post("/api/v1/keys", &body).expect(201).json();
    let key = key["key"].as_str().expect("a key").to_owned();
    assert_eq!(allowed(&preflight(&server, "/api/v1/ingest/edits", SHOP).expect(204)), Some(SHOP));
    preflight(&server, "/api/v1/query", SHOP).problem(403, "wrong_origin");
    preflight(&server, "/api/v1/ingest/edits", EVIL).problem(403, "wrong_origin");
    let send = |origin: &str| {
        let request = server.request("POST", "/api/v1/ingest/edits").key(Some(&key)).header("origin", origin);
        request.json(&json!([{"channel": "a"}])).send()
    };
    assert_eq!(allowed(&send(SHOP).expect(200)), Some(SHOP));
    assert_eq!(allowed(&send(EVIL).expect(403)), None);
}
