//! Bytes are written once: request counts at Garage.

use crate::{garage, on_garage};
use flotilla_tests::{
    http::{Noise, digest_of, full},
    layer_mib,
};

#[tokio::test]
async fn a_large_push_is_one_multipart_upload_without_copy_or_read_back() {
    let Some(store) = garage("a_large_push_is_one_multipart_upload_without_copy_or_read_back").await else { return };
    let cluster = on_garage(&store).await.start().await.unwrap();
    let mib = layer_mib();
    let noise = Noise::new(5, mib << 20);
    let digest = noise.digest();
    let mut client = cluster.client();
    client.limit = std::time::Duration::from_secs(600);
    let before = store.requests().await.unwrap();
    client.push_blob("team/large", &digest, noise.body()).await.unwrap();
    let requests = store.requests().await.unwrap().since(&before);
    println!("a push of {mib} MiB: {requests:?}");
    assert_eq!((requests.create, requests.complete), (1, 1), "{requests:?}");
    assert_eq!(requests.part, mib.div_ceil(16), "{requests:?}");
    assert_eq!((requests.put, requests.get, requests.copy, requests.delete), (0, 0, 0, 0), "{requests:?}");
}

#[tokio::test]
async fn a_small_blob_is_one_put() {
    let Some(store) = garage("a_small_blob_is_one_put").await else { return };
    let cluster = on_garage(&store).await.start().await.unwrap();
    let before = store.requests().await.unwrap();
    let bytes = vec![7; 100_000];
    cluster.client().push_blob("team/small", &digest_of(&bytes), full(bytes.into())).await.unwrap();
    let requests = store.requests().await.unwrap().since(&before);
    println!("a push of 100 kB: {requests:?}");
    assert_eq!((requests.put, requests.part, requests.create), (1, 0, 0), "{requests:?}");
    assert_eq!((requests.get, requests.copy, requests.delete), (0, 0, 0), "{requests:?}");
}
