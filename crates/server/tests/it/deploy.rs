//! The files in `deploy/` and what `docs/operations.md` says of settings: they name things that exist, and the programs they are
//! for accept them.
//!
//! What is not run here: the image is not built and no container, pod or systemd unit is started. Programs used where they are
//! found: systemd-analyze, nginx with openssl and curl, kubectl, kubectl-validate, docker compose; see `tools`.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::monitoring::free_port;
use crate::server::{ADMIN_KEY, server_with_edits};
use crate::tools::{find, missing, repository, run, succeed};

const BINARY: &str = env!("CARGO_BIN_EXE_tidewater");
/// Variables that are no settings of the server.
const OTHER_VARIABLES: [&str; 4] =
    ["TIDEWATER_ADMIN_KEY", "TIDEWATER_URL", "TIDEWATER_KEY", "TIDEWATER_PROJECT"];
/// Exposure of the unit that `systemd-analyze security` may find, times ten: an unhardened one has 96.
const EXPOSURE_MAX: &str = "20";

fn deploy() -> PathBuf {
    repository().join("deploy")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// `tidewater serve … --print-config`: what a configuration comes to.
fn effective(arguments: &[&str]) -> toml::Table {
    let said = succeed(Command::new(BINARY).arg("serve").args(arguments).arg("--print-config").env_clear());
    said.parse().expect("TOML")
}

#[test]
fn settings_named_in_deployment_files_exist() {
    let config = effective(&[]);
    let has =
        |section: &str, field: &str| config.get(section).is_some_and(|table| table.get(field).is_some());
    let mut settings = 0;
    let guides = ["docs/operations.md", "tests/load/README.md"].map(|path| repository().join(path));
    for path in files_below(&deploy()).into_iter().chain(guides) {
        let text = read(&path);
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        for word in text.split(|c| !is_word(c)).map(|word| word.trim_matches('.')) {
            if let Some(name) = word.strip_prefix("TIDEWATER_").map(|name| name.trim_matches('_')) {
                let known = match name.to_lowercase().split_once("__") {
                    Some((section, field)) => has(section, field),
                    None => OTHER_VARIABLES.contains(&word),
                };
                assert!(known, "{} names {word}, which no setting is", path.display());
            } else if let Some((section, field)) =
                word.split_once('.').filter(|(section, _)| config.contains_key(*section))
            {
                // `server.rs` and the like are files.
                let is_file = ["rs", "py", "js", "md", "toml", "key"].contains(&field);
                assert!(
                    is_file || has(section, field),
                    "{} names {word}, which no setting is",
                    path.display()
                );
                settings += usize::from(!is_file);
            }
        }
    }
    assert!(settings > 20, "{settings} settings are named");
}

#[test]
fn configuration_files_and_command_lines_are_accepted() {
    for folder in ["kubernetes", "systemd"] {
        let path = deploy().join(folder).join("tidewater.toml");
        let config = effective(&["--config", path.to_str().expect("text")]);
        assert!(config["store"]["data_dir"].as_str().is_some_and(|dir| dir.starts_with('/')), "{folder}");
    }
    // What containers run: the words after CMD and ENTRYPOINT.
    let dockerfile = read(&deploy().join("Dockerfile"));
    let lists: Vec<Vec<String>> =
        dockerfile.lines().filter_map(|line| serde_json::from_str(&line[line.find('[')?..]).ok()).collect();
    assert_eq!(
        lists,
        [vec!["/usr/local/bin/tidewater", "health"], vec!["/usr/local/bin/tidewater"], vec!["serve"]]
    );
    for verb in ["health", "serve"] {
        succeed(Command::new(BINARY).args([verb, "--help"]));
    }
}

#[test]
fn yaml_parses() {
    let python = std::env::var("TIDEWATER_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    if !Command::new(&python).args(["-c", "import yaml"]).output().is_ok_and(|output| output.status.success())
    {
        return missing("PyYAML");
    }
    let is_yaml = |path: &PathBuf| path.extension().is_some_and(|end| end == "yml" || end == "yaml");
    let files: Vec<PathBuf> = files_below(&deploy()).into_iter().filter(is_yaml).collect();
    let program =
        "import sys, yaml\nfor path in sys.argv[1:]:\n    assert list(yaml.safe_load_all(open(path))), path";
    succeed(Command::new(python).args(["-c", program]).args(&files));
    let has_compose = Command::new("docker")
        .args(["compose", "version"])
        .output()
        .is_ok_and(|output| output.status.success());
    if has_compose {
        let mut compose = Command::new("docker");
        compose.args(["compose", "--file"]).arg(deploy().join("compose.yaml")).args(["config", "--quiet"]);
        succeed(compose.env("TIDEWATER_ADMIN_KEY", "a").env("GRAFANA_PASSWORD", "b"));
    } else {
        eprintln!("skipped: there is no docker compose here, so compose.yaml is only parsed");
    }
}

#[test]
fn kubernetes_manifests_are_whole() {
    // Neither is in every distribution; a machine without them skips this even where services are required.
    let found = ["kubectl", "kubectl-validate"].map(|program| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join("go/bin"));
        std::env::split_paths(&path)
            .chain(home)
            .map(|folder| folder.join(program))
            .find(|path| path.is_file())
    });
    let [Some(kubectl), validate] = found else {
        eprintln!("skipped: there is no kubectl here");
        return;
    };
    let manifests = succeed(Command::new(kubectl).arg("kustomize").arg(deploy().join("kubernetes")));
    for part in [
        "kind: StatefulSet",
        "kind: PodDisruptionBudget",
        "kind: NetworkPolicy",
        "memory: 512Mi",
        "memory: 1Gi",
    ] {
        assert!(manifests.contains(part), "{part} is missing in\n{manifests}");
    }
    let Some(validate) = validate else {
        eprintln!("skipped: there is no kubectl-validate here, so fields are not held against the schema");
        return;
    };
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("all.yaml");
    std::fs::write(&path, manifests).expect("written");
    succeed(Command::new(validate).arg(&path));
}

#[test]
fn the_unit_is_valid_and_hardened() {
    let Some(analyze) = find("systemd-analyze", "TIDEWATER_SYSTEMD_ANALYZE") else { return };
    let folder = TempDir::new().expect("a folder");
    let unit = folder.path().join("tidewater.service");
    let text = read(&deploy().join("systemd/tidewater.service"));
    assert!(
        text.contains("ExecStart=/usr/local/bin/tidewater serve --config /etc/tidewater/tidewater.toml\n")
    );
    // The binary is looked for where the unit says.
    std::fs::write(&unit, text.replace("/usr/local/bin/tidewater", BINARY)).expect("written");
    let said = succeed(Command::new(&analyze).arg("verify").arg(&unit));
    assert!(!said.contains("Unknown"), "{said}");
    let threshold = format!("--threshold={EXPOSURE_MAX}");
    succeed(Command::new(&analyze).args(["security", "--offline=true", &threshold]).arg(&unit));
}

#[test]
fn a_proxy_with_the_example_passes_what_it_should() {
    let Some(nginx) = find("nginx", "TIDEWATER_NGINX") else { return };
    let server = server_with_edits(3);
    let folder = server.folder().join("nginx");
    std::fs::create_dir(&folder).expect("a folder");
    let (key, certificate) = (folder.join("tidewater.key"), folder.join("tidewater.crt"));
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "1",
        "-subj",
        "/CN=tidewater.example.com",
    ]);
    openssl
        .args(["-addext", "subjectAltName=DNS:tidewater.example.com", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate);
    succeed(&mut openssl);
    let (http, https) = (free_port(), free_port());
    let upstream = server.url.strip_prefix("http://").expect("an address");
    let example = read(&deploy().join("nginx/tidewater.conf"))
        .replace("127.0.0.1:8321", upstream)
        .replace("/etc/nginx/tls/", &format!("{}/", folder.display()))
        .replace("listen 80;", &format!("listen 127.0.0.1:{http};"))
        .replace("listen 443 ssl http2;", &format!("listen 127.0.0.1:{https} ssl http2;"));
    let own_ports = |line: &&str| !line.contains("[::]");
    let example: Vec<&str> = example.lines().filter(own_ports).collect();
    std::fs::write(folder.join("tidewater.conf"), example.join("\n")).expect("written");
    let scratch = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {}/{name};", folder.display()));
    let frame = format!(
        "daemon off; master_process off; pid {0}/pid; error_log {0}/error.log; events {{}}\nhttp {{ access_log off; {1} include {0}/tidewater.conf; }}\n",
        folder.display(),
        scratch.join(" "),
    );
    let config = folder.join("nginx.conf");
    std::fs::write(&config, frame).expect("written");
    succeed(Command::new(&nginx).arg("-t").arg("-c").arg(&config));
    let mut proxy = Command::new(&nginx).arg("-c").arg(&config).spawn().expect("nginx starts");
    let ask = |arguments: &[&str]| {
        let mut curl = Command::new("curl");
        curl.args([
            "--silent",
            "--show-error",
            "--retry",
            "20",
            "--retry-connrefused",
            "--retry-delay",
            "1",
            "--cacert",
        ]);
        curl.arg(&certificate).args(["--resolve", &format!("tidewater.example.com:{https}:127.0.0.1")]);
        curl.args(["--write-out", "\n%{http_code} %{redirect_url}"]).args(arguments);
        run(&mut curl).1
    };
    let authority = format!("https://tidewater.example.com:{https}");
    let authorization = format!("Authorization: Bearer {ADMIN_KEY}");
    let question = json!({"dataset": "edits", "date_range": "all", "metrics": ["edits"]}).to_string();
    let large = folder.join("large.json");
    std::fs::write(&large, vec![b' '; (16 << 20) + 1]).expect("written");
    let upload = format!("@{}", large.display());
    let replies = [
        ask(&[
            "-H",
            &authorization,
            "-H",
            "Content-Type: application/json",
            "-d",
            &question,
            &format!("{authority}/api/v1/query"),
        ]),
        ask(&[&format!("{authority}/metrics")]),
        ask(&[&format!("{authority}/health/ready")]),
        ask(&["-H", &authorization, "--data-binary", &upload, &format!("{authority}/api/v1/ingest/edits")]),
        ask(&[&format!("{authority}/api/v1/live?q=")]),
        ask(&[&format!("http://127.0.0.1:{http}/a")]),
    ];
    // Before the assertions, so that it does not outlive them.
    let _ = proxy.kill();
    let _ = proxy.wait();
    let answer: Value = serde_json::from_str(replies[0].lines().next().unwrap_or_default())
        .unwrap_or_else(|_| panic!("{replies:?}"));
    assert_eq!(answer["results"][0]["metrics"][0], 3, "{replies:?}");
    let status = |reply: &String| reply.lines().last().map(|line| line.trim().to_owned()).unwrap_or_default();
    assert_eq!(replies[1..4].iter().map(status).collect::<Vec<_>>(), ["404", "404", "413"], "{replies:?}");
    // A stream's route reaches the server, whose problem carries a request id.
    assert!(replies[4].contains("request_id"), "{replies:?}");
    assert_eq!(status(&replies[5]), "308 https://127.0.0.1/a", "{replies:?}");
}
