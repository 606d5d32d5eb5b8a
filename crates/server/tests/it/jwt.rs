//! JWTs: who is let in by which claims, which tokens are refused, and how keys come and go.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use ring::{hmac, rand, signature};
use serde_json::{Value, json};

use crate::server::{Reply, Server, edit_rows, edits};

/// The HS256 secret of these tests.
pub const SECRET: &str = "a-secret-of-these-tests-with-enough-bytes";
// Key pairs made for these tests; nothing else knows them.
const RS256: &str = include_str!("keys/rs256.pem");
const RS256_PUBLIC: &str = include_str!("keys/rs256.pub.pem");
const ES256: &str = include_str!("keys/es256.pem");
const OTHER: &str = include_str!("keys/other.pem");

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let value =
            chunk.iter().fold(0u32, |value, byte| value << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            out.push(char::from(DIGITS[(value >> (18 - 6 * place)) as usize & 63]));
        }
    }
    out
}

fn der(pem: &str) -> Vec<u8> {
    use rustls_pki_types::pem::PemObject;
    rustls_pki_types::PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes())
        .expect("a key")
        .secret_pkcs8_der()
        .to_vec()
}

fn sign(algorithm: &str, message: &[u8], key: &str) -> Vec<u8> {
    let random = rand::SystemRandom::new();
    match algorithm {
        "HS256" => hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()), message).as_ref().to_vec(),
        "RS256" => {
            let pair = signature::RsaKeyPair::from_pkcs8(&der(key)).expect("a key pair");
            let mut out = vec![0; pair.public().modulus_len()];
            pair.sign(&signature::RSA_PKCS1_SHA256, &random, message, &mut out).expect("signed");
            out
        }
        "ES256" => {
            let kind = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
            let pair = signature::EcdsaKeyPair::from_pkcs8(kind, &der(key), &random).expect("a key pair");
            pair.sign(&random, message).expect("signed").as_ref().to_vec()
        }
        _ => Vec::new(),
    }
}

fn token_with(header: &Value, claims: &Value, key: &str) -> String {
    let message =
        format!("{}.{}", base64(header.to_string().as_bytes()), base64(claims.to_string().as_bytes()));
    let algorithm = header["alg"].as_str().unwrap_or_default();
    format!("{message}.{}", base64(&sign(algorithm, message.as_bytes(), key)))
}

fn now_s() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() as i64
}

/// Claims of a caller of all projects for an hour, with changes.
pub fn claims(changes: Value) -> Value {
    let mut claims = json!({"sub": "anna", "projects": "*", "role": "developer", "exp": now_s() + 3_600});
    claims.as_object_mut().expect("an object").extend(changes.as_object().expect("an object").clone());
    claims
}

/// A token signed with [`SECRET`].
pub fn token(changes: Value) -> String {
    token_with(&json!({"alg": "HS256", "typ": "JWT"}), &claims(changes), SECRET)
}

fn ask(server: &Server, token: &str) -> Reply {
    server.request("GET", "/api/v1/datasets").key(Some(token)).send()
}

#[test]
fn tokens_that_are_not_right_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let pem = folder.path().join("rs256.pem");
    std::fs::write(&pem, RS256_PUBLIC).expect("written");
    let server = Server::start_with(&[
        ("TIDEWATER_AUTH__JWT__PUBLIC_KEY_FILE", pem.to_str().expect("a path")),
        ("TIDEWATER_AUTH__JWT__AUDIENCE", "tidewater, other"),
        ("TIDEWATER_AUTH__JWT__ISSUER", "https://issuer"),
        ("TIDEWATER_AUTH__JWT__LEEWAY_S", "5"),
    ]);
    let good = claims(json!({"aud": ["x", "tidewater"], "iss": "https://issuer"}));
    let change = |changes: Value| {
        let mut claims = good.clone();
        claims.as_object_mut().expect("an object").extend(changes.as_object().expect("an object").clone());
        claims
    };
    let header = json!({"alg": "RS256"});
    let signed = |claims: &Value| token_with(&header, claims, RS256);
    let whole = signed(&good);
    // Twice: the second time it is known.
    ask(&server, &whole).expect(200);
    ask(&server, &whole).expect(200);
    ask(&server, &signed(&change(json!({"aud": "other", "exp": now_s() - 2})))).expect(200);

    let parts: Vec<&str> = whole.split('.').collect();
    let forged = base64(change(json!({"role": "admin"})).to_string().as_bytes());
    let none = format!("{}.{}.", base64(b"{\"alg\":\"none\"}"), parts[1]);
    let none_signed = format!("{}.{}.{}", base64(b"{\"alg\":\"none\"}"), parts[1], parts[2]);
    let cases = [
        ("none", none, "invalid_credentials"),
        ("none with a signature", none_signed, "invalid_credentials"),
        ("nOnE", format!("{}.{}.", base64(b"{\"alg\":\"nOnE\"}"), parts[1]), "invalid_credentials"),
        (
            "the public key as a secret",
            token_with(&json!({"alg": "HS256"}), &good, RS256_PUBLIC),
            "unknown_signing_key",
        ),
        ("another algorithm", token_with(&json!({"alg": "ES256"}), &good, ES256), "unknown_signing_key"),
        (
            "an algorithm not accepted",
            format!("{}.{}.{}", base64(b"{\"alg\":\"RS512\"}"), parts[1], parts[2]),
            "invalid_credentials",
        ),
        ("another key", token_with(&header, &good, OTHER), "invalid_signature"),
        ("forged claims", format!("{}.{forged}.{}", parts[0], parts[2]), "invalid_signature"),
        ("no signature", format!("{}.{}.", parts[0], parts[1]), "invalid_signature"),
        ("a cut signature", format!("{}.{}.{}", parts[0], parts[1], &parts[2][..300]), "invalid_signature"),
        (
            "critical extensions",
            token_with(&json!({"alg": "RS256", "crit": ["b64"], "b64": false}), &good, RS256),
            "invalid_credentials",
        ),
        (
            "a key of its own",
            token_with(&json!({"alg": "RS256", "jwk": {"kty": "oct", "k": "AAAA"}}), &good, OTHER),
            "invalid_signature",
        ),
        ("expired", signed(&change(json!({"exp": now_s() - 6}))), "expired_credentials"),
        ("without end", signed(&change(json!({"exp": null}))), "invalid_credentials"),
        ("with an end that is none", signed(&change(json!({"exp": "2099-01-01"}))), "invalid_credentials"),
        ("not good yet", signed(&change(json!({"nbf": now_s() + 60}))), "credentials_not_yet_valid"),
        ("another audience", signed(&change(json!({"aud": "elsewhere"}))), "wrong_audience"),
        ("no audience", signed(&change(json!({"aud": null}))), "wrong_audience"),
        ("an audience that is none", signed(&change(json!({"aud": 7}))), "wrong_audience"),
        ("another issuer", signed(&change(json!({"iss": "https://issuer.evil"}))), "wrong_issuer"),
        ("no issuer", signed(&change(json!({"iss": null}))), "wrong_issuer"),
        ("an unknown role", signed(&change(json!({"role": "root"}))), "invalid_credentials"),
        ("no subject", signed(&change(json!({"sub": null}))), "invalid_credentials"),
        ("a path as a project", signed(&change(json!({"projects": ["../../etc"]}))), "invalid_credentials"),
        ("no project", signed(&change(json!({"projects": []}))), "invalid_credentials"),
        ("a token that is too long", signed(&change(json!({"x": "y".repeat(8_000)}))), "invalid_credentials"),
        ("nonsense", "eyJ.eyJ.eyJ".to_owned(), "invalid_credentials"),
    ];
    for (what, token, code) in cases {
        for _ in 0..2 {
            let reply = ask(&server, &token);
            assert_eq!(
                (reply.status, reply.json()["code"].as_str()),
                (401, Some(code)),
                "{what}: {}",
                reply.text()
            );
            assert_eq!(reply.header("www-authenticate"), Some("Bearer error=\"invalid_token\""), "{what}");
        }
    }
    let log = server.log();
    assert!(!log.contains(parts[2]) && !log.contains(parts[1]), "no token is logged");
}

#[test]
fn projects_roles_and_permissions_come_from_the_claims() {
    let server = Server::start_with(&[("TIDEWATER_AUTH__JWT__SECRET", SECRET)]);
    server.put("/api/v1/datasets/edits", &edits()).expect(201);
    for project in ["red", "green", "blue"] {
        server.post(&format!("/api/v1/ingest/edits?project={project}"), &edit_rows(3)).expect(200);
    }
    let question = |project: Option<&str>| json!({"dataset": "edits", "metrics": ["edits"], "date_range": "all", "project": project});
    let query = |token: &str, project: Option<&str>| {
        server.request("POST", "/api/v1/query").key(Some(token)).json(&question(project)).send()
    };
    let two = token(json!({"projects": ["red", "green"]}));
    let problem = query(&two, None).problem(400, "project_required");
    assert!(problem["detail"].as_str().is_some_and(|text| text.contains("'green', 'red'")), "{problem}");
    for project in ["red", "green"] {
        assert_eq!(query(&two, Some(project)).expect(200).json()["query"]["project"], project);
    }
    query(&two, Some("blue")).problem(403, "wrong_project");
    let projects = server.request("GET", "/api/v1/projects").key(Some(&two)).send().expect(200).json();
    assert_eq!(projects["projects"], json!(["green", "red"]));
    let one = token(json!({"projects": ["red"]}));
    assert_eq!(query(&one, None).expect(200).json()["query"]["project"], "red");
    let all = token(json!({}));
    assert_eq!(query(&all, Some("blue")).expect(200).json()["results"][0]["metrics"][0], 3);

    let narrow = token(json!({"role": "admin", "permissions": ["keys", "schema"]}));
    query(&narrow, None).problem(403, "missing_scope");
    let wide = json!({"name": "k", "scopes": ["admin"]});
    let make = server.request("POST", "/api/v1/keys").key(Some(&narrow)).json(&wide).send();
    make.problem(403, "missing_scope");
    let viewer = token(json!({"role": "viewer", "permissions": ["ingest", "delete", "query"]}));
    let ingest = server.request("POST", "/api/v1/ingest/edits").key(Some(&viewer)).json(&edit_rows(1)).send();
    ingest.problem(403, "missing_scope");
    let as_key = server.request("GET", "/api/v1/datasets").key(None).header("x-api-key", &all).send();
    as_key.expect(200);
}

#[test]
fn viewers_are_bound_by_configuration_and_claims() {
    let server = Server::start_with(&[
        ("TIDEWATER_AUTH__JWT__SECRET", SECRET),
        ("TIDEWATER_AUTH__JWT__VIEWER_FILTERS", r#"["[\"is\", \"user\", [\"$sub\"]]"]"#),
    ]);
    server.put("/api/v1/datasets/edits", &edits()).expect(201);
    server.ingest("edits", &edit_rows(70));
    let count = |token: &str| {
        let question = json!({"dataset": "edits", "metrics": ["edits"], "date_range": "all", "max_staleness_ms": 60_000});
        let reply =
            server.request("POST", "/api/v1/query").key(Some(token)).json(&question).send().expect(200);
        reply.json()["results"][0]["metrics"][0].clone()
    };
    for _ in 0..2 {
        assert_eq!(count(&token(json!({"role": "viewer", "sub": "u1"}))), 10);
        assert_eq!(
            count(&token(json!({"role": "viewer", "sub": "u2", "filters": [["is", "channel", ["a"]]]}))),
            3
        );
        assert_eq!(count(&token(json!({"role": "viewer", "sub": "u1\"]], [\"exists"}))), 0);
        assert_eq!(count(&token(json!({"role": "developer", "sub": "u1"}))), 70);
    }
}

/// A JWKS at a URL, with what it serves and how often it was asked.
struct Issuer {
    url: String,
    state: Arc<Mutex<(String, usize)>>,
}

impl Issuer {
    fn start(body: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/jwks.json", listener.local_addr().expect("an address"));
        let state = Arc::new(Mutex::new((body, 0)));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request);
                let body = {
                    let mut state = shared.lock().expect("no panic");
                    state.1 += 1;
                    state.0.clone()
                };
                let _ = write!(
                    stream,
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
            }
        });
        Issuer { url, state }
    }

    fn serve(&self, body: String) {
        self.state.lock().expect("no panic").0 = body;
    }

    fn asked(&self) -> usize {
        self.state.lock().expect("no panic").1
    }
}

/// A JWKS with the public half of key pairs.
fn jwks(keys: &[(&str, &str, &str)]) -> String {
    let jwk = |(id, algorithm, pem): &(&str, &str, &str)| {
        if *algorithm == "RS256" {
            let pair = signature::RsaKeyPair::from_pkcs8(&der(pem)).expect("a key pair");
            let parts: signature::RsaPublicKeyComponents<Vec<u8>> = pair.public().into();
            return json!({"kty": "RSA", "kid": id, "use": "sig", "n": base64(&parts.n), "e": base64(&parts.e)});
        }
        let kind = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        let pair = signature::EcdsaKeyPair::from_pkcs8(kind, &der(pem), &rand::SystemRandom::new());
        let pair = pair.expect("a key pair");
        let point = signature::KeyPair::public_key(&pair).as_ref();
        json!({"kty": "EC", "crv": "P-256", "kid": id, "alg": "ES256", "x": base64(&point[1..33]), "y": base64(&point[33..])})
    };
    json!({"keys": keys.iter().map(jwk).collect::<Vec<_>>()}).to_string()
}

#[test]
fn keys_of_an_issuer_come_and_go() {
    let issuer = Issuer::start(jwks(&[("one", "RS256", RS256), ("two", "ES256", ES256)]));
    let server = Server::start_with(&[
        ("TIDEWATER_AUTH__JWT__JWKS_URL", &issuer.url),
        ("TIDEWATER_AUTH__JWT__JWKS_RETRY_S", "1"),
        ("TIDEWATER_AUTH__JWT__JWKS_REFRESH_S", "3600"),
    ]);
    let signed = |id: &str, algorithm: &str, key| {
        token_with(&json!({"alg": algorithm, "kid": id}), &claims(json!({})), key)
    };
    let (one, two, three) =
        (signed("one", "RS256", RS256), signed("two", "ES256", ES256), signed("three", "RS256", OTHER));
    ask(&server, &one).expect(200);
    ask(&server, &two).expect(200);
    ask(&server, &signed("two", "RS256", RS256)).problem(401, "unknown_signing_key");
    let asked = issuer.asked();
    for _ in 0..20 {
        ask(&server, &three).problem(401, "unknown_signing_key");
    }
    assert!(issuer.asked() <= asked + 1, "unknown keys do not flood the issuer");
    // The issuer changes its keys: the new one is found when it is first used, and the old one ends with it.
    issuer.serve(jwks(&[("three", "RS256", OTHER), ("two", "ES256", ES256)]));
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    ask(&server, &three).expect(200);
    ask(&server, &two).expect(200);
    ask(&server, &one).problem(401, "unknown_signing_key");
    // An issuer that serves nonsense locks nobody out.
    issuer.serve("{}".to_owned());
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    ask(&server, &one).problem(401, "unknown_signing_key");
    ask(&server, &three).expect(200);
}

#[test]
fn bad_configurations_stop_the_start() {
    let cases = [
        ("TIDEWATER_AUTH__JWT__SECRET", "short", "at least 32 bytes"),
        ("TIDEWATER_AUTH__JWT__PUBLIC_KEY_FILE", "/nowhere/key.pem", "cannot read /nowhere/key.pem"),
        ("TIDEWATER_AUTH__JWT__VIEWER_FILTERS", "[\"user = $sub\"]", "is not JSON"),
        ("TIDEWATER_AUTH__JWT__SECRETS", "x", "did you mean 'TIDEWATER_AUTH__JWT__SECRET'"),
    ];
    for (name, value, expected) in cases {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidewater"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(folder.path().join("data"));
        let ended = command.current_dir(folder.path()).env(name, value).output().expect("it runs");
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(!ended.status.success() && said.contains(expected), "{name}: {said}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidewater"));
    command.args(["serve", "--print-config"]).current_dir(folder.path());
    let printed = command.env("TIDEWATER_AUTH__JWT__SECRET", SECRET).output().expect("it runs");
    let printed = String::from_utf8_lossy(&printed.stdout).into_owned();
    assert!(printed.contains("[auth.jwt]") && !printed.contains(SECRET), "{printed}");
}
