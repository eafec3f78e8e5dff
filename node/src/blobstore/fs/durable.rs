use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard},
};

/// Folders remembered as durable; beyond that all are synced once more.
const REMEMBERED_MAX: usize = 4096;

/// Makes folders and knows which of them would survive a power cut, so that a push syncs new parents only.
pub(super) struct Folders {
    root: PathBuf,
    durable: Mutex<HashSet<PathBuf>>,
}

impl Folders {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root, durable: Mutex::default() }
    }

    /// Makes `folder` and its parents.
    pub(super) fn create(&self, folder: &Path) -> io::Result<()> {
        // First forgotten, then made: a writer that finds it in between must not believe that it is durable.
        self.forget(folder);
        fs::create_dir_all(folder)
    }

    /// Makes the entries of `folder` and of its parents up to the root durable, unless they are known to be.
    pub(super) fn sync(&self, folder: &Path) -> io::Result<()> {
        let mut news = Vec::new();
        for ancestor in folder.ancestors() {
            if self.lock().contains(ancestor) {
                break;
            }
            let Some(parent) = ancestor.parent() else { break };
            sync_folder(parent)?;
            news.push(ancestor.to_owned());
            if ancestor == self.root {
                break;
            }
        }
        if !news.is_empty() {
            let mut durable = self.lock();
            if durable.len() + news.len() > REMEMBERED_MAX {
                durable.clear();
            }
            durable.extend(news);
        }
        Ok(())
    }

    /// Files of `folder` were removed: makes that durable, and removes the folder and its hour once they are empty.
    pub(super) fn removed_from(&self, folder: &Path) -> io::Result<()> {
        // Where another delete has removed the folder meanwhile, that has to last.
        for ancestor in folder.ancestors() {
            match sync_folder(ancestor) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && ancestor != self.root => {}
                synced => {
                    synced?;
                    break;
                }
            }
        }
        for empty in folder.ancestors().take(2).take_while(|ancestor| *ancestor != self.root) {
            // A folder that still has files refuses; one that a writer needs again is made again.
            if fs::remove_dir(empty).is_err() {
                break;
            }
            self.forget(empty);
        }
        Ok(())
    }

    fn forget(&self, folder: &Path) {
        let mut durable = self.lock();
        for ancestor in folder.ancestors().take_while(|ancestor| !ancestor.exists()) {
            durable.remove(ancestor);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.durable.lock().expect("no holder panics")
    }
}

/// Makes the entries of a folder durable.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}
