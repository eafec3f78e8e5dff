//! What the specification asks of refusals and warnings. `docs/spec-coverage.md` names the test of each row.

use super::*;
use crate::http::error::{Error, respond};
use crate::registry;

/// The specification's list, then the codes of the older Docker API that clients know.
const CODES: [&str; 17] = [
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
    "PAGINATION_NUMBER_INVALID",
    "RANGE_INVALID",
    "TAG_INVALID",
];

/// A request that is refused: method, path, a header and body; then status and code of the answer.
type Refusal = (Method, String, (&'static str, &'static str), String, u16, &'static str);

/// A cluster, and a request for each reason to refuse.
async fn refusals() -> (Cluster, Vec<Refusal>) {
    let cluster = Cluster::of(1).await;
    let (digest, _) = cluster.push_image("a", "v1", b"layer").await;
    let location = cluster.send(Method::POST, "/v2/a/blobs/uploads/", &[], "").await.expect(202).location();
    let typed = ("content-type", MANIFEST);
    let (config, missing) = (digest_of(b"{}"), digest_of(b"missing"));
    let unknown = "00000000-0000-4000-8000-000000000000";
    let no = ("accept", "*/*");
    let (get, put, patch) = (Method::GET, Method::PUT, Method::PATCH);
    let post = Method::POST;
    let refusals: Vec<Refusal> = vec![
        (get.clone(), format!("/v2/a/blobs/{missing}"), no, "".into(), 404, "BLOB_UNKNOWN"),
        (get.clone(), format!("/v2/a/blobs/uploads/{unknown}"), no, "".into(), 404, "BLOB_UPLOAD_UNKNOWN"),
        (patch.clone(), format!("/v2/a/blobs/uploads/{unknown}"), no, "x".into(), 404, "BLOB_UPLOAD_UNKNOWN"),
        (Method::DELETE, format!("/v2/a/blobs/uploads/{unknown}"), no, "".into(), 404, "BLOB_UPLOAD_UNKNOWN"),
        (get.clone(), "/v2/a/blobs/sha256:x".into(), no, "".into(), 400, "DIGEST_INVALID"),
        (put.clone(), format!("{location}?digest={missing}"), no, "x".into(), 400, "DIGEST_INVALID"),
        (put.clone(), location.clone(), no, "x".into(), 400, "DIGEST_INVALID"),
        (put.clone(), format!("/v2/a/manifests/{missing}"), typed, manifest(&[(config, 2)], ""), 400, "DIGEST_INVALID"),
        (put.clone(), "/v2/a/manifests/v2".into(), typed, manifest(&[(missing, 2)], ""), 400, "MANIFEST_BLOB_UNKNOWN"),
        (put.clone(), "/v2/a/manifests/v2".into(), typed, "no json".into(), 400, "MANIFEST_INVALID"),
        (
            put.clone(),
            "/v2/a/manifests/v2".into(),
            ("content-type", "text/plain"),
            "{}".into(),
            400,
            "MANIFEST_INVALID",
        ),
        (put.clone(), "/v2/a/manifests/v2".into(), typed, " ".repeat((4 << 20) + 1), 413, "MANIFEST_INVALID"),
        (get.clone(), "/v2/a/manifests/v2".into(), no, "".into(), 404, "MANIFEST_UNKNOWN"),
        (get.clone(), "/v2/A/manifests/v1".into(), no, "".into(), 400, "NAME_INVALID"),
        (post.clone(), "/v2/a..b/blobs/uploads/".into(), no, "".into(), 400, "NAME_INVALID"),
        (get.clone(), "/v2/nobody/tags/list".into(), no, "".into(), 404, "NAME_UNKNOWN"),
        (patch.clone(), location.clone(), ("content-range", "0-4"), "x".into(), 400, "SIZE_INVALID"),
        (patch, location, ("content-range", "5-5"), "x".into(), 416, "RANGE_INVALID"),
        (get.clone(), format!("/v2/a/blobs/{config}"), ("range", "bytes=9-"), "".into(), 416, "RANGE_INVALID"),
        (put.clone(), "/v2/a/manifests/.v2".into(), typed, "{}".into(), 400, "TAG_INVALID"),
        (get.clone(), "/v2/a/tags/list?n=x".into(), no, "".into(), 400, "PAGINATION_NUMBER_INVALID"),
        (put, "/v2/a/tags/list".into(), no, "".into(), 405, "UNSUPPORTED"),
        (post, format!("/v2/a/manifests/{digest}"), no, "".into(), 405, "UNSUPPORTED"),
        (get, "/v2/a/unknown/endpoint".into(), no, "".into(), 404, "UNSUPPORTED"),
    ];
    (cluster, refusals)
}

#[tokio::test]
async fn each_reason_to_refuse_has_its_status_and_code() {
    let (cluster, refusals) = refusals().await;
    for (method, path, field, body, status, code) in refusals {
        let refused = cluster.send(method.clone(), &path, &[field], body).await;
        assert_eq!((refused.status.as_u16(), refused.code().as_str()), (status, code), "{method} {path}");
    }
}

#[tokio::test]
async fn every_refusal_is_an_error_document_with_known_codes() {
    let (cluster, refusals) = refusals().await;
    for (method, path, field, body, ..) in refusals {
        let refused = cluster.send(method, &path, &[field], body).await;
        assert_eq!(refused.field("content-type"), "application/json");
        let document = refused.json();
        assert_eq!(document.as_object().unwrap().keys().collect::<Vec<_>>(), ["errors"], "{path}");
        let errors = document["errors"].as_array().unwrap();
        assert!(!errors.is_empty(), "{path}");
        for error in errors {
            let code = error["code"].as_str().unwrap();
            assert!(code.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'), "{code}");
            assert!(CODES.contains(&code), "{code}");
            assert!(error["message"].as_str().unwrap().contains(' '), "a sentence for people: {error}");
            assert!(error.as_object().unwrap().keys().all(|key| ["code", "message", "detail"].contains(&key.as_str())));
        }
    }
}

#[test]
fn an_upload_that_cannot_go_on_is_invalid() {
    use http_body_util::BodyExt as _;
    let gone: registry::BodyError = "the client is gone".into();
    for error in [registry::Error::UploadFull(uuid::Uuid::nil()), registry::Error::BodyIncomplete(gone)] {
        let response = respond(&Error::from(error));
        assert_eq!(response.status(), 400);
        let body = futures_util::FutureExt::now_or_never(response.into_body().collect()).unwrap().unwrap().to_bytes();
        let document: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(document["errors"][0]["code"], "BLOB_UPLOAD_INVALID");
    }
}

/// Warnings
#[tokio::test]
async fn warnings_have_code_299_no_agent_and_no_date() {
    let cluster = Cluster::of(1).await;
    let config = cluster.push_blob("a", b"{}").await;
    let media_type = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
    let layers: Vec<String> = (0..100)
        .map(|n| {
            let digest = digest_of(format!("elsewhere {n}").as_bytes());
            let url = format!("https://store.example.com/{n}/{}", "x".repeat(100));
            format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":9,"urls":["{url}"]}}"#)
        })
        .collect();
    let layers = format!("\"layers\":[{}]", layers.join(","));
    let body = manifest(&[(config, 2)], "").replace("\"layers\":[]", &layers);
    let answer = cluster.put("/v2/a/manifests/v1", &[], body).await.expect(201);
    let warnings: Vec<_> = answer.fields.get_all("warning").iter().map(|value| value.to_str().unwrap()).collect();
    assert!(!warnings.is_empty());
    for warning in &warnings {
        let text = warning.strip_prefix("299 - \"").and_then(|rest| rest.strip_suffix('"')).unwrap();
        assert!(!text.contains('"'), "a date would follow the text: {warning}");
    }
    assert!(warnings.iter().map(|warning| warning.len()).sum::<usize>() <= 4_096);

    let plain = cluster.put("/v2/a/manifests/v2", &[], manifest(&[(config, 2)], "")).await.expect(201);
    assert_eq!(plain.field("warning"), "");
}
