//! The page at `/docs`: whole in itself, and a browser shows every operation of the interface.

use std::process::Command;

use crate::server::Server;
use crate::tools;

#[test]
fn the_page_loads_nothing_from_elsewhere() {
    let server = Server::start();
    let reply = server.request("GET", "/docs").key(None).send().expect(200);
    assert_eq!(reply.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = reply.header("content-security-policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none'") && policy.contains("connect-src 'self'"), "{policy}");
    let page = reply.text();
    for needle in ["src=", "@import", "<link rel=\"stylesheet", "import("] {
        assert!(!page.contains(needle), "the page holds {needle}");
    }
    // The only addresses are names of XML vocabularies.
    let addresses: Vec<&str> = page.split("http").skip(1).collect();
    assert!(addresses.iter().all(|rest| rest.starts_with("://www.w3.org/")), "{addresses:?}");
}

#[test]
fn a_browser_shows_every_operation() {
    let Some(browser) = tools::find("chromium", "TIDEWATER_CHROMIUM") else { return };
    let server = Server::start();
    let profile = tempfile::tempdir().expect("a temporary folder");
    let document = server.get("/api/v1/openapi.json").expect(200).json();
    // The first operation is opened by its name in the address.
    let url = format!("{}/docs#post-api-v1-query", server.url);
    let mut command = Command::new(browser);
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(["--virtual-time-budget=10000", "--dump-dom", &url]);
    let output = command.output().expect("the browser starts");
    let page = String::from_utf8_lossy(&output.stdout);
    let mut count = 0;
    for (path, item) in document["paths"].as_object().expect("paths") {
        for method in item.as_object().expect("methods").keys() {
            let words: Vec<&str> = path.split(|c: char| !c.is_ascii_alphanumeric()).collect();
            let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
            let id = format!("id=\"{method}-{}", words.join("-"));
            assert!(page.contains(&id), "{method} {path} is not on the page:\n{page}");
            count += 1;
        }
    }
    assert!(count >= 25, "{count} operations");
    for needle in ["Content-Type", "date_range", "aria-label=\"as a curl command\"", "Bearer"] {
        assert!(page.contains(needle), "the opened operation shows {needle}");
    }
}
