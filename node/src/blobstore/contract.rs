//! What every store keeps. Each step is a sentence of the trait's documentation.

use super::{BlobStore, Error, Key, Page};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, future::join_all};
use std::{
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// The S3 store's part.
pub const PART: usize = 16 * 1024 * 1024;

/// A fresh key; keys of one process never repeat.
pub fn key() -> Key {
    static N: AtomicU64 = AtomicU64::new(0);
    let (session, n) = (uuid::Uuid::new_v4().to_string(), N.fetch_add(1, Ordering::Relaxed));
    Key::new("contract", "i1", 7, &session, "boot", n).unwrap()
}

/// Bytes that differ at every offset a test looks at.
pub fn sample(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at ^ at >> 8 ^ at >> 16) as u8).collect()
}

/// Writes an object in uneven pieces.
pub async fn put(store: &dyn BlobStore, key: &Key, bytes: &[u8]) {
    let mut writer = store.writer(key.clone()).await.unwrap();
    let bytes = Bytes::copy_from_slice(bytes);
    let (mut at, mut step) = (0, 1);
    while at < bytes.len() {
        let end = bytes.len().min(at + step);
        writer.write(bytes.slice(at..end)).await.unwrap();
        (at, step) = (end, (step * 3 + 1).min(70_001));
    }
    assert_eq!(writer.finish().await.unwrap(), bytes.len() as u64);
}

/// Reads a range.
pub async fn get(store: &dyn BlobStore, key: &Key, range: Range<u64>) -> Result<Vec<u8>, Error> {
    let mut pieces = store.read(key, range).await?;
    let mut out = Vec::new();
    while let Some(piece) = pieces.try_next().await? {
        assert!(!piece.is_empty(), "a stream has no empty pieces");
        out.extend_from_slice(&piece);
    }
    assert!(pieces.next().await.is_none());
    Ok(out)
}

async fn gone(store: &dyn BlobStore, key: &Key) {
    assert_eq!(store.length(key).await.unwrap(), None);
    let read = get(store, key, 0..10).await;
    assert!(matches!(&read, Err(Error::NotFound { key: named }) if *named == key.to_string()), "{read:?}");
}

async fn delete(store: &dyn BlobStore, keys: &[Key]) {
    let deleted = store.delete(keys.to_vec()).await;
    assert_eq!(deleted.len(), keys.len());
    for one in deleted {
        assert!(keys.contains(&one.key));
        one.result.unwrap();
    }
}

/// Runs the suite on an empty store and leaves it empty but for the marker.
pub async fn run(store: &dyn BlobStore) {
    objects_read_as_written(store).await;
    what_is_not_finished_is_not_there(store).await;
    writers_do_not_disturb_each_other(store).await;
    deletes_repeat(store).await;
    listings_name_what_is_there(store).await;
    the_marker_is_kept(store).await;
    assert!(!store.describe().is_empty());
    assert!(!store.holds_distribution_layout().await.unwrap());
}

async fn objects_read_as_written(store: &dyn BlobStore) {
    for length in [1, 4096, 300_000, PART - 1, PART, PART + 1, 3 * PART + 5] {
        let (key, bytes) = (key(), sample(length));
        put(store, &key, &bytes).await;
        let end = length as u64;
        assert_eq!(store.length(&key).await.unwrap(), Some(end));
        assert!(get(store, &key, 0..end).await.unwrap() == bytes, "{length} bytes");
        let ranges =
            [(0, 1), (end / 2, end), (end - 1, end), (end / 3, end / 3 * 2), (0, end.min(65_537)), (0, end + 10)];
        for (from, to) in ranges {
            let expected = &bytes[from as usize..to.min(end) as usize];
            assert!(get(store, &key, from..to).await.unwrap() == expected, "{from}..{to} of {length}");
        }
        assert!(get(store, &key, 3..3).await.unwrap().is_empty());
        assert!(get(store, &key, end..end + 5).await.unwrap().is_empty());
        delete(store, &[key]).await;
    }
}

async fn what_is_not_finished_is_not_there(store: &dyn BlobStore) {
    for length in [5, PART + 1, 2 * PART + 1] {
        let (aborted, dropped) = (key(), key());
        let bytes = Bytes::from(sample(length));
        let mut writer = store.writer(aborted.clone()).await.unwrap();
        writer.write(bytes.clone()).await.unwrap();
        gone(store, &aborted).await;
        writer.abort().await;
        gone(store, &aborted).await;
        let mut writer = store.writer(dropped.clone()).await.unwrap();
        writer.write(bytes).await.unwrap();
        drop(writer);
        gone(store, &dropped).await;
    }
    drop(store.writer(key()).await.unwrap());
}

async fn writers_do_not_disturb_each_other(store: &dyn BlobStore) {
    let bytes: Vec<_> = (0..8).map(|i| sample(400_000 + i * 7)).collect();
    let keys: Vec<_> = bytes.iter().map(|_| key()).collect();
    join_all(keys.iter().zip(&bytes).map(|(key, bytes)| put(store, key, bytes))).await;
    for (key, bytes) in keys.iter().zip(&bytes) {
        assert!(get(store, key, 0..u64::MAX / 2).await.unwrap() == *bytes);
    }
    delete(store, &keys).await;
}

async fn deletes_repeat(store: &dyn BlobStore) {
    let (one, other, never) = (key(), key(), key());
    put(store, &one, b"one").await;
    put(store, &other, b"other").await;
    let url = store.presign(&one, Duration::from_secs(60)).await.unwrap();
    assert!(url.is_none_or(|url| url.starts_with("http") && url.contains(one.as_str())));
    delete(store, &[one.clone(), never]).await;
    delete(store, std::slice::from_ref(&one)).await;
    gone(store, &one).await;
    assert_eq!(get(store, &other, 0..9).await.unwrap(), b"other");
    delete(store, &[other]).await;
    delete(store, &[]).await;
}

async fn listings_name_what_is_there(store: &dyn BlobStore) {
    let in_hour = |hour, n| Key::new("listed", "i1", hour, "session", "boot", n).unwrap();
    let mut keys: Vec<Key> = (0..1_003).map(|n| in_hour(1, n)).collect();
    let others: Vec<Key> = [0, 2, 10, 11, 100].map(|hour| in_hour(hour, 1)).into();
    for keys in [&keys, &others] {
        for some in keys.chunks(50) {
            join_all(some.iter().map(|key| put(store, key, b"four"))).await;
        }
    }
    keys.sort();
    let prefix = Key::hour_prefix("listed", "i1", 1);
    let (mut found, mut after) = (Vec::new(), None::<String>);
    loop {
        let page = store.list(&prefix, after.as_deref()).await.unwrap();
        assert!(page.objects.len() <= 1_000 && page.objects.iter().all(|object| object.length == 4));
        found.extend(page.objects.into_iter().map(|object| object.key));
        after = found.last().cloned();
        if !page.more {
            break;
        }
    }
    assert!(found.iter().map(String::as_str).eq(keys.iter().map(Key::as_str)), "{} of {}", found.len(), keys.len());
    let page = store.list(&prefix, Some(keys[998].as_str())).await.unwrap();
    assert_eq!((page.objects.len(), page.more), (4, false));
    // After any text, also one that is no key.
    let page = store.list(&Key::prefix("listed", "i1"), Some("listed/i1/10")).await.unwrap();
    let named: Vec<_> = page.objects.iter().map(|object| object.key.as_str()).collect();
    let mut expected: Vec<_> = others.iter().map(Key::as_str).filter(|key| *key > "listed/i1/10").collect();
    expected.sort_unstable();
    expected.retain(|key| !key.starts_with("listed/i1/1/"));
    assert_eq!(named, expected);
    assert_eq!(store.list("listed/i1/3/", None).await.unwrap(), Page::default());
    assert_eq!(store.uploads(&prefix).await.unwrap(), []);
    keys.extend(others);
    for some in keys.chunks(1_000) {
        delete(store, some).await;
    }
    store.tidy(&prefix).await.unwrap();
    store.tidy("listed/i1/3/").await.unwrap();
    assert_eq!(store.list("listed/", None).await.unwrap(), Page::default());
}

async fn the_marker_is_kept(store: &dyn BlobStore) {
    assert_eq!(store.read_marker().await.unwrap(), None);
    for marker in ["{\"token\":\"a\"}", "{}"] {
        store.write_marker(Bytes::from(marker)).await.unwrap();
        assert_eq!(store.read_marker().await.unwrap().as_deref(), Some(marker.as_bytes()));
    }
}
