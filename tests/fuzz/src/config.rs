//! The configuration: never a panic, never a secret in a message, and what is accepted can be written down and read again.

use crate::config::{Config, Inspected, Mistakes, Setting, address, inspect_yaml};

/// The value of every secret of this target.
const SECRET: &str = "hush-hush";
const SECRETS: [&str; 6] = [
    "REGISTRY_AUTH_TOKEN",
    "REGISTRY_STORAGE_AZURE_ACCOUNTKEY",
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
    let result = inspect_yaml(file, variables.clone());
    if variables.len() > 1 && !repeated(&variables) {
        let reversed = inspect_yaml(file, variables.iter().rev().cloned());
        assert_eq!(told(&result), told(&reversed), "the order of the variables matters");
    }
    match &result {
        Ok(inspected) => accepted(inspected, text.contains("<<")),
        Err(mistakes) => explained(mistakes),
    }
    if !text.contains("hush") {
        secrets_are_kept(file, &variables);
    }
}

/// A variable has one value; which one wins of two is not for us to say.
fn repeated(variables: &Variables) -> bool {
    variables.iter().enumerate().any(|(at, (name, _))| variables[..at].iter().any(|(other, _)| other == name))
}

/// All that an operator sees of a result.
fn told(result: &Result<Inspected, Mistakes>) -> String {
    match result {
        Ok(inspected) => format!("{inspected}\n{inspected:?}"),
        Err(mistakes) => format!("{mistakes}\n{mistakes:?}"),
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
    let told = told(&inspect_yaml(file, variables));
    assert!(!told.contains(SECRET), "a secret in {told}");
}

/// What the rooms rely on, and: the page of `config check` is a file with the same configuration. (A merge key in a value
/// is merged only when it is read again.)
fn accepted(inspected: &Inspected, merges: bool) {
    relied_upon(&inspected.loaded.config);
    if merges {
        return;
    }
    let page = inspected.to_string();
    match inspect_yaml(&page, Variables::new()) {
        Ok(again) => {
            let values = |of: &Inspected| -> Vec<(String, String)> {
                of.settings.iter().map(|Setting { key, value, .. }| (key.clone(), value.clone())).collect()
            };
            assert_eq!(values(&again), values(inspected), "for {page}");
            assert!(again.loaded.notices.is_empty(), "{:?} for {page}", again.loaded.notices);
            // Secrets are masked, and so not the same.
            if !page.contains("***") {
                assert_eq!(
                    format!("{:?}", again.loaded.config),
                    format!("{:?}", inspected.loaded.config),
                    "for {page}"
                );
            }
        }
        Err(mistakes) => panic!("{mistakes} for {page}"),
    }
}

fn relied_upon(config: &Config) {
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
}
