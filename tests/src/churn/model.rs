//! What one worker knows about one repository. A request has three outcomes: done, refused, or unknown, and what is unknown
//! may also happen late, when a paused node goes on. So a tag, a manifest or a blob with an unknown change is *loose*: it is
//! neither touched nor asserted about again; what follows from it is read back at the end.

use super::content::Blob;
use bytes::Bytes;
use rand::{Rng, rngs::StdRng};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A manifest that was pushed.
#[derive(Debug)]
pub struct Image {
    /// Its digest.
    pub digest: String,
    /// Its bytes.
    pub body: Bytes,
    /// Its media type.
    pub media_type: &'static str,
    /// The blobs it names, its config too.
    pub blobs: Vec<Arc<Blob>>,
    /// The manifests it lists.
    pub children: Vec<Arc<Image>>,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Acknowledged, at the first attempt.
    Done,
    /// Refused: nothing changed.
    Refused,
    /// No answer, or acknowledged after an attempt without an answer: it may also happen later.
    Unknown,
}

/// One repository, as one of its writers knows it.
#[derive(Debug, Default)]
pub struct Repository {
    /// Its name.
    pub name: String,
    tags: BTreeMap<String, Arc<Image>>,
    /// And what they pointed to.
    deleted: BTreeMap<String, String>,
    loose_tags: BTreeSet<String>,
    loose_manifests: BTreeSet<String>,
    loose_blobs: BTreeSet<String>,
    writer: usize,
    minted: u64,
}

impl Repository {
    /// A repository in which nothing is yet. Others may write to it too, but not the tags that this writer mints.
    pub fn new(name: impl Into<String>, writer: usize) -> Self {
        Self { name: name.into(), writer, ..Self::default() }
    }

    /// Tags that must be there, and what they point to.
    pub fn tags(&self) -> &BTreeMap<String, Arc<Image>> {
        &self.tags
    }

    /// Tags that must not be there.
    pub fn deleted(&self) -> impl Iterator<Item = &String> {
        self.deleted.keys()
    }

    /// One of the tags.
    pub fn pick(&self, random: &mut StdRng) -> Option<(String, Arc<Image>)> {
        let number = random.random_range(0..self.tags.len().max(1));
        self.tags.iter().nth(number).map(|(tag, image)| (tag.clone(), image.clone()))
    }

    /// Whether a manifest may be used again.
    pub fn is_firm(&self, digest: &str) -> bool {
        !self.loose_manifests.contains(digest)
    }

    /// Whether nobody may be about to unlink the blob.
    pub fn is_firm_blob(&self, digest: &str) -> bool {
        !self.loose_blobs.contains(digest)
    }

    /// Tags, manifests and blobs that nothing is asserted about any longer.
    pub fn loose(&self) -> usize {
        self.loose_tags.len() + self.loose_manifests.len() + self.loose_blobs.len()
    }

    /// Whether an image that is here for sure names the blob.
    pub fn needs(&self, digest: &str) -> bool {
        self.tags.values().any(|image| image.blobs.iter().any(|blob| blob.digest == digest))
    }

    /// Tags that point to a manifest for sure.
    pub fn tags_of(&self, digest: &str) -> Vec<String> {
        self.tags.iter().filter(|(_, image)| image.digest == digest).map(|(tag, _)| tag.clone()).collect()
    }

    /// A tag that never was.
    pub fn new_tag(&mut self) -> String {
        self.minted += 1;
        format!("w{}-t{}", self.writer, self.minted)
    }

    /// A manifest was put under a tag.
    pub fn put(&mut self, tag: &str, image: &Arc<Image>, outcome: Outcome) {
        match outcome {
            Outcome::Done => {
                self.deleted.remove(tag);
                self.tags.insert(tag.to_owned(), image.clone());
            }
            Outcome::Refused => {}
            Outcome::Unknown => {
                self.loosen_tag(tag);
                self.loosen_manifest(&image.digest);
            }
        }
    }

    /// A manifest was put under its digest alone.
    pub fn put_untagged(&mut self, image: &Image, outcome: Outcome) {
        if outcome == Outcome::Unknown {
            self.loosen_manifest(&image.digest);
        }
    }

    /// A tag was deleted.
    pub fn delete_tag(&mut self, tag: &str, outcome: Outcome) {
        match outcome {
            Outcome::Done => {
                let image = self.tags.remove(tag);
                self.deleted.extend(image.map(|image| (tag.to_owned(), image.digest.clone())));
            }
            Outcome::Refused => {}
            Outcome::Unknown => self.loosen_tag(tag),
        }
    }

    /// A manifest was deleted, and its tags with it.
    pub fn delete_manifest(&mut self, digest: &str, outcome: Outcome) {
        match outcome {
            Outcome::Done => {
                let gone: Vec<_> = self.tags_of(digest);
                for tag in gone {
                    self.tags.remove(&tag);
                    self.deleted.insert(tag, digest.to_owned());
                }
            }
            Outcome::Refused => {}
            Outcome::Unknown => self.loosen_manifest(digest),
        }
    }

    /// The whole repository was deleted, for sure. What was loose in it may still come late, under the same name.
    pub fn delete_all(&mut self) {
        let gone = std::mem::take(&mut self.tags).into_iter();
        self.deleted.extend(gone.map(|(tag, image)| (tag, image.digest.clone())));
    }

    /// A deleted manifest was put back with the tags that it had then. Those that it had when it was deleted another time may
    /// be back, too.
    pub fn undelete_manifest(&mut self, tags: &[String], image: &Arc<Image>, outcome: Outcome) {
        if outcome != Outcome::Refused {
            self.deleted.retain(|_, digest| *digest != image.digest);
        }
        for tag in tags {
            self.put(tag, image, outcome);
        }
    }

    /// A blob was unlinked.
    pub fn delete_blob(&mut self, digest: &str, outcome: Outcome) {
        if outcome == Outcome::Unknown {
            self.loose_blobs.insert(digest.to_owned());
        }
    }

    fn loosen_tag(&mut self, tag: &str) {
        self.tags.remove(tag);
        self.deleted.remove(tag);
        self.loose_tags.insert(tag.to_owned());
    }

    /// A manifest that may be deleted late takes its tags with it.
    fn loosen_manifest(&mut self, digest: &str) {
        self.loose_manifests.insert(digest.to_owned());
        for tag in self.tags_of(digest) {
            self.loosen_tag(&tag);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(digest: &str) -> Arc<Image> {
        let body = Bytes::new();
        Arc::new(Image { digest: digest.to_owned(), body, media_type: "", blobs: Vec::new(), children: Vec::new() })
    }

    #[test]
    fn what_was_acknowledged_is_asserted() {
        let mut repository = Repository::new("a", 1);
        repository.put("t1", &image("x"), Outcome::Done);
        repository.put("t1", &image("y"), Outcome::Done);
        repository.put("t2", &image("y"), Outcome::Done);
        repository.put("t2", &image("z"), Outcome::Refused);
        assert_eq!(repository.tags()["t1"].digest, "y");
        repository.delete_manifest("y", Outcome::Done);
        assert!(repository.tags().is_empty());
        assert_eq!(repository.deleted().count(), 2);
        repository.put("t1", &image("x"), Outcome::Done);
        assert_eq!(repository.deleted().collect::<Vec<_>>(), ["t2"]);
        repository.undelete_manifest(&[], &image("y"), Outcome::Done);
        assert_eq!(repository.deleted().count(), 0);
    }

    #[test]
    fn nothing_is_asserted_about_what_may_still_happen() {
        let mut repository = Repository::new("a", 1);
        repository.put("t1", &image("x"), Outcome::Done);
        repository.put("t2", &image("x"), Outcome::Done);
        repository.put("t3", &image("y"), Outcome::Done);
        repository.delete_manifest("x", Outcome::Unknown);
        assert_eq!(repository.tags().keys().collect::<Vec<_>>(), ["t3"]);
        assert!(!repository.is_firm("x") && repository.is_firm("y"));
        repository.delete_tag("t3", Outcome::Unknown);
        assert!(repository.tags().is_empty() && repository.deleted().count() == 0);
        repository.delete_blob("b", Outcome::Unknown);
        assert!(!repository.is_firm_blob("b"));
        assert_eq!(repository.loose(), 3 + 1 + 1);
    }

    #[test]
    fn a_deleted_repository_has_none_of_its_tags_and_stays_loose_where_it_was() {
        let mut repository = Repository::new("a", 1);
        repository.put("t1", &image("x"), Outcome::Done);
        repository.put("t2", &image("y"), Outcome::Unknown);
        repository.delete_all();
        assert!(repository.tags().is_empty() && !repository.is_firm("y"));
        assert_eq!(repository.deleted().collect::<Vec<_>>(), ["t1"]);
    }

    #[test]
    fn tags_are_minted_once() {
        let mut repository = Repository::new("a", 1);
        assert_ne!(repository.new_tag(), repository.new_tag());
    }
}
