//! Who may not pull from a repository cannot tell whether it is there: two registries that differ in it alone answer alike.

use super::*;
use crate::auth::Signer;
use crate::http::tests::access::{access, authorization, seed};

/// What is hidden: before, between and behind those that are shown, and one whose name begins another.
const HIDDEN: [&str; 4] = ["secret/bob", "public", "team/a/b", "zoo"];

#[derive(Clone, Debug)]
struct Step {
    method: &'static str,
    path: String,
    fields: Vec<(&'static str, String)>,
    body: String,
}

/// Names of what is there only in one of the registries, and of what is in both.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => prop::sample::select(HIDDEN.to_vec()),
        1 => prop::sample::select(vec!["team/app", "public/app", "none/x"]),
    ]
    .prop_map(str::to_owned)
}

fn reference() -> impl Strategy<Value = String> {
    let body = manifest(&[(digest_of(b"{}"), 2)], "");
    let digests = [digest_of(body.as_bytes()), digest_of(b"{}"), digest_of(b"other")];
    prop_oneof![
        Just("v1".to_owned()),
        Just("latest".to_owned()),
        prop::sample::select(digests.to_vec()).prop_map(|digest| digest.to_string()),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let path = (name(), name(), reference(), 0..11_u8, 0..4_usize);
    let method = prop::sample::select(vec!["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE"]);
    let condition = option::of((prop::sample::select(vec!["if-match", "if-none-match", "range"]), reference()));
    (path, method, condition).prop_map(|((name, from, reference, kind, n), method, condition)| {
        let id = uuid::Uuid::nil();
        let path = match kind {
            0 => format!("/v2/{name}/manifests/{reference}"),
            1 => format!("/v2/{name}/blobs/{reference}"),
            2 => format!("/v2/{name}/tags/list?n={n}"),
            3 => format!("/v2/{name}/referrers/{reference}"),
            4 => format!("/v2/{name}/blobs/uploads/?mount={reference}&from={from}"),
            5 => format!("/v2/{name}/blobs/uploads/?mount={reference}"),
            6 => format!("/v2/{name}/blobs/uploads/?digest={reference}"),
            7 => format!("/v2/{name}/blobs/uploads/{id}"),
            8 => format!("/v2/_catalog?n={n}&last={from}"),
            9 => format!("/v2/_catalog?n={n}"),
            _ => format!("/v2/{name}/_oci/ext/discover"),
        };
        let mut fields = vec![("content-type", MANIFEST.to_owned())];
        fields.extend(condition.map(|(field, value)| match field {
            "range" => (field, "bytes=0-0".to_owned()),
            field => (field, format!("\"{value}\"")),
        }));
        Step { method, path, fields, body: manifest(&[(digest_of(b"{}"), 2)], "") }
    })
}

/// What a client can see, without what differs between any two answers.
async fn seen(cluster: &Cluster, step: &Step, authorization: Option<&str>) -> String {
    let fields = step.fields.iter().map(|(name, value)| (*name, value.as_str()));
    let fields: Vec<_> = fields.chain(authorization.map(|value| ("authorization", value))).collect();
    let mut answer = cluster.send(step.method.parse().unwrap(), &step.path, &fields, step.body.clone()).await;
    for changing in ["x-request-id", "date", "docker-upload-uuid"] {
        answer.fields.remove(changing);
    }
    let location = answer.location();
    if let Some((start, id)) = location.rsplit_once('/').filter(|(start, _)| start.ends_with("/uploads")) {
        assert!(id.parse::<uuid::Uuid>().is_ok());
        answer.fields.insert("location", start.parse().unwrap());
    }
    let mut fields: Vec<_> = answer.fields.iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
    fields.sort();
    format!("{} {fields:?} {}", answer.status, String::from_utf8_lossy(&answer.body))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES / 2))]

    #[test]
    fn a_repository_that_may_not_be_pulled_from_cannot_be_told_from_none(
        steps in vec(step(), 1..24),
        caller in prop::sample::select(vec![
            ("nobody", None),
            ("ann", None),
            ("nobody", Some(Signer::Cluster)),
            ("ann", Some(Signer::Cluster)),
            ("ann!repository:team/app:pull,push,delete!registry:catalog:*", Some(Signer::Cluster)),
            ("ann!repository:secret/bob:pull,push,delete!registry:catalog:*", Some(Signer::Cluster)),
            ("x!repository:team/app:*", Some(Signer::External)),
        ]),
    ) {
        let (caller, signer) = caller;
        run(async {
            let both = [Cluster::accessed(1, access(signer)).await, Cluster::accessed(1, access(signer)).await];
            for cluster in &both {
                seed(cluster, "team/app");
                seed(cluster, "public/app");
            }
            for name in HIDDEN {
                seed(&both[1], name);
            }
            let authorization = authorization(caller);
            for (n, step) in steps.iter().enumerate() {
                let without = seen(&both[0], step, authorization.as_deref()).await;
                let with = seen(&both[1], step, authorization.as_deref()).await;
                prop_assert_eq!(without, with, "{} at step {} {:?}", caller, n, step);
            }
            Ok(())
        })?;
    }
}
