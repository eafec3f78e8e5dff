//! `flotilla config check`.

use crate::config::{self, Mistakes};
use std::{
    fmt::Write as _,
    fs::{self, File},
    io,
    path::Path,
};

/// What a node would use, the notices, and a warning for each file that it could not read.
///
/// # Errors
/// Every mistake of the configuration.
pub fn check(file: Option<&Path>, env: impl IntoIterator<Item = (String, String)>) -> Result<String, Mistakes> {
    let inspected = config::inspect(file, env)?;
    let mut page = inspected.to_string();
    for (key, path) in inspected.files() {
        if let Err(error) = readable(path) {
            // Writing to a text cannot fail.
            let _ = writeln!(page, "# warning: {key}: cannot read {path:?}: {error}");
        }
    }
    Ok(page)
}

fn readable(path: &Path) -> io::Result<()> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    File::open(path).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_cannot_be_read_are_warnings_and_never_mistakes() {
        let dir = tempfile::tempdir().unwrap();
        let (config, users) = (dir.path().join("config.yml"), dir.path().join("users"));
        let text = format!(
            "http: {{tls: {{certificate: '{0}', key: '{0}/none'}}}}\nauth: {{htpasswd: {{realm: r, path: '{0}/users'}}}}\n",
            dir.path().display()
        );
        fs::write(&config, text).unwrap();
        fs::write(users, "").unwrap();
        let env = [("REGISTRY_STORAGE".to_owned(), "filesystem".to_owned())];
        let page = check(Some(&config), env).unwrap();
        let warnings: Vec<_> = page.lines().filter(|line| line.starts_with("# warning: ")).collect();
        assert!(
            matches!(warnings[..], [first, second]
            if first.contains("http.tls.certificate") && first.contains("not a file")
            && second.contains("http.tls.key") && second.contains("/none")),
            "{page}"
        );
        assert!(page.starts_with(&format!("# file: {}\n", config.display())), "{page}");
        fs::remove_file(&config).unwrap();
        let mistakes = check(Some(&config), []).unwrap_err();
        assert_eq!(mistakes.0[0].key, "configuration file");
    }
}
