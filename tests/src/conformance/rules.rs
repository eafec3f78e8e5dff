//! What every answer owes, whatever the request was: judged on the side, told in the end.

use super::Suite;
use crate::http::Response;
use anyhow::{Context, Result, ensure};
use http::Method;
use serde_json::Value;
use std::{collections::BTreeMap, sync::PoisonError};

/// The codes of the specification's table, and those of registry:2 for what the table has no word for.
const CODES: [&str; 18] = [
    "BLOB_UNKNOWN",
    "BLOB_UPLOAD_INVALID",
    "BLOB_UPLOAD_UNKNOWN",
    "DIGEST_INVALID",
    "MANIFEST_BLOB_UNKNOWN",
    "MANIFEST_INVALID",
    "MANIFEST_UNKNOWN",
    "NAME_INVALID",
    "NAME_UNKNOWN",
    "SIZE_INVALID",
    "UNAUTHORIZED",
    "DENIED",
    "UNSUPPORTED",
    "TOOMANYREQUESTS",
    "TAG_INVALID",
    "MANIFEST_UNVERIFIED",
    "RANGE_INVALID",
    "PAGINATION_NUMBER_INVALID",
];
const WARNINGS_BYTES_MAX: usize = 4096;
/// The rules, each with how an answer is held to it.
const RULES: [(&str, Rule); 5] = [
    ("no request makes the server fail", no_failure),
    ("errors in JSON have the one shape and known codes", error_shape),
    ("digests in headers are digests", digest_header),
    ("warnings are short and of code 299", warnings),
    ("a 204 declares no body", no_content),
];

type Rule = fn(&Method, &Response) -> Result<()>;
/// What was broken, and the first request that showed it.
pub(super) type Broken = BTreeMap<(&'static str, String), String>;

impl Suite {
    /// Holds an answer to every rule.
    pub(super) fn judge(&self, method: &Method, path: &str, answer: &Response) {
        for (rule, holds) in RULES {
            if let Err(error) = holds(method, answer) {
                let mut broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
                broken.entry((rule, format!("{error:#}"))).or_insert_with(|| format!("{method} {path}"));
            }
        }
    }

    /// Counts a check for each rule.
    pub(super) async fn rules(&self) {
        let broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (rule, _) in RULES {
            let cases: Vec<_> = broken.iter().filter(|((name, _), _)| *name == rule).collect();
            let held = async {
                ensure!(cases.is_empty(), "{cases:?}");
                Ok(())
            };
            self.check(format!("every answer/{rule}"), held).await;
        }
    }
}

fn no_failure(_: &Method, answer: &Response) -> Result<()> {
    ensure!(!answer.status.is_server_error(), "{}", answer.status);
    Ok(())
}

fn error_shape(method: &Method, answer: &Response) -> Result<()> {
    let json = answer.header("content-type").starts_with("application/json");
    if !answer.status.is_client_error() || !json || *method == Method::HEAD {
        return Ok(());
    }
    error_body(&answer.body)
}

fn digest_header(_: &Method, answer: &Response) -> Result<()> {
    let digest = answer.header("docker-content-digest");
    let valid = [("sha256:", 64), ("sha512:", 128)].iter().any(|(algorithm, length)| {
        let hex = |hex: &str| hex.len() == *length && hex.bytes().all(|byte| b"0123456789abcdef".contains(&byte));
        digest.strip_prefix(algorithm).is_some_and(hex)
    });
    ensure!(valid || digest.is_empty(), "Docker-Content-Digest is {digest:?}");
    Ok(())
}

fn warnings(_: &Method, answer: &Response) -> Result<()> {
    let mut bytes = 0;
    for warning in answer.headers.get_all("warning") {
        let text = warning.to_str().context("Warning")?;
        ensure!(text.starts_with("299 - \"") && text.ends_with('"'), "Warning is {text:?}");
        bytes += text.len();
    }
    ensure!(bytes <= WARNINGS_BYTES_MAX, "{bytes} bytes of warnings");
    Ok(())
}

fn no_content(_: &Method, answer: &Response) -> Result<()> {
    let declared = ["content-length", "transfer-encoding"].iter().any(|name| answer.headers.contains_key(*name));
    ensure!(answer.status != 204 || !declared, "a 204 has headers of a body: {:?}", answer.headers);
    Ok(())
}

/// The one shape of an error in JSON.
fn error_body(body: &[u8]) -> Result<()> {
    let text = String::from_utf8_lossy(body);
    let value: Value = serde_json::from_slice(body).with_context(|| format!("error body {text}"))?;
    let errors = value["errors"].as_array().with_context(|| format!("no list of errors: {text}"))?;
    ensure!(!errors.is_empty(), "an empty list of errors");
    for error in errors {
        let code = error["code"].as_str().unwrap_or_default();
        ensure!(CODES.contains(&code), "code {code:?} is not in the specification's table");
        ensure!(error.get("message").is_none_or(Value::is_string), "the message is no string: {text}");
    }
    Ok(())
}
