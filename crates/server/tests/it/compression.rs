//! Packed bodies, both ways, on every kind of route.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::server::{ADMIN_KEY, Server, edit_rows, edits};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(bytes).expect("it packs");
    packer.finish().expect("it packs")
}

fn unpack(coding: &str, bytes: &[u8]) -> Vec<u8> {
    match coding {
        "gzip" => {
            let mut out = Vec::new();
            flate2::read::GzDecoder::new(bytes).read_to_end(&mut out).expect("it unpacks");
            out
        }
        "zstd" => zstd::stream::decode_all(bytes).expect("it unpacks"),
        _ => bytes.to_vec(),
    }
}

/// One request over a plain socket, because a client would unpack; gives the head in lower case and the body's bytes.
fn exchange(server: &Server, method: &str, path: &str, accepted: &str, body: &[u8]) -> (String, Vec<u8>) {
    let address = server.url.strip_prefix("http://").expect("a URL");
    let mut stream = TcpStream::connect(address).expect("the server listens");
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\nauthorization: Bearer {ADMIN_KEY}\r\naccept-encoding: {accepted}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("loopback");
    stream.write_all(body).expect("loopback");
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).expect("a reply");
    let end = reply.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4;
    let head = String::from_utf8_lossy(&reply[..end]).to_lowercase();
    let body = reply.split_off(end);
    let body = if head.contains("transfer-encoding: chunked") { unchunk(&body) } else { body };
    (head, body)
}

fn unchunk(mut bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let end = bytes.windows(2).position(|window| window == b"\r\n").expect("a chunk's length");
        let length = std::str::from_utf8(&bytes[..end]).expect("hexadecimal");
        let length = usize::from_str_radix(length, 16).expect("hexadecimal");
        if length == 0 {
            return out;
        }
        out.extend_from_slice(&bytes[end + 2..end + 2 + length]);
        bytes = &bytes[end + 4 + length..];
    }
}

fn server() -> Server {
    let server = Server::start();
    server.put("/api/v1/datasets/edits", &edits()).expect(201);
    server.ingest("edits", &edit_rows(500));
    server
}

#[test]
fn answers_are_packed_as_asked_for_also_kept_ones() {
    let server = server();
    let question =
        json!({"dataset": "edits", "metrics": ["edits", "added"], "dimensions": ["time:minute", "channel"],
        "date_range": "all", "max_staleness_ms": 60_000})
        .to_string();
    let ask = |accepted: &str| exchange(&server, "POST", "/api/v1/query", accepted, question.as_bytes());
    let (_, plain) = ask("identity");
    let plain: Value = serde_json::from_slice(&plain).expect("JSON");
    for _ in 0..2 {
        for (accepted, coding) in [("gzip", "gzip"), ("zstd", "zstd"), ("gzip, br, zstd", "zstd"), ("br", "")]
        {
            let (head, body) = ask(accepted);
            assert!(head.starts_with("http/1.1 200"), "{head}");
            let is_said = head.contains(&format!("content-encoding: {coding}\r\n"));
            assert_eq!(is_said, !coding.is_empty(), "{accepted}: {head}");
            assert!(head.contains("accept-encoding"), "Vary names it: {head}");
            let json: Value = serde_json::from_slice(&unpack(coding, &body)).expect("JSON");
            assert_eq!(json["results"], plain["results"]);
        }
    }
    let (head, _) = ask("gzip");
    assert!(head.contains("x-cache: hit"), "{head}");
}

#[test]
fn long_replies_are_packed_and_short_ones_are_not() {
    let server = server();
    for (path, is_long) in
        [("/metrics", true), ("/docs", true), ("/api/v1/openapi.json", true), ("/api/v1/projects", false)]
    {
        let (head, body) = exchange(&server, "GET", path, "gzip", b"");
        assert_eq!(head.contains("content-encoding: gzip"), is_long, "{path}: {head}");
        assert!(!unpack(if is_long { "gzip" } else { "" }, &body).is_empty());
    }
    let (head, _) = exchange(
        &server,
        "POST",
        "/api/v1/rows",
        "zstd",
        br#"{"dataset": "edits", "date_range": "all", "limit": 100}"#,
    );
    assert!(head.contains("content-encoding: zstd"), "{head}");
    let short = br#"{"dataset": "edits", "metrics": ["edits"], "date_range": ["2026-01-01", "2026-01-02"]}"#;
    let (head, body) = exchange(&server, "POST", "/api/v1/query", "gzip", short);
    assert_eq!(head.contains("content-encoding"), body.len() >= 1_024, "{head}");
}

#[test]
fn every_route_with_a_body_takes_packed_ones() {
    let server = server();
    let question = json!({"dataset": "edits", "metrics": ["edits"], "date_range": "all"});
    let key = json!({"name": "k", "project": null, "scopes": ["query"]});
    for (method, path, body, status) in [
        ("PUT", "/api/v1/datasets/more", edits(), 201),
        ("POST", "/api/v1/ingest/edits", json!([{"channel": "a"}]), 200),
        ("POST", "/api/v1/query", question.clone(), 200),
        ("POST", "/api/v1/query/batch", json!({"queries": [question]}), 200),
        ("POST", "/api/v1/rows", json!({"dataset": "edits"}), 200),
        (
            "POST",
            "/api/v1/rows/delete",
            json!({"dataset": "edits", "filters": [["is", "channel", ["z"]]]}),
            200,
        ),
        ("POST", "/api/v1/keys", key, 201),
    ] {
        let text = body.to_string();
        for (coding, packed) in [
            ("gzip", gzip(text.as_bytes())),
            ("zstd", zstd::stream::encode_all(text.as_bytes(), 1).expect("it packs")),
        ] {
            let request = server.request(method, path).header("content-encoding", coding);
            let reply = request.body("application/json", &packed).send();
            // A definition is widened the second time.
            assert!(
                reply.status == status || (method == "PUT" && reply.status == 200),
                "{path} {coding}: {}",
                reply.text()
            );
        }
    }
}

#[test]
fn what_is_written_while_it_is_sent_is_packed_on_its_way() {
    let server = Server::start();
    server.put("/api/v1/datasets/edits", &edits()).expect(201);
    server.ingest("edits", &edit_rows(8_000));
    let metrics: Vec<Value> =
        (0..13).map(|n| json!({"agg": "sum", "column": "added", "as": format!("m{n}")})).collect();
    let question =
        json!({"dataset": "edits", "metrics": metrics, "dimensions": ["time:minute"], "date_range": "all",
        "pagination": {"limit": 10_000}})
        .to_string();
    let ask = |accepted: &str| exchange(&server, "POST", "/api/v1/query", accepted, question.as_bytes());
    let (head, plain) = ask("identity");
    assert!(head.contains("transfer-encoding: chunked") && !head.contains("content-encoding"), "{head}");
    let plain: Value = serde_json::from_slice(&plain).expect("JSON");
    assert_eq!(plain["results"].as_array().map(Vec::len), Some(8_000));
    for coding in ["gzip", "zstd"] {
        let (head, body) = ask(coding);
        assert!(head.contains(&format!("content-encoding: {coding}\r\n")), "{head}");
        let json: Value = serde_json::from_slice(&unpack(coding, &body)).expect("JSON");
        assert_eq!(json["results"], plain["results"]);
    }
}
