mod server;

use super::*;
use crate::blobstore::contract;
use http::Method;
use server::{Fault, Server};
use tokio::task::JoinSet;

/// A store at a real service, if the environment names one.
async fn real() -> Option<S3> {
    let value = |name: &str| std::env::var(name).ok();
    let Some(endpoint) = value("FLOTILLA_TEST_S3_ENDPOINT") else {
        eprintln!("skipped: FLOTILLA_TEST_S3_ENDPOINT is not set");
        return None;
    };
    Some(
        open(config::S3 {
            bucket: value("FLOTILLA_TEST_S3_BUCKET").expect("FLOTILLA_TEST_S3_BUCKET beside the endpoint"),
            region: value("AWS_REGION").unwrap_or_default(),
            region_endpoint: Some(endpoint),
            root_directory: format!("/contract-{}", uuid::Uuid::new_v4()),
            force_path_style: true,
            ..config::S3::default()
        })
        .await,
    )
}

async fn open(config: config::S3) -> S3 {
    let budget = Budget::new(24 << 20, 1 << 30, std::env::temp_dir(), Metrics::default());
    S3::open(config, budget, Lifecycle::new(), Metrics::default()).await.unwrap()
}

/// Nothing is left but the marker, uploads included.
async fn left_clean(store: &S3) {
    assert!(store.0.lifecycle.drained(Duration::from_secs(30)).await);
    let (client, bucket, prefix) = (&store.0.client, &store.0.config.bucket, &store.0.prefix);
    let listed = client.list_objects_v2().bucket(bucket).prefix(prefix).send().await.unwrap();
    let keys: Vec<_> = listed.contents().iter().filter_map(|object| object.key()).collect();
    assert_eq!(keys, [format!("{prefix}{MARKER}")]);
    let uploads = client.list_multipart_uploads().bucket(bucket).prefix(prefix).send().await.unwrap();
    assert!(uploads.uploads().is_empty(), "{uploads:?}");
}

#[tokio::test]
async fn a_real_service_keeps_the_contract() {
    let Some(store) = real().await else { return };
    contract::run(&store).await;
    left_clean(&store).await;
}

/// A store at a service in this process; the rest must live as long as the test.
async fn local() -> (S3, Server, (tempfile::TempDir, JoinSet<()>)) {
    let (folder, mut tasks) = (tempfile::tempdir().unwrap(), JoinSet::new());
    let server = Server::start(folder.path(), &mut tasks).await;
    let store = open(config::S3 {
        bucket: "bucket".to_owned(),
        region: "us-east-1".to_owned(),
        region_endpoint: Some(server.endpoint.clone()),
        access_key: Some("id".to_owned()),
        secret_key: Some("secret".to_owned()),
        root_directory: "root".to_owned(),
        force_path_style: true,
        ..config::S3::default()
    });
    (store.await, server, (folder, tasks))
}

const LONG: usize = contract::PART + 1000;

#[tokio::test]
async fn a_service_in_this_process_keeps_the_contract() {
    let (store, _server, _guard) = local().await;
    contract::run(&store).await;
}

#[tokio::test]
async fn a_small_object_is_one_request_and_slow_downs_are_not_seen() {
    let (store, server, _guard) = local().await;
    let key = contract::key();
    contract::put(&store, &key, &[1; 5000]).await;
    assert_eq!(server.seen(), ["PUT x-id=PutObject"]);
    server.fail((Method::GET, ""), Fault::SlowDown, 2);
    assert_eq!(contract::get(&store, &key, 0..5000).await.unwrap(), [1; 5000]);
    server.fail((Method::PUT, "partNumber=1"), Fault::SlowDown, 2);
    let key = contract::key();
    contract::put(&store, &key, &contract::sample(LONG)).await;
    assert!(contract::get(&store, &key, 0..LONG as u64).await.unwrap() == contract::sample(LONG));
    assert_eq!(server.pending(), 0);
}

#[tokio::test]
async fn a_complete_whose_answer_is_lost_is_definite() {
    let (store, server, _guard) = local().await;
    server.fail((Method::POST, "uploadId="), Fault::LostAnswer, 1);
    let key = contract::key();
    contract::put(&store, &key, &contract::sample(LONG)).await;
    assert_eq!((server.pending(), store.length(&key).await.unwrap()), (0, Some(LONG as u64)));
    assert!(!server.seen().iter().any(|request| request.starts_with("DELETE")), "no abort once Complete was sent");
}

#[tokio::test]
async fn a_put_whose_answer_is_lost_is_definite() {
    let (store, server, _guard) = local().await;
    server.fail((Method::PUT, "PutObject"), Fault::LostAnswer, 5);
    let key = contract::key();
    contract::put(&store, &key, b"bytes").await;
    assert_eq!((server.pending(), store.length(&key).await.unwrap()), (0, Some(5)));
}

#[tokio::test]
async fn an_error_in_the_body_of_a_200_is_not_success() {
    let (store, server, _guard) = local().await;
    server.fail((Method::POST, "uploadId="), Fault::ErrorIn200, 1);
    let (tried, key) = (contract::sample(LONG), contract::key());
    contract::put(&store, &key, &tried).await;
    assert!(contract::get(&store, &key, 0..LONG as u64).await.unwrap() == tried);
    server.fail((Method::POST, "uploadId="), Fault::ErrorIn200, 10);
    let mut writer = store.writer(contract::key()).await.unwrap();
    writer.write(tried.into()).await.unwrap();
    assert!(writer.finish().await.is_err());
}

#[tokio::test]
async fn a_store_without_many_deletes_at_once_deletes_one_by_one_and_one_that_refuses_is_not_asked_a_thousand_times() {
    let (store, server, _guard) = local().await;
    let keys: Vec<Key> = (0..40).map(|_| contract::key()).collect();
    for key in &keys {
        contract::put(&store, key, b"bytes").await;
    }
    let deletes = || server.seen().iter().filter(|request| request.starts_with("DELETE")).count();
    server.fail((Method::POST, "delete"), Fault::Refused, 1);
    server.fail((Method::DELETE, ""), Fault::Refused, 40);
    let refused = store.delete(keys.clone()).await;
    assert_eq!(refused.len(), 40);
    assert!(refused.iter().all(|one| matches!(one.result, Err(Error::Refused { .. }))));
    assert_eq!((deletes(), server.pending()), (SINGLY, 40 - SINGLY));

    // One that refuses some keys deletes the others.
    server.forget_faults();
    server.fail((Method::POST, "delete"), Fault::Refused, 1);
    server.fail((Method::DELETE, ""), Fault::Refused, 3);
    let some = store.delete(keys.clone()).await;
    assert_eq!((some.iter().filter(|one| one.result.is_ok()).count(), deletes()), (37, 40));
    assert!(store.delete(keys.clone()).await.iter().all(|one| one.result.is_ok()));
    for key in &keys {
        assert_eq!(store.length(key).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_body_that_breaks_is_resumed_where_it_broke() {
    let (store, server, _guard) = local().await;
    let (key, bytes) = (contract::key(), contract::sample(300_000));
    contract::put(&store, &key, &bytes).await;
    server.fail((Method::GET, ""), Fault::Truncated, 3);
    assert!(contract::get(&store, &key, 1000..299_000).await.unwrap() == bytes[1000..299_000]);
    assert_eq!(server.pending(), 0);
    server.fail((Method::GET, ""), Fault::Truncated, 20);
    assert!(matches!(contract::get(&store, &key, 0..300_000).await, Err(Error::Unavailable { .. })));
}

#[tokio::test]
async fn a_signed_url_is_for_one_object_and_a_short_time() {
    let (store, server, _guard) = local().await;
    let key = contract::key();
    contract::put(&store, &key, b"bytes").await;
    let url = store.presign(&key, Duration::from_secs(900)).await.unwrap().unwrap();
    assert!(url.starts_with(&format!("{}/bucket/root/{key}?", server.endpoint)), "{url}");
    assert!(url.contains("X-Amz-Expires=900&") && url.contains("X-Amz-SignedHeaders=host&"), "{url}");
    server.seen();

    // Clients may reach the store at another address than this node does.
    let config = config::S3 { redirect_endpoint: Some("https://cdn.example".into()), ..store.0.config.clone() };
    let store = open(config).await;
    let url = store.presign(&key, Duration::from_secs(900)).await.unwrap().unwrap();
    assert!(url.starts_with(&format!("https://cdn.example/bucket/root/{key}?")), "{url}");
    assert_eq!(server.seen(), [""; 0], "signing asks nobody");
    assert_eq!(store.length(&key).await.unwrap(), Some(5), "the node itself goes on as before");
}

/// Leaves a multipart upload behind, as a process does that is killed.
async fn leave_an_upload(store: &S3) -> Key {
    let key = contract::key();
    let created = store.0.client.create_multipart_upload().bucket(&store.0.config.bucket).key(store.0.path(&key));
    assert!(created.send().await.unwrap().upload_id().is_some());
    key
}

async fn uploads_that_were_left_are_listed_and_aborted(store: &S3, count: usize) {
    let key = leave_an_upload(store).await;
    let found = store.uploads("contract/i1/7/").await.unwrap();
    assert_eq!(found.iter().map(|upload| &upload.key).collect::<Vec<_>>(), [&key]);
    assert_eq!(store.uploads("contract/i1/8/").await.unwrap(), []);
    // More than one page.
    let mut keys = vec![key.clone()];
    for _ in 1..count {
        keys.push(leave_an_upload(store).await);
    }
    keys.sort();
    let mut all = store.uploads("contract/i1/7/").await.unwrap();
    all.sort_by(|a, b| a.key.cmp(&b.key));
    assert_eq!(all.iter().map(|upload| &upload.key).collect::<Vec<_>>(), keys.iter().collect::<Vec<_>>());
    for upload in all.iter().filter(|upload| upload.key != key) {
        store.abort(upload).await.unwrap();
    }
    assert!(store.has_no_parts(&found[0]).await.unwrap());
    let part = store.0.client.upload_part().bucket(&store.0.config.bucket).key(store.0.path(&key)).part_number(1);
    part.upload_id(&found[0].id).body(Bytes::from_static(b"part").into()).send().await.unwrap();
    assert!(!store.has_no_parts(&found[0]).await.unwrap());
    store.abort(&found[0]).await.unwrap();
    assert_eq!(store.uploads("contract/i1/7/").await.unwrap(), []);
}

#[tokio::test]
async fn a_real_service_lists_and_aborts_uploads() {
    let Some(store) = real().await else { return };
    uploads_that_were_left_are_listed_and_aborted(&store, 1_003).await;
    let hazards = store.hazards().await;
    assert!(hazards.as_ref().is_ok_and(Vec::is_empty), "{hazards:?}");
}

#[tokio::test]
async fn a_service_in_this_process_lists_and_aborts_uploads() {
    let (store, server, _guard) = local().await;
    uploads_that_were_left_are_listed_and_aborted(&store, 7).await;
    server.seen();
    assert!(store.hazards().await.is_err(), "a store that does not tell");
    assert_eq!(server.seen().len(), 2, "neither its life cycle rules nor its versions");
}

#[tokio::test]
async fn an_object_that_is_there_is_not_gone_because_somebody_says_404() {
    let (store, server, _guard) = local().await;
    let key = contract::key();
    contract::put(&store, &key, b"bytes").await;
    server.fail((Method::POST, "delete"), Fault::Refused, 1);
    server.fail((Method::DELETE, ""), Fault::Bare404, 1);
    let deleted = store.delete(vec![key.clone()]).await;
    assert!(matches!(deleted[0].result, Err(Error::Unavailable { .. })), "{deleted:?}");
    assert_eq!((server.pending(), store.length(&key).await.unwrap()), (0, Some(5)));
    server.fail((Method::POST, "delete"), Fault::Refused, 1);
    assert!(store.delete(vec![key.clone()]).await[0].result.is_ok());
    assert_eq!(store.length(&key).await.unwrap(), None);
}

#[tokio::test]
async fn a_missing_bucket_lists_nothing_wrongly() {
    let (store, _server, (folder, _tasks)) = local().await;
    std::fs::remove_dir_all(folder.path().join("bucket")).unwrap();
    assert!(matches!(store.list("c/i/", None).await, Err(Error::Refused { .. })));
}

#[tokio::test]
async fn a_missing_bucket_is_not_a_missing_object() {
    let (store, _server, (folder, _tasks)) = local().await;
    assert_eq!(store.length(&contract::key()).await.unwrap(), None);
    std::fs::remove_dir_all(folder.path().join("bucket")).unwrap();
    assert!(matches!(store.length(&contract::key()).await, Err(Error::Refused { .. })));
}
