use super::*;
use crate::blobstore::contract;

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
