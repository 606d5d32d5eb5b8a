//! Input that somebody means harm with, where it is about who may see what: names, headers and keys that try to be something else.

use serde_json::json;

use crate::server::{ADMIN_KEY, Server, server_with_edits};

/// Names that try to leave their place.
const NAMES: [&str; 9] = [
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e",
    "..%5c..%5cwindows",
    "%00",
    "a%0d%0aX-Evil:%201",
    "%f0%28%8c%28",
    "';DROP%20TABLE%20keys;--",
    "{{7*7}}",
    "%ff",
];

fn calm(server: &Server, what: &str, status: u16, text: &str) {
    assert!((400..500).contains(&status), "{what}: {status} {text}");
    // Names come back in messages, as they were sent; nothing of the server does.
    for leak in ["/tmp/", "panicked", "src/", "catalog.redb"] {
        assert!(!text.contains(leak), "{what} tells of {leak}: {text}");
    }
    assert!(!server.log().contains("panicked"), "{what}");
}

#[test]
fn names_cannot_leave_their_place() {
    let server = server_with_edits(3);
    for name in NAMES {
        for (method, path) in [
            ("GET", format!("/api/v1/datasets/{name}")),
            ("PUT", format!("/api/v1/datasets/{name}")),
            ("DELETE", format!("/api/v1/datasets/{name}")),
            ("POST", format!("/api/v1/ingest/{name}")),
            ("POST", format!("/api/v1/ingest/edits?project={name}")),
            ("GET", format!("/api/v1/datasets?project={name}")),
            ("GET", format!("/api/v1/jobs/{name}")),
            ("DELETE", format!("/api/v1/keys/{name}")),
            ("POST", format!("/api/v1/keys/{name}/rotate")),
            ("DELETE", format!("/api/v1/queries/{name}")),
            ("GET", format!("/api/v1/projects/{name}")),
            ("PATCH", format!("/api/v1/projects/{name}")),
            ("DELETE", format!("/api/v1/projects/{name}")),
        ] {
            let reply = server.request(method, &path).json(&json!({"time": "ts", "columns": {}})).send();
            calm(&server, &format!("{method} {path}"), reply.status, &reply.text());
            assert_eq!(reply.header("x-evil"), None, "{path}");
        }
    }
    assert_eq!(server.get("/api/v1/projects").json()["projects"], json!(["default"]));
}

#[test]
fn credentials_that_are_too_much_are_refused() {
    let server = server_with_edits(1);
    let ask = |name: &str, value: &str| {
        server.request("GET", "/api/v1/datasets").key(None).header(name, value).send()
    };
    let long = "x".repeat(60_000);
    for (name, value) in [
        ("authorization", format!("Bearer {long}")),
        ("authorization", format!("Bearer eyJ{long}.e.e")),
        ("authorization", "Bearer ".to_owned()),
        ("authorization", format!("Bearer {ADMIN_KEY} {ADMIN_KEY}")),
        ("authorization", format!("Bearer {ADMIN_KEY},")),
        ("authorization", format!("Bearer {}", ADMIN_KEY.to_uppercase())),
        ("authorization", format!("Basic {ADMIN_KEY}")),
        ("x-api-key", long.clone()),
        ("x-api-key", " ".to_owned()),
        ("x-api-key", ADMIN_KEY[..ADMIN_KEY.len() - 1].to_owned()),
        ("cookie", format!("key={ADMIN_KEY}")),
    ] {
        let reply = ask(name, &value);
        let shown: String = value.chars().take(40).collect();
        assert!(matches!(reply.status, 401 | 431), "{name}: {shown}: {} {}", reply.status, reply.text());
        assert!(!reply.text().contains(ADMIN_KEY), "{shown}");
    }
    // A wrong Authorization is not made good by a right X-API-Key.
    let both = server.request("GET", "/api/v1/datasets").key(Some("wrong")).header("x-api-key", ADMIN_KEY);
    both.send().expect(401);
    server.request("GET", &format!("/api/v1/datasets?key={ADMIN_KEY}")).key(None).send().expect(401);
    assert!(!server.log().contains(ADMIN_KEY));
}
