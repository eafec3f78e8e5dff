//! What is under a prefix: objects, and temporaries that writers left. One folder is read at a time.

use super::{Shared, failed};
use crate::blobstore::{Error, Key, Listed, Page, Upload};
use std::{fs, io, path::Path};

/// Objects of one listing, and temporaries.
const PAGE: usize = 1_000;
const TEMPORARY: &str = ".tmp";

/// What a walk looks for.
struct Walk<'a> {
    after: Option<&'a str>,
    /// Takes a file's key or name under the root; false ends the walk.
    take: &'a mut dyn FnMut(&str, &fs::DirEntry) -> io::Result<bool>,
}

impl Shared {
    pub(super) fn list(&self, prefix: &str, after: Option<&str>) -> Result<Page, Error> {
        let mut page = Page::default();
        let mut take = |name: &str, file: &fs::DirEntry| {
            if name.ends_with(TEMPORARY) || after.is_some_and(|after| name <= after) {
                return Ok(true);
            }
            if page.objects.len() == PAGE {
                page.more = true;
                return Ok(false);
            }
            page.objects.push(Listed { key: name.to_owned(), length: file.metadata()?.len() });
            Ok(true)
        };
        self.walk(prefix, after, &mut take)?;
        Ok(page)
    }

    pub(super) fn temporaries(&self, prefix: &str) -> Result<Vec<Upload>, Error> {
        let mut found = Vec::new();
        let mut take = |name: &str, _: &fs::DirEntry| {
            if let Some(key) = name.strip_suffix(TEMPORARY).and_then(|key| key.parse().ok()) {
                found.push(Upload { key, id: String::new() });
            }
            Ok(found.len() < PAGE)
        };
        self.walk(prefix, None, &mut take)?;
        Ok(found)
    }

    pub(super) fn remove_temporary(&self, key: &Key) -> Result<(), Error> {
        let path = self.root.join(format!("{key}{TEMPORARY}"));
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&path, error)),
            Ok(()) | Err(_) => {}
        }
        match path.parent() {
            Some(folder) => self.folders.removed_from(folder).map_err(|error| failed(folder, error)),
            None => Ok(()),
        }
    }

    /// Removes empty folders right under a prefix, and the prefix' own.
    pub(super) fn tidy(&self, prefix: &str) -> Result<(), Error> {
        let folder = self.root.join(prefix.trim_end_matches('/'));
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(|error| failed(&folder, error))?,
        };
        for entry in entries {
            let path = entry.map_err(|error| failed(&folder, error))?.path();
            if fs::read_dir(&path).is_ok_and(|mut within| within.next().is_none()) {
                self.folders.removed_from(&path).map_err(|error| failed(&path, error))?;
            }
        }
        // It refuses while anything is in it.
        fs::remove_dir(&folder).or(Ok(()))
    }

    fn walk(
        &self,
        prefix: &str,
        after: Option<&str>,
        take: &mut dyn FnMut(&str, &fs::DirEntry) -> io::Result<bool>,
    ) -> Result<(), Error> {
        let folder = self.root.join(prefix);
        if let Some(lost) = self.lost() {
            return Err(lost);
        }
        let mut walk = Walk { after, take };
        walk.folder(&folder, prefix).map_err(|error| failed(&folder, error))?;
        Ok(())
    }
}

impl Walk<'_> {
    /// Walks a folder, `name` with a slash under the root, in byte order of the full names; false: the walk has ended.
    fn folder(&mut self, path: &Path, name: &str) -> io::Result<bool> {
        let mut entries = Vec::new();
        let found = match fs::read_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true), // removed while we walk
            found => found?,
        };
        for entry in found {
            let entry = entry?;
            let Ok(file_name) = entry.file_name().into_string() else { continue };
            let is_folder = entry.file_type()?.is_dir();
            let slash = if is_folder { "/" } else { "" };
            entries.push((format!("{name}{file_name}{slash}"), is_folder, entry));
        }
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        for (name, is_folder, entry) in entries {
            let passed = self.after.is_some_and(|after| after > name.as_str() && !after.starts_with(&name));
            let goes_on = match is_folder {
                true if passed => true,
                true => self.folder(&entry.path(), &name)?,
                false => match (self.take)(&name, &entry) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => true,
                    taken => taken?,
                },
            };
            if !goes_on {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
