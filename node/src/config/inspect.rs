//! A configuration for people: each value that the node would use, and where it comes from. Printed, it is YAML that loads
//! as the same configuration, but for secrets.

use super::Loaded;
use std::{
    fmt::{self, Write},
    path::{Path, PathBuf},
};

/// Where the column of sources begins.
const COLUMN: usize = 48;

/// A configuration, and where each of its values comes from.
#[derive(Clone, Debug)]
pub struct Inspected {
    /// The configuration itself.
    pub loaded: Loaded,
    /// Every value that the node would use, in the order of the keys.
    pub settings: Vec<Setting>,
    /// The file; `None` if there was none.
    pub file: Option<PathBuf>,
}

/// A value that the node would use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Dotted path of the key.
    pub key: String,
    /// YAML on one line, secrets masked.
    pub value: String,
    /// Where it comes from.
    pub source: Source,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nobody set it.
    Default,
    /// The configuration file.
    File,
    /// A variable, or several that set parts of it.
    Variable(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "default",
            Self::File => "file",
            Self::Variable(names) => names,
        })
    }
}

impl Inspected {
    /// Files that the node would read: the key and the file.
    pub fn files(&self) -> Vec<(&'static str, &Path)> {
        let config = &self.loaded.config;
        let mut files = Vec::new();
        if let Some(tls) = &config.http.tls {
            files.push(("http.tls.certificate", tls.certificate.as_path()));
            files.push(("http.tls.key", tls.key.as_path()));
            let authorities = tls.clients.iter().flat_map(|clients| &clients.authorities);
            files.extend(authorities.map(|path| ("http.tls.clientcas", path.as_path())));
        }
        if let Some(tls) = config.cluster.as_ref().and_then(|cluster| cluster.tls.as_ref()) {
            files.push(("cluster.tls.certificate", tls.certificate.as_path()));
            files.push(("cluster.tls.key", tls.key.as_path()));
            files.push(("cluster.tls.ca", tls.ca.as_path()));
        }
        if let Some(htpasswd) = &config.htpasswd {
            files.push(("auth.htpasswd.path", htpasswd.path.as_path()));
        }
        if let Some(token) = &config.token {
            files.extend(token.root_certificates.iter().map(|path| ("auth.token.rootcertbundle", path.as_path())));
            files.extend(token.jwks.iter().map(|path| ("auth.token.jwks", path.as_path())));
        }
        files
    }
}

impl fmt::Display for Inspected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let comment = |f: &mut fmt::Formatter<'_>, text: String| writeln!(f, "# {}", one_line(&text));
        match &self.file {
            Some(file) => comment(f, format!("file: {}", file.display()))?,
            None => comment(f, "no file: variables and defaults only".to_owned())?,
        }
        comment(f, format!("data directory: {}", self.loaded.config.data_dir.display()))?;
        let mut open: Vec<&str> = Vec::new();
        for Setting { key, value, source } in &self.settings {
            let mut sections: Vec<&str> = key.split('.').collect();
            let name = sections.pop().unwrap_or_default();
            let same = open.iter().zip(&sections).take_while(|(open, section)| open == section).count();
            for (depth, section) in sections.iter().enumerate().skip(same) {
                writeln!(f, "{:1$}{section}:", "", depth * 2)?;
            }
            let mut line = String::new();
            write!(line, "{:1$}{name}: {value}", "", sections.len() * 2)?;
            writeln!(f, "{line:COLUMN$} # {}", one_line(&source.to_string()))?;
            open = sections;
        }
        for notice in &self.loaded.notices {
            comment(f, format!("notice: {notice}"))?;
        }
        Ok(())
    }
}

/// Keys and names of variables are whatever somebody wrote.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_graphic() || c == ' ' || c.is_alphanumeric() { c } else { '?' }).collect()
}
