use super::{super::contract, *};
use std::collections::BTreeSet;

async fn store(root: &Path) -> Filesystem {
    Filesystem::open(root.join("store"), Lifecycle::new(), Metrics::default()).await.unwrap()
}

/// Files under `root`, the marker aside.
fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            found.extend(files(&entry));
        } else if entry.file_name().is_some_and(|name| name != MARKER) {
            found.push(entry);
        }
    }
    found
}

#[tokio::test]
async fn the_directory_keeps_the_contract_and_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path()).await;
    contract::run(&store).await;
    assert!(store.0.lifecycle.drained(Duration::from_secs(10)).await);
    assert_eq!(files(root.path()), Vec::<PathBuf>::new());
    assert_eq!(store.0.held.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_key_is_written_once() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path()).await;
    let key = contract::key();
    contract::put(&store, &key, &[1; 10]).await;
    let mut again = store.writer(key.clone()).await.unwrap();
    again.write(Bytes::from_static(b"other")).await.unwrap();
    assert!(matches!(again.finish().await, Err(Error::Refused { .. })));
    assert_eq!(contract::get(&store, &key, 0..100).await.unwrap(), [1; 10]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_keys_are_deleted_at_once_and_one_result_is_given_for_each() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path()).await;
    let keys: Vec<Key> = (0..1_000).map(|n| Key::new("c", "i", 7, "session", "boot", n).unwrap()).collect();
    for key in &keys {
        let path = store.0.path(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"x").unwrap();
    }
    // In the place of one there is a folder, which is not deleted.
    let stuck = store.0.path(&keys[500]);
    fs::remove_file(&stuck).unwrap();
    fs::create_dir(&stuck).unwrap();
    let deleted = store.delete(keys.clone()).await;
    let named: BTreeSet<_> = deleted.iter().map(|one| one.key.clone()).collect();
    assert_eq!((deleted.len(), named.len()), (1_000, 1_000));
    let failed: Vec<_> = deleted.iter().filter(|one| one.result.is_err()).map(|one| one.key.clone()).collect();
    assert_eq!(failed, [keys[500].clone()]);
    assert_eq!(files(root.path()), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_temporary_that_a_dead_process_left_is_listed_and_removed_with_its_folders() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path()).await;
    let (kept, left) = (contract::key(), contract::key());
    contract::put(&store, &kept, b"kept").await;
    let folder = root.path().join("store").join(left.as_str());
    fs::create_dir_all(folder.parent().unwrap()).unwrap();
    fs::write(format!("{}.tmp", folder.display()), b"half").unwrap();
    let empty = root.path().join("store/contract/i1/8/aa");
    fs::create_dir_all(&empty).unwrap();
    let found = store.uploads("contract/i1/7/").await.unwrap();
    assert_eq!(found, [Upload { key: left, id: String::new() }]);
    assert_eq!(store.list("contract/i1/7/", None).await.unwrap().objects.len(), 1, "a temporary is no object");
    store.abort(&found[0]).await.unwrap();
    store.abort(&found[0]).await.unwrap();
    assert_eq!(store.uploads("contract/i1/7/").await.unwrap(), []);
    store.tidy("contract/i1/8/").await.unwrap();
    assert!(!empty.parent().unwrap().exists());
    store.tidy("contract/i1/7/").await.unwrap();
    assert_eq!(contract::get(&store, &kept, 0..9).await.unwrap(), b"kept");
}

#[tokio::test]
async fn a_directory_that_went_away_lists_nothing_wrongly() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path()).await;
    store.write_marker(Bytes::from_static(b"{}")).await.unwrap();
    fs::remove_file(root.path().join("store").join(MARKER)).unwrap();
    assert!(matches!(store.list("c/i/", None).await, Err(Error::Unavailable { .. })));
    assert!(matches!(store.uploads("c/i/").await, Err(Error::Unavailable { .. })));
}

#[tokio::test]
async fn a_directory_that_went_away_loses_no_objects() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path()).await;
    store.write_marker(Bytes::from_static(b"{}")).await.unwrap();
    fs::remove_file(root.path().join("store").join(MARKER)).unwrap();
    let key = contract::key();
    assert!(matches!(store.length(&key).await, Err(Error::Unavailable { .. })));
    assert!(matches!(store.read(&key, 0..1).await.err(), Some(Error::Unavailable { .. })));
}

#[tokio::test]
async fn registry_2_layout_is_recognized() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path()).await;
    assert!(!store.holds_distribution_layout().await.unwrap());
    fs::create_dir_all(root.path().join("store/docker/registry/v2/blobs")).unwrap();
    assert!(store.holds_distribution_layout().await.unwrap());
}

#[test]
fn a_full_disk_is_told_from_a_broken_one() {
    let error = |code: Errno| failed(Path::new("x"), io::Error::from_raw_os_error(code.raw_os_error()));
    assert!(matches!(error(Errno::NOSPC), Error::Full { .. }));
    assert!(matches!(error(Errno::DQUOT), Error::Full { .. }));
    assert!(matches!(error(Errno::ROFS), Error::Refused { .. }));
    assert!(matches!(error(Errno::MFILE), Error::Unavailable { .. }));
}
