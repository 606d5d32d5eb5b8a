//! Connections that are slow, idle, too many, too large or deaf: the server ends or refuses them, says so where it can, and goes on.
//!
//! Not here: requests that are wrong (`bad_input`), TLS (`tls`).

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::server::{Server, edits};

/// Far above every limit a test sets.
const PATIENCE: Duration = Duration::from_secs(30);

fn connect(server: &Server) -> TcpStream {
    let address = server.url.strip_prefix("http://").expect("a URL");
    let stream = TcpStream::connect(address).expect("the server listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

/// Everything until the server closes; a reset ends it too.
fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut chunk) {
        bytes.extend_from_slice(&chunk[..count]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Sends a byte every 50 ms until the server closes; gives how long that took and what the server said.
fn trickle(stream: &mut TcpStream, byte: u8) -> (Duration, String) {
    let started = Instant::now();
    stream.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
    let mut said = Vec::new();
    let mut chunk = [0; 4096];
    while started.elapsed() < PATIENCE {
        let written = stream.write_all(&[byte]);
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => said.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock && written.is_ok() => {}
            Err(_) => break,
        }
    }
    (started.elapsed(), String::from_utf8_lossy(&said).into_owned())
}

fn ended(server: &Server, reason: &str) -> f64 {
    server.metric(&format!("tidewater_connections_ended_total{{reason=\"{reason}\"}}")).unwrap_or_default()
}

#[test]
fn a_head_that_does_not_get_complete_ends_the_connection() {
    let server = Server::start_with(&[("TIDEWATER_SERVER__HEAD_MS", "600")]);
    let mut slow = connect(&server);
    slow.write_all(b"GET /health/live HTTP/1.1\r\nhost: a\r\nx-slow: ").expect("loopback");
    let (elapsed, said) = trickle(&mut slow, b'a');
    assert!(elapsed >= Duration::from_millis(500) && elapsed < Duration::from_secs(10), "{elapsed:?}");
    assert_eq!(said, "", "there is no request to answer");
    assert_eq!(ended(&server, "slow_head"), 1.0);
    // The same on a connection that was used before.
    let mut slow = connect(&server);
    slow.write_all(b"GET /health/live HTTP/1.1\r\nhost: a\r\n\r\nGET /").expect("loopback");
    let (_, said) = trickle(&mut slow, b'a');
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    server.get("/health/live").expect(200);
}

#[test]
fn a_body_that_comes_too_slowly_is_given_up_with_its_bytes() {
    let server = Server::start_with(&[
        ("TIDEWATER_SERVER__BODY_IDLE_MS", "1000"),
        ("TIDEWATER_SERVER__BODY_BYTES_PER_S_MIN", "1000"),
    ]);
    server.put("/api/v1/datasets/edits", &edits()).expect(201);
    let mut slow = connect(&server);
    let head = format!(
        "POST /api/v1/ingest/edits HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
         content-length: 100000\r\n\r\n",
        crate::server::ADMIN_KEY
    );
    slow.write_all(head.as_bytes()).expect("loopback");
    let held = || server.metric("tidewater_queue_used{queue=\"request_bytes\"}");
    server.wait_until("the declared bytes are reserved", || held().is_some_and(|bytes| bytes >= 100_000.0));
    let (elapsed, said) = trickle(&mut slow, b' ');
    assert!(said.starts_with("HTTP/1.1 408") && said.contains("\"body_timeout\""), "{said}");
    assert!(elapsed < Duration::from_secs(20), "{elapsed:?}");
    server.wait_until("the bytes are given back", || held() == Some(0.0));
}

#[test]
fn hundreds_of_idle_connections_cost_little_and_end() {
    const COUNT: usize = 400;
    let server = Server::start_with(&[("TIDEWATER_SERVER__IDLE_MS", "4000")]);
    server.get("/health/ready").expect(200);
    let before = server.metric("process_resident_memory_bytes").expect("a figure");
    let mut idle: Vec<TcpStream> = (0..COUNT).map(|_| connect(&server)).collect();
    // Half of them have been used.
    for stream in idle.iter_mut().step_by(2) {
        stream.write_all(b"GET /health/live HTTP/1.1\r\nhost: a\r\n\r\n").expect("loopback");
        let mut chunk = [0; 1024];
        assert!(stream.read(&mut chunk).is_ok_and(|count| count > 0), "it is answered");
    }
    assert!(server.metric("tidewater_connections").is_some_and(|count| count >= COUNT as f64));
    let after = server.metric("process_resident_memory_bytes").expect("a figure");
    let each = (after - before) / COUNT as f64;
    assert!(each < 64.0 * 1024.0, "{each} bytes for one idle connection");
    server.wait_until("they are closed", || {
        server.metric("tidewater_connections").is_some_and(|count| count < COUNT as f64 / 10.0)
    });
    assert!(ended(&server, "idle") >= COUNT as f64 * 0.9);
    let bytes = server.metric("tidewater_network_receive_bytes_total").expect("a figure");
    assert!(bytes >= 20.0 * COUNT as f64, "{bytes}");
}

#[test]
fn a_full_server_says_so_and_closes_idle_connections_for_new_ones() {
    let server = Server::start_with(&[("TIDEWATER_SERVER__CONNECTIONS_MAX", "4")]);
    // Heads that are under way are no idle connections.
    let busy: Vec<TcpStream> = (0..4)
        .map(|_| {
            let mut stream = connect(&server);
            stream.write_all(b"GET / HTTP/1.1\r\n").expect("loopback");
            stream
        })
        .collect();
    std::thread::sleep(Duration::from_millis(1_600));
    let mut late = connect(&server);
    late.write_all(b"GET /health/live HTTP/1.1\r\nhost: a\r\n\r\n").expect("loopback");
    let said = rest(&mut late);
    assert!(said.starts_with("HTTP/1.1 503") && said.contains("retry-after: 1"), "{said}");
    drop(busy);
    std::thread::sleep(Duration::from_millis(300));
    let idle: Vec<TcpStream> = (0..4).map(|_| connect(&server)).collect();
    std::thread::sleep(Duration::from_millis(2_200));
    server.get("/health/live").expect(200);
    assert!(ended(&server, "idle") >= 1.0);
    drop(idle);
    let full = server.metric("tidewater_connections_refused_total{reason=\"full\"}");
    assert!(full >= Some(1.0), "{full:?}");
}

#[test]
fn heads_over_their_limits_are_problems_with_a_request_id() {
    let server = Server::start_with(&[("TIDEWATER_SERVER__HEAD_BYTES_MAX", "16384")]);
    let long = format!("GET /health/live HTTP/1.1\r\nhost: a\r\nx-long: {}\r\n\r\n", "a".repeat(20_000));
    let many = format!("GET /health/live HTTP/1.1\r\nhost: a\r\n{}\r\n", "x-many: 1\r\n".repeat(101));
    let cases = [
        (long, 431, "headers_too_large"),
        (many, 431, "headers_too_large"),
        ("no http at all\r\n\r\n".to_owned(), 400, "malformed_request"),
    ];
    for (request, status, code) in cases {
        let mut stream = connect(&server);
        // The server may close before all of it is sent.
        let _ = stream.write_all(request.as_bytes());
        let said = rest(&mut stream);
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{code}: {said}");
        assert!(said.contains("x-request-id: ") && said.contains("application/problem+json"), "{said}");
        let body = said.split_once("\r\n\r\n").expect("a body").1;
        let problem: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(problem["code"], code, "{problem}");
    }
    let refused = server.metric("tidewater_connections_refused_total{reason=\"headers_too_large\"}");
    assert_eq!(refused, Some(2.0));
}

#[test]
fn a_client_that_does_not_read_its_answers_is_dropped() {
    let server = Server::start_with(&[("TIDEWATER_SERVER__WRITE_STALL_MS", "800")]);
    let mut deaf = connect(&server);
    deaf.set_write_timeout(Some(Duration::from_millis(200))).expect("a timeout");
    let request = b"GET /api/v1/openapi.json HTTP/1.1\r\nhost: a\r\n\r\n".repeat(200);
    // More answers than the buffers of both sides hold: sockets take some megabytes.
    for _ in 0..20 {
        if deaf.write_all(&request).is_err() {
            break;
        }
    }
    server.wait_until("the deaf client is dropped", || ended(&server, "write_stalled") >= 1.0);
    server.get("/health/live").expect(200);
}

#[test]
fn a_refusal_is_read_by_clients_that_send_first_and_listen_then() {
    let server = Server::start();
    let body = vec![b' '; 3 << 20];
    for key in [Some("wrong"), None, Some("wrong")] {
        for path in ["/api/v1/ingest/edits", "/api/v1/query"] {
            let mut stream = connect(&server);
            let credential = key.map_or(String::new(), |key| format!("authorization: Bearer {key}\r\n"));
            let head = format!(
                "POST {path} HTTP/1.1\r\nhost: a\r\n{credential}content-type: application/json\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            stream.write_all(head.as_bytes()).expect("loopback");
            stream.write_all(&body).expect("the server takes what is sent after it has refused");
            let said = rest(&mut stream);
            assert!(said.starts_with("HTTP/1.1 401") && said.ends_with('}'), "{said}");
        }
    }
}

#[test]
fn http2_is_spoken_on_the_same_port() {
    let server = Server::start_with(&[("TIDEWATER_SERVER__H2_STREAMS_MAX", "7")]);
    let address = server.url.strip_prefix("http://").expect("a URL").to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(&address).await.expect("the server listens");
        let (mut client, connection) = h2::client::handshake(stream).await.expect("it speaks HTTP/2");
        let connection = tokio::spawn(connection);
        for _ in 0..3 {
            let request = ureq::http::Request::get(format!("http://{address}/health/live")).body(());
            let (response, _) = client.send_request(request.expect("a request"), true).expect("it is sent");
            let response = response.await.expect("an answer");
            assert_eq!(response.status(), 200);
            assert!(response.headers().contains_key("x-request-id"));
        }
        assert_eq!(client.current_max_send_streams(), 7);
        drop(client);
        connection.abort();
    });
}
