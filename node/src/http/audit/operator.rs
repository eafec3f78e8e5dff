use super::event::cut;
use crate::{clock, http::query::Query};
use flotilla_proto::oci::{Digest, RepositoryName, Tag};
use http::{Method, StatusCode, Uri};
use serde::Serialize;
use std::net::IpAddr;

/// Who asks as an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operator {
    /// Over the socket of the data directory.
    Socket {
        /// The user that the process runs as.
        uid: Option<u32>,
    },
    /// Over the cluster port.
    Port {
        /// Whence.
        from: Option<IpAddr>,
        /// The sha256 of the client's certificate, hexadecimal.
        certificate: String,
    },
}

/// A line. What is absent is not known, or there is none.
#[derive(Default, Serialize)]
struct Line {
    time: String,
    event: &'static str,
    outcome: &'static str,
    status: u16,
    user: &'static str,
    auth: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<IpAddr>,
    method: &'static str,
    #[serde(flatten)]
    change: Change,
}

/// What is changed. Of an operator's own words only a reason is kept.
#[derive(Default, Serialize)]
struct Change {
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repository: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// The line about what an operator asked, with its end; nothing if that changes nothing.
pub(in crate::http) fn operator_line(
    from: &Operator,
    method: &Method,
    uri: &Uri,
    status: StatusCode,
) -> Option<Vec<u8>> {
    let query = Query::of(uri);
    let asks = |name: &str| query.get(name).is_some_and(|value| value == "true");
    let repository = |name: &str| query.get(name)?.parse::<RepositoryName>().ok().map(|name| name.to_string());
    let (event, method, change) = match (method, uri.path()) {
        (&Method::POST, "/garbage-collect") if !asks("dry_run") => ("collect", "POST", Change::default()),
        (&Method::POST, "/gc") => {
            let mode = ["on", "paused", "verify"].into_iter().find(|mode| query.get("mode").as_deref() == Some(mode));
            let reason = query.get("reason").filter(|reason| !reason.is_empty());
            let reason = reason.map(|reason| cut(&reason).to_owned());
            ("collection", "POST", Change { mode, reason, ..Change::default() })
        }
        (&Method::POST, "/undelete") => {
            let reference = query.get("tag").and_then(|tag| tag.parse::<Tag>().ok()).map(|tag| tag.to_string());
            let digest = query.get("digest").and_then(|digest| digest.parse::<Digest>().ok());
            let change = Change {
                object: Some(if query.get("tag").is_some() { "tag" } else { "manifest" }),
                repository: repository("repository"),
                reference,
                digest: digest.map(|digest| digest.to_string()),
                ..Change::default()
            };
            ("undelete", "POST", change)
        }
        (&Method::DELETE, "/repository") => {
            let change = Change { object: Some("repository"), repository: repository("name"), ..Change::default() };
            ("delete", "DELETE", change)
        }
        (&Method::POST, "/verify") => ("verify", "POST", Change::default()),
        _ => return None,
    };
    let mut line = Line {
        time: clock::rfc3339(clock::wall_ms()),
        event,
        outcome: match status.as_u16() {
            ..400 => "ok",
            400..500 => "refused",
            _ => "failed",
        },
        status: status.as_u16(),
        user: "operator",
        method,
        change,
        ..Line::default()
    };
    match from {
        Operator::Socket { uid } => (line.auth, line.uid) = ("socket", *uid),
        Operator::Port { from, certificate } => {
            (line.auth, line.from, line.certificate) = ("certificate", *from, Some(format!("sha256:{certificate}")));
        }
    }
    let mut text = serde_json::to_vec(&line).ok()?;
    text.push(b'\n');
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(from: &Operator, method: Method, target: &str, status: u16) -> Option<serde_json::Value> {
        let line = operator_line(from, &method, &target.parse().unwrap(), StatusCode::from_u16(status).unwrap())?;
        assert_eq!(line.last(), Some(&b'\n'));
        let mut line: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert!(line.as_object_mut().unwrap().remove("time").is_some());
        Some(line)
    }

    #[test]
    fn changes_leave_a_line_with_who_made_them_and_questions_none() {
        let socket = Operator::Socket { uid: Some(7) };
        let line = shown(&socket, Method::POST, "/gc?mode=paused&reason=moving%20it", 200).unwrap();
        let wanted = serde_json::json!({
            "event": "collection", "outcome": "ok", "status": 200, "user": "operator", "auth": "socket", "uid": 7,
            "method": "POST", "mode": "paused", "reason": "moving it",
        });
        assert_eq!(line, wanted);
        let port = Operator::Port { from: "192.0.2.7".parse().ok(), certificate: "ab".to_owned() };
        let line = shown(&port, Method::DELETE, "/repository?name=team%2Fapp", 409).unwrap();
        let wanted = serde_json::json!({
            "event": "delete", "outcome": "refused", "status": 409, "user": "operator", "auth": "certificate",
            "from": "192.0.2.7", "certificate": "sha256:ab", "method": "DELETE", "object": "repository",
            "repository": "team/app",
        });
        assert_eq!(line, wanted);
        let line = shown(&socket, Method::POST, "/undelete?repository=a&tag=v1", 503).unwrap();
        assert_eq!(
            (&line["outcome"], &line["object"], &line["reference"]),
            (&"failed".into(), &"tag".into(), &"v1".into())
        );
        for target in ["/garbage-collect?dry_run=false", "/verify?hash=true"] {
            assert!(shown(&socket, Method::POST, target, 200).is_some(), "{target}");
        }
        assert!(shown(&socket, Method::POST, "/garbage-collect?dry_run=true", 200).is_none());
        for target in ["/gc", "/why?what=x", "/verify", "/status"] {
            assert!(shown(&socket, Method::GET, target, 200).is_none(), "{target}");
        }
    }

    #[test]
    fn what_has_no_grammar_is_left_out_and_reasons_are_cut() {
        let socket = Operator::Socket { uid: None };
        let line = shown(&socket, Method::POST, "/undelete?repository=NO&digest=%22%0A", 409).unwrap();
        assert!(line.get("repository").is_none() && line.get("digest").is_none(), "{line}");
        let line = shown(&socket, Method::POST, &format!("/gc?mode=x&reason={}", "y".repeat(500)), 409).unwrap();
        assert_eq!(line["reason"].as_str().map(str::len), Some(256));
        assert!(line.get("mode").is_none());
    }
}
