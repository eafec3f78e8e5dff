//! The configuration: never a panic, never a secret in a message, and what is accepted can be written down and read again.

use crate::node_config::{Config, Driver, Formatter, Loaded, Mistakes, TlsVersion, address, from_yaml};
use std::fmt::Write;

/// The value of every secret of this target.
const SECRET: &str = "hush-hush";
const SECRETS: [&str; 4] = [
    "REGISTRY_STORAGE_S3_ACCESSKEY",
    "REGISTRY_STORAGE_S3_SECRETKEY",
    "REGISTRY_STORAGE_S3_SESSIONTOKEN",
    "REGISTRY_HTTP_SECRET",
];

type Variables = Vec<(String, String)>;

/// The input is a file, a line `---env`, and variables, `NAME=value` a line; `REGISTRY_` stands before each name.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (file, lines) = text.split_once("---env\n").unwrap_or((text, ""));
    let pairs = lines.lines().filter_map(|line| line.split_once('='));
    let variables: Variables = pairs.map(|(name, value)| (format!("REGISTRY_{name}"), value.to_owned())).collect();
    let result = from_yaml(file, variables.clone());
    if variables.len() > 1 && !repeated(&variables) {
        let reversed = from_yaml(file, variables.iter().rev().cloned());
        assert_eq!(told(&result), told(&reversed), "the order of the variables matters");
    }
    match &result {
        Ok(Loaded { config, .. }) => accepted(config),
        Err(mistakes) => {
            explained(mistakes);
            if !text.contains("hush") {
                secrets_are_kept(file, &variables);
            }
        }
    }
}

/// A variable has one value; which one wins of two is not for us to say.
fn repeated(variables: &Variables) -> bool {
    variables.iter().enumerate().any(|(at, (name, _))| variables[..at].iter().any(|(other, _)| other == name))
}

/// All that an operator sees of a result.
fn told(result: &Result<Loaded, Mistakes>) -> String {
    match result {
        Ok(Loaded { config, notices }) => format!("{}\n{notices:?}", printed(config)),
        Err(mistakes) => mistakes.to_string(),
    }
}

fn explained(mistakes: &Mistakes) {
    assert!(!mistakes.0.is_empty(), "refused without a mistake");
    for mistake in &mistakes.0 {
        assert!(!mistake.problem.is_empty() && !mistake.fix.is_empty(), "{mistake:?}");
        assert!(mistake.value.as_ref().is_none_or(|value| value.chars().count() <= 201), "{mistake:?}");
    }
}

fn secrets_are_kept(file: &str, variables: &Variables) {
    let mut variables = variables.clone();
    variables.extend(SECRETS.iter().map(|name| ((*name).to_owned(), SECRET.to_owned())));
    match from_yaml(file, variables) {
        Ok(Loaded { config, notices }) => {
            assert!(!format!("{config:?}{notices:?}").contains(SECRET), "a secret in {config:?} or {notices:?}");
        }
        Err(mistakes) => assert!(!format!("{mistakes:?}{mistakes}").contains(SECRET), "a secret in {mistakes}"),
    }
}

/// What the rooms rely on, and: the configuration written as a file is the same configuration.
fn accepted(config: &Config) {
    assert!(["error", "warn", "info", "debug", "trace"].contains(&config.log.level.as_str()));
    assert!(address::split(&config.http.addr).is_some());
    assert!(config.http.debug_addr.as_ref().is_none_or(|text| address::split(text).is_some()));
    assert!(!config.storage.upload_age.is_zero());
    if let Some(cluster) = &config.cluster {
        assert!((1..=7).contains(&cluster.bootstrap_expect));
        assert!(address::split(&cluster.addr).is_some() && address::split(&cluster.advertise).is_some());
        assert!(cluster.tls.is_some() || address::is_loopback(&cluster.addr), "the cluster port is open to anyone");
        assert!(cluster.peers.iter().all(|peer| address::split(peer).is_some_and(|(host, _)| !host.is_empty())));
    }
    let file = printed(config);
    match from_yaml(&file, Variables::new()) {
        Ok(again) => {
            assert_eq!(printed(&again.config), file);
            assert!(again.notices.is_empty(), "{:?} for {file}", again.notices);
        }
        Err(mistakes) => panic!("{mistakes} for {file}"),
    }
}

/// The effective configuration as a file.
fn printed(config: &Config) -> String {
    let mut file = File(String::from("version: 0.1\n"));
    file.section("log:");
    file.text("  level", Some(&config.log.level));
    file.text("  formatter", Some(if config.log.formatter == Formatter::Json { "json" } else { "text" }));
    file.line("  accesslog", &format!("{{disabled: {}}}", !config.log.access_log));
    file.section("http:");
    file.text("  addr", Some(&config.http.addr));
    file.line("  draintimeout", &duration(config.http.drain_timeout));
    if let Some(addr) = &config.http.debug_addr {
        file.section("  debug:");
        file.text("    addr", Some(addr));
    }
    if let Some(tls) = &config.http.tls {
        file.section("  tls:");
        file.text("    certificate", tls.certificate.to_str());
        file.text("    key", tls.key.to_str());
        file.text("    minimumtls", Some(if tls.minimum == TlsVersion::Tls13 { "tls1.3" } else { "tls1.2" }));
    }
    file.section("limits:");
    file.line("  connections", &config.limits.connections.to_string());
    file.line("  requests", &config.limits.requests.to_string());
    file.line("  bodyprogress", &duration(config.limits.body_progress));
    if let Some(htpasswd) = &config.htpasswd {
        file.section("auth:");
        file.section("  htpasswd:");
        file.text("    realm", Some(&htpasswd.realm));
        file.text("    path", htpasswd.path.to_str());
    }
    if let Some(token) = &config.token {
        if config.htpasswd.is_none() {
            file.section("auth:");
        }
        file.section("  token:");
        file.text("    realm", Some(&token.realm));
        file.text("    service", Some(&token.service));
        file.text("    issuer", Some(&token.issuer));
        file.text("    rootcertbundle", token.root_certificates.as_ref().and_then(|path| path.to_str()));
        file.text("    jwks", token.jwks.as_ref().and_then(|path| path.to_str()));
        let names: Vec<_> = token.algorithms.iter().map(|algorithm| algorithm.name()).collect();
        file.line("    signingalgorithms", &format!("[{}]", names.join(", ")));
        file.line("    autoredirect", &token.redirect_path.is_some().to_string());
        file.text("    autoredirectpath", token.redirect_path.as_deref());
    }
    file.section("storage:");
    file.line("  delete", &format!("{{enabled: {}}}", config.storage.delete));
    file.line("  redirect", &format!("{{disable: {}}}", !config.storage.redirect));
    let age = duration(config.storage.upload_age);
    file.line("  maintenance", &format!("{{uploadpurging: {{age: {age}}}}}"));
    match &config.storage.driver {
        Driver::Filesystem(filesystem) => {
            file.section("  filesystem:");
            file.text("    rootdirectory", filesystem.root_directory.to_str());
        }
        Driver::S3(s3) => {
            file.section("  s3:");
            file.text("    bucket", Some(&s3.bucket));
            file.text("    region", Some(&s3.region));
            file.text("    regionendpoint", s3.region_endpoint.as_deref());
            file.text("    accesskey", s3.access_key.as_deref());
            file.text("    secretkey", s3.secret_key.as_deref());
            file.text("    sessiontoken", s3.session_token.as_deref());
            file.text("    rootdirectory", Some(&s3.root_directory));
            file.line("    secure", &s3.secure.to_string());
            file.line("    skipverify", &s3.skip_verify.to_string());
            file.line("    forcepathstyle", &s3.force_path_style.to_string());
            file.line("    encrypt", &s3.encrypt.to_string());
            file.text("    keyid", s3.key_id.as_deref());
            file.text("    storageclass", s3.storage_class.as_deref());
            file.text("    objectacl", s3.object_acl.as_deref());
        }
    }
    file.section("validation:");
    file.section("  manifests:");
    let platforms = if config.validation.sparse_indexes { "none" } else { "all" };
    file.line("    indexes", &format!("{{platforms: {platforms}}}"));
    file.section("    urls:");
    file.list("      allow", config.validation.allowed_urls.iter().map(|pattern| pattern.as_str()));
    file.list("      deny", config.validation.denied_urls.iter().map(|pattern| pattern.as_str()));
    if let Some(cluster) = &config.cluster {
        file.section("cluster:");
        file.text("  datadir", config.data_dir.to_str());
        file.text("  name", Some(&cluster.name));
        file.text("  addr", Some(&cluster.addr));
        file.text("  advertise", Some(&cluster.advertise));
        file.line("  bootstrapexpect", &cluster.bootstrap_expect.to_string());
        file.line("  newstore", &cluster.new_store.to_string());
        file.list("  peers", cluster.peers.iter().map(String::as_str));
        if let Some(tls) = &cluster.tls {
            file.section("  tls:");
            file.text("    certificate", tls.certificate.to_str());
            file.text("    key", tls.key.to_str());
            file.text("    ca", tls.ca.to_str());
        }
    }
    file.0
}

struct File(String);

impl File {
    fn section(&mut self, name: &str) {
        self.0.push_str(name);
        self.0.push('\n');
    }

    fn line(&mut self, key: &str, value: &str) {
        self.section(&format!("{key}: {value}"));
    }

    fn text(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.line(key, &quoted(value));
        }
    }

    fn list<'a>(&mut self, key: &str, values: impl Iterator<Item = &'a str>) {
        let values: Vec<String> = values.map(quoted).collect();
        self.line(key, &format!("[{}]", values.join(", ")));
    }
}

/// A double-quoted YAML text in ASCII, so that no character is special.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            _ => write!(out, "\\U{:08x}", u32::from(c)).expect("a text takes it"),
        }
    }
    out + "\""
}

/// In pieces that floating-point numbers hold exactly.
fn duration(time: std::time::Duration) -> String {
    let seconds = time.as_secs();
    format!("{}s{}s{}ns", seconds >> 32 << 32, seconds & 0xFFFF_FFFF, time.subsec_nanos())
}
