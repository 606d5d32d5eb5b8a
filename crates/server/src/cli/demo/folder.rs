//! The demo's data folder: its admin key, and the check that it is the demo's.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, bail};

/// Holds the admin key, readable by its owner only, so that a second start can print it again.
const KEY_FILE: &str = "demo.key";
/// Random bytes of a key.
const KEY_BYTES: usize = 32;

/// Makes the folder on the first start; returns the admin key.
pub fn prepare(data: &Path) -> anyhow::Result<String> {
    let path = data.join(KEY_FILE);
    match std::fs::read_to_string(&path) {
        Ok(key) => return Ok(key.trim().to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("cannot read '{}'", path.display())),
    }
    let is_taken = std::fs::read_dir(data).is_ok_and(|mut entries| entries.next().is_some());
    if is_taken {
        bail!("'{}' holds data that the demo did not make; name another folder with --data", data.display());
    }
    std::fs::create_dir_all(data).with_context(|| format!("cannot make the folder '{}'", data.display()))?;
    let mut random = [0; KEY_BYTES];
    getrandom::fill(&mut random).context("the system gives no random numbers")?;
    let digits: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let key = format!("tw_{digits}");
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    let written = file.and_then(|mut file| writeln!(file, "{key}"));
    written.with_context(|| format!("cannot write '{}'", path.display()))?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_key_stays_and_is_private() {
        let dir = tempfile::tempdir().expect("a folder");
        let data = dir.path().join("new");
        let key = prepare(&data).expect("made");
        assert!(key.starts_with("tw_") && key.len() == 67);
        assert_eq!(prepare(&data).expect("read"), key);
        let mode = std::fs::metadata(data.join(KEY_FILE)).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn other_data_is_left_alone() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("catalog.redb"), "x").expect("written");
        let error = prepare(dir.path()).expect_err("refused").to_string();
        assert!(error.contains("--data"), "{error}");
    }
}
