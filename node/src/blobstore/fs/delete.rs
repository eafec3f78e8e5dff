//! Many files at once. What takes the time is the wait for the disk, once or more for each folder; so folders are handled side
//! by side, and their waits become few.

use super::{Shared, failed};
use crate::blobstore::{Deleted, Error, Key};
use std::{
    collections::BTreeMap,
    fs, io,
    panic::resume_unwind,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
};

/// Folders at once.
const THREADS: usize = 8;

impl Shared {
    pub(super) fn delete(&self, keys: Vec<Key>) -> Vec<Deleted> {
        let mut folders: BTreeMap<PathBuf, Vec<Key>> = BTreeMap::new();
        for key in keys {
            let folder = self.path(&key).parent().map_or_else(|| self.root.clone(), Path::to_owned);
            folders.entry(folder).or_default().push(key);
        }
        let threads = THREADS.min(folders.len());
        let left = Mutex::new(folders.into_iter());
        let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work = || {
            let mut deleted = Vec::new();
            while let Some((folder, keys)) = next() {
                deleted.extend(self.delete_in(&folder, keys));
            }
            deleted
        };
        thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mut deleted = work();
            for other in others {
                deleted.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
            }
            deleted
        })
    }

    /// Deletes files of one folder.
    fn delete_in(&self, folder: &Path, keys: Vec<Key>) -> Vec<Deleted> {
        let mut deleted: Vec<_> = keys.into_iter().map(|key| Deleted { result: self.delete_file(&key), key }).collect();
        // A deletion that is reported must survive a power cut, or the object would come back unrecorded; one of an earlier try
        // too, which may have ended before this.
        let reports = deleted.iter().any(|one| one.result.is_ok());
        if reports && let Err(error) = self.folders.removed_from(folder) {
            for one in deleted.iter_mut().filter(|one| one.result.is_ok()) {
                one.result = Err(failed(folder, io::Error::new(error.kind(), error.to_string())));
            }
        }
        deleted
    }

    /// Afterwards there is no such file.
    fn delete_file(&self, key: &Key) -> Result<(), Error> {
        let path = self.path(key);
        match fs::remove_file(&path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => match self.missing(key) {
                Error::NotFound { .. } => Ok(()),
                lost => Err(lost),
            },
            Err(error) => Err(failed(&path, error)),
        }
    }
}
