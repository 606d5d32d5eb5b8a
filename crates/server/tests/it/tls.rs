//! TLS: certificates from files, both protocols, reloads that drop no connection, and bad files that change nothing.

use std::io::Write as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, crypto, version};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::server::Server;

/// An authority with one certificate for this machine.
struct Pair {
    authority: String,
    cert: String,
    key: String,
}

fn pair(name: &str) -> Pair {
    let mut authority = CertificateParams::new(Vec::new()).expect("parameters");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(rcgen::DnType::CommonName, name);
    let authority_key = KeyPair::generate().expect("a key");
    let own = authority.self_signed(&authority_key).expect("a certificate");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]);
    let issuer = Issuer::new(authority, authority_key);
    let cert = params.expect("parameters").signed_by(&key, &issuer).expect("a certificate");
    Pair { authority: own.pem(), cert: cert.pem(), key: key.serialize_pem() }
}

/// The files of a server, in a folder that outlives it.
struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new(pair: &Pair) -> Self {
        let files = Files { folder: tempfile::tempdir().expect("a temporary folder") };
        files.put(pair);
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn put(&self, pair: &Pair) {
        for (name, text) in [("cert.pem", &pair.cert), ("key.pem", &pair.key), ("ca.pem", &pair.authority)] {
            std::fs::write(self.path(name), text).expect("written");
        }
    }

    fn start(&self, more: &[(&str, &str)]) -> Server {
        let text = |path: &Path| path.to_str().expect("a plain path").to_owned();
        let (cert, key) = (text(&self.path("cert.pem")), text(&self.path("key.pem")));
        let mut settings = vec![("TIDEWATER_TLS__CERT", cert.as_str()), ("TIDEWATER_TLS__KEY", key.as_str())];
        settings.extend(more);
        let server = Server::start_with(&settings);
        assert!(server.url.starts_with("https://"), "{}", server.url);
        server
    }
}

/// A client that trusts one authority.
fn agent(pair: &Pair) -> ureq::Agent {
    let root = Certificate::from_pem(pair.authority.as_bytes()).expect("PEM");
    let tls = TlsConfig::builder().root_certs(RootCerts::new_with_certs(&[root])).build();
    ureq::Agent::config_builder().tls_config(tls).build().into()
}

fn get(agent: &ureq::Agent, server: &Server, path: &str) -> Option<String> {
    agent.get(format!("{}{path}", server.url)).call().ok()?.body_mut().read_to_string().ok()
}

fn metric(agent: &ureq::Agent, server: &Server, name: &str) -> f64 {
    let text = get(agent, server, "/metrics").expect("metrics");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    line.unwrap_or_default()
}

/// Connects with these protocols and versions; gives the protocol both agreed on.
fn handshake(
    server: &Server,
    pair: &Pair,
    protocols: &[&str],
    versions: &[&'static SupportedProtocolVersion],
) -> Option<String> {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_slice(pair.authority.as_bytes()).expect("PEM");
    roots.add(authority).expect("a root");
    let mut config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_protocol_versions(versions)
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let address = server.url.strip_prefix("https://").expect("a URL").to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(&address).await.expect("the server listens");
        let name = ServerName::try_from("localhost").expect("a name");
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.ok()?;
        let agreed = stream.get_ref().1.alpn_protocol().unwrap_or_default();
        let agreed = String::from_utf8_lossy(agreed).into_owned();
        if agreed == "h2" {
            let (mut client, connection) = h2::client::handshake(stream).await.expect("it speaks HTTP/2");
            let connection = tokio::spawn(connection);
            let request = ureq::http::Request::get(format!("https://{address}/health/live")).body(());
            let (response, _) = client.send_request(request.expect("a request"), true).expect("it is sent");
            assert_eq!(response.await.expect("an answer").status(), 200);
            connection.abort();
        }
        Some(agreed)
    })
}

#[test]
fn both_protocols_are_spoken_and_the_command_line_trusts_a_given_authority() {
    let (pair, other) = (pair("first"), pair("other"));
    let files = Files::new(&pair);
    let server = files.start(&[]);
    assert!(get(&agent(&pair), &server, "/health/ready").is_some_and(|body| body.contains("ready")));
    assert_eq!(get(&agent(&other), &server, "/health/live"), None, "another authority is not trusted");
    let both = [&version::TLS12, &version::TLS13];
    assert_eq!(handshake(&server, &pair, &["h2", "http/1.1"], &both).as_deref(), Some("h2"));
    assert_eq!(handshake(&server, &pair, &["http/1.1"], &both).as_deref(), Some("http/1.1"));
    assert_eq!(handshake(&server, &pair, &[], &[&version::TLS12]).as_deref(), Some(""));
    for (arguments, is_trusted) in [(vec!["--ca", "ca.pem"], true), (vec![], false)] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidewater"));
        command.current_dir(files.folder.path()).args(["health", "--url", &server.url]).args(&arguments);
        let output = command.output().expect("the binary runs");
        assert_eq!(output.status.success(), is_trusted, "{arguments:?}: {output:?}");
    }
    // Plain HTTP on this port is no handshake.
    let address = server.url.strip_prefix("https://").expect("a URL");
    let mut plain = TcpStream::connect(address).expect("the server listens");
    plain.write_all(b"GET /health/live HTTP/1.1\r\nhost: a\r\n\r\n").expect("loopback");
    let refused = "tidewater_connections_refused_total{reason=\"tls\"}";
    server.wait_until("it is counted", || metric(&agent(&pair), &server, refused) >= 1.0);
    assert!(server.stop("TERM").success());
}

#[test]
fn the_oldest_version_can_be_raised() {
    let pair = pair("first");
    let files = Files::new(&pair);
    let server = files.start(&[("TIDEWATER_TLS__MIN_VERSION", "1.3")]);
    assert!(handshake(&server, &pair, &[], &[&version::TLS13]).is_some());
    assert!(handshake(&server, &pair, &[], &[&version::TLS12]).is_none());
}

#[test]
fn certificates_are_reloaded_and_connections_stay() {
    let (first, second) = (pair("first"), pair("second"));
    let files = Files::new(&first);
    let server = files.start(&[("TIDEWATER_TLS__CHECK_MS", "600000")]);
    let old = agent(&first);
    assert!(get(&old, &server, "/health/live").is_some());
    files.put(&second);
    server.signal("HUP");
    let new = agent(&second);
    server.wait_until("SIGHUP reloads", || get(&new, &server, "/health/live").is_some());
    // It trusts the first authority only, so that it can only have kept its connection.
    assert!(get(&old, &server, "/health/live").is_some(), "the open connection stays");
    assert!(
        get(&agent(&first), &server, "/health/live").is_none(),
        "new connections get the new certificate"
    );
    assert_eq!(metric(&new, &server, "tidewater_tls_reloads_total{outcome=\"ok\"}"), 1.0);
}

#[test]
fn bad_files_leave_the_old_certificate_in_use() {
    let (first, second) = (pair("first"), pair("second"));
    let files = Files::new(&first);
    let server = files.start(&[("TIDEWATER_TLS__CHECK_MS", "100")]);
    let failed = || metric(&agent(&first), &server, "tidewater_tls_reloads_total{outcome=\"failed\"}");
    std::fs::write(files.path("cert.pem"), "no certificate").expect("written");
    server.wait_until("the garbage is noticed", || failed() >= 1.0);
    // A certificate that does not belong to the key.
    std::fs::write(files.path("cert.pem"), &second.cert).expect("written");
    server.wait_until("the mismatch is noticed", || failed() >= 2.0);
    assert!(server.log().contains("the old one stays"), "{}", server.log());
    // With its key it is taken without being asked for.
    std::fs::write(files.path("key.pem"), &second.key).expect("written");
    server.wait_until("the good pair is taken", || get(&agent(&second), &server, "/health/live").is_some());
}

#[test]
fn a_start_without_usable_files_says_why() {
    let pair = pair("first");
    let files = Files::new(&pair);
    std::fs::write(files.path("bad.pem"), "no key").expect("written");
    for (cert, key, expected) in [
        ("cert.pem", "", "belong together"),
        ("cert.pem", "missing.pem", "cannot read missing.pem"),
        ("cert.pem", "bad.pem", "bad.pem holds no private key"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidewater"));
        command.current_dir(files.folder.path()).args(["serve", "--listen", "127.0.0.1:0"]);
        command.env("TIDEWATER_TLS__CERT", cert).env("TIDEWATER_TLS__KEY", key);
        let output = command.output().expect("the binary runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(expected), "{error}");
    }
}
