//! One client among many: it does one thing after the other, at random, and checks every answer against what it knows.

use super::{
    content::{Blob, Pool},
    model::{Image, Outcome, Repository},
    operator::{Asked, ask},
    registry::{Registry, Way, is_whole},
    report::Report,
};
use crate::http::{OCI_MANIFEST, Response, digest_of};
use bytes::Bytes;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde_json::json;
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OPERATOR_LIMIT: Duration = Duration::from_secs(10);
/// Tags, manifests and blobs about which nothing is asserted, because an answer was lost.
pub const GIVEN_UP: &str = "things given up because an answer was lost";
/// Images that a worker may push again.
const RECIPES_MAX: usize = 40;

/// What all workers share.
pub struct World {
    /// The registry's address.
    pub address: String,
    /// The nodes' data directories, for the operator's program.
    pub data: Vec<PathBuf>,
    /// A push, from its first promise to its manifest, takes no longer, or is given up.
    pub deadline: Duration,
    /// The blobs.
    pub pool: Pool,
    /// What happened.
    pub report: Arc<Report>,
    names: Mutex<Vec<String>>,
    /// Where a blob was brought last.
    holders: Mutex<HashMap<String, String>>,
}

impl World {
    /// A world in which nothing happened yet; one blob in `huge_in` is uploaded in parts.
    pub fn new(address: String, data: Vec<PathBuf>, deadline: Duration, huge_in: u32) -> Self {
        let (pool, report) = (Pool::new(huge_in), Arc::default());
        Self { address, data, deadline, pool, report, names: Mutex::default(), holders: Mutex::default() }
    }

    fn announce(&self, name: &str) {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).push(name.to_owned());
    }

    fn holds(&self, name: &str, digest: &str) {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner).insert(digest.to_owned(), name.to_owned());
    }

    fn holder(&self, digest: &str) -> Option<String> {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned()
    }

    fn some_name(&self, random: &mut StdRng) -> Option<String> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).choose(random).cloned()
    }
}

/// A worker: a repository of its own, a share of a common one.
pub struct Worker {
    world: Arc<World>,
    registry: Registry,
    random: StdRng,
    number: usize,
    repositories: Vec<Repository>,
    recipes: Vec<Arc<Image>>,
    images: u64,
    generation: u64,
}

/// Index of the repository that a worker has alone.
const OWN: usize = 0;

/// Why a push ended without its manifest.
struct Over;

impl Worker {
    /// Worker `number`.
    pub fn new(world: Arc<World>, number: usize, seed: u64) -> Self {
        let random = StdRng::seed_from_u64(seed.wrapping_add(number as u64));
        let registry = Registry::new(&world.address, world.report.clone());
        let shared = Repository::new(format!("churn/shared{}", number % 2), number);
        let own = Repository::new(format!("churn/w{number}-0"), number);
        world.announce(&own.name);
        let repositories = vec![own, shared];
        Self { world, registry, random, number, repositories, recipes: Vec::new(), images: 0, generation: 0 }
    }

    /// Works until the end, and gives what it knows about its repositories.
    pub async fn run(mut self, end: Instant) -> Vec<Repository> {
        while Instant::now() < end {
            self.step().await;
        }
        let loose: usize = self.repositories.iter().map(Repository::loose).sum();
        self.world.report.add(GIVEN_UP, loose as u64);
        self.repositories
    }

    async fn step(&mut self) {
        let place = usize::from(self.random.random_ratio(1, 4));
        match self.random.random_range(0..100) {
            0..26 => self.push_new(place).await,
            26..38 => self.push_again(place).await,
            38..44 => self.push_index(place).await,
            44..48 => self.push_referrer(place).await,
            48..56 => self.retag(place).await,
            56..64 => drop(self.delete_tag(place).await),
            64..71 => drop(self.delete_manifest(place).await),
            71..73 => self.delete_blob().await,
            73 => self.undelete_tag(place).await,
            74..76 => self.undelete_manifest(place).await,
            76..78 => self.abandon(place).await,
            78 => self.delete_repository().await,
            79..84 => self.look_for_deleted(place).await,
            84..90 => self.pull_foreign().await,
            _ => self.pull(place).await,
        }
    }

    fn by(&self) -> Instant {
        Instant::now() + self.world.deadline
    }

    fn broken(&self, what: &str, response: &Response) {
        let body = String::from_utf8_lossy(&response.body[..response.body.len().min(300)]).into_owned();
        self.world.report.violation(format!("worker {}: {what}: {} {body}", self.number, response.status));
    }

    /// An image of its own: nobody else ever pushes its config.
    fn new_image(&mut self, place: usize) -> Arc<Image> {
        self.images += 1;
        let config = Blob::of(format!(r#"{{"worker":{},"image":{}}}"#, self.number, self.images));
        let mut blobs = vec![Arc::new(config)];
        for _ in 0..self.random.random_range(1..=4) {
            let blob = self.world.pool.pick(&mut self.random);
            if self.repositories[place].is_firm_blob(&blob.digest)
                && blobs.iter().all(|known| known.digest != blob.digest)
            {
                blobs.push(blob);
            }
        }
        let layers = &blobs[1..];
        let body = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": descriptor("application/vnd.oci.image.config.v1+json", &blobs[0]),
            "layers": layers.iter().map(|blob| descriptor("application/vnd.oci.image.layer.v1.tar", blob)).collect::<Vec<_>>()});
        finish(body, OCI_MANIFEST, blobs, Vec::new())
    }

    fn keep(&mut self, image: &Arc<Image>) {
        if self.recipes.len() == RECIPES_MAX {
            let at = self.random.random_range(0..RECIPES_MAX);
            self.recipes.swap_remove(at);
        }
        self.recipes.push(image.clone());
    }

    async fn push_new(&mut self, place: usize) {
        let (image, by) = (self.new_image(place), self.by());
        let tag = self.some_tag(place);
        if self.push(by, place, &image, Some(&tag)).await.is_ok() {
            self.keep(&image);
        }
    }

    /// A new tag, or one that moves.
    fn some_tag(&mut self, place: usize) -> String {
        let taken = self.repositories[place].pick(&mut self.random);
        match taken {
            Some((tag, _)) if self.random.random_ratio(1, 3) => tag,
            _ => self.repositories[place].new_tag(),
        }
    }

    async fn push_again(&mut self, place: usize) {
        let Some(image) = self.recipes.choose(&mut self.random).cloned() else { return };
        let repository = &self.repositories[place];
        let firm =
            repository.is_firm(&image.digest) && image.blobs.iter().all(|blob| repository.is_firm_blob(&blob.digest));
        if !image.children.is_empty() || !firm {
            return;
        }
        let (tag, by) = (self.repositories[place].new_tag(), self.by());
        if self.push(by, place, &image, Some(&tag)).await.is_ok() {
            self.world.report.count("images pushed again");
        }
    }

    /// Two images by digest, one of them perhaps there already, then the index that lists them.
    async fn push_index(&mut self, place: usize) {
        let by = self.by();
        let known = self.repositories[place].pick(&mut self.random).map(|(_, image)| image);
        let mut children = vec![self.new_image(place)];
        if self.push(by, place, &children[0].clone(), None).await.is_err() {
            return;
        }
        if let Some(known) = known.filter(|image| image.children.is_empty()) {
            // As containerd does: what HEAD finds is not pushed.
            let path = format!("/v2/{}/manifests/{}", self.repositories[place].name, known.digest);
            if self.registry.head(by, &path).await == Some(200) {
                self.world.report.count("manifests skipped after HEAD");
                children.push(known);
            }
        }
        let manifests: Vec<_> = children
            .iter()
            .map(|child| json!({"mediaType": child.media_type, "digest": child.digest, "size": child.body.len()}))
            .collect();
        let body = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests});
        let index = finish(body, OCI_INDEX, Vec::new(), children);
        let tag = self.repositories[place].new_tag();
        if self.put(by, place, &index, Some(&tag)).await.is_ok() {
            self.world.report.count("indexes pushed");
        }
    }

    /// A manifest without a tag, held by its subject.
    async fn push_referrer(&mut self, place: usize) {
        let Some((_, subject)) = self.repositories[place].pick(&mut self.random) else { return };
        self.images += 1;
        let config = Arc::new(Blob::of(format!(r#"{{"worker":{},"referrer":{}}}"#, self.number, self.images)));
        let body = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": "application/vnd.churn.test",
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config), "layers": [],
            "subject": {"mediaType": subject.media_type, "digest": subject.digest, "size": subject.body.len()}});
        let image = finish(body, OCI_MANIFEST, vec![config], Vec::new());
        let by = self.by();
        if self.push(by, place, &image, None).await.is_ok() {
            self.world.report.count("referrers pushed");
        }
    }

    async fn push(&mut self, by: Instant, place: usize, image: &Arc<Image>, tag: Option<&str>) -> Result<(), Over> {
        self.world.report.count("pushes begun");
        for blob in &image.blobs {
            self.bring(by, place, blob).await?;
        }
        self.put(by, place, image, tag).await?;
        self.world.report.count("pushes done");
        Ok(())
    }

    /// Sees to it that a blob is in the repository, in one of the ways that clients have.
    async fn bring(&mut self, by: Instant, place: usize, blob: &Blob) -> Result<(), Over> {
        let choice = self.random.random_range(0..10);
        let name = self.repositories[place].name.clone();
        if choice < 4 {
            let path = format!("/v2/{name}/blobs/{}", blob.digest);
            match self.registry.head(by, &path).await {
                Some(200) => {
                    self.world.report.count("blobs skipped after HEAD");
                    return Ok(());
                }
                Some(404) if self.repositories[place].needs(&blob.digest) => {
                    self.world.report.violation(format!("an image needs {path}, and HEAD says 404"));
                }
                Some(404) => {}
                Some(status) => self.world.report.violation(format!("HEAD {path}: {status}")),
                None => return self.late(),
            }
        } else if choice < 6 {
            let from = self.world.holder(&blob.digest).unwrap_or_else(|| name.clone());
            match self.registry.mount(by, &from, &name, blob).await {
                Ok(true) => {
                    self.world.report.count("blobs mounted");
                    return Ok(());
                }
                Ok(false) => {}
                Err(response) => self.broken("mount", &response),
            }
        }
        let way = match self.random.random_range(0..4) {
            0 => Way::Chunks,
            1 => Way::Single,
            _ => Way::Stream,
        };
        match self.registry.upload(by, &name, blob, way).await {
            Ok(true) => {
                self.world.holds(&name, &blob.digest);
                self.world.report.count("blobs uploaded");
                Ok(())
            }
            Ok(false) => self.late(),
            Err(response) => {
                self.broken(&format!("upload of {} to {name}, {way:?}", blob.digest), &response);
                Err(Over)
            }
        }
    }

    fn late(&self) -> Result<(), Over> {
        self.world.report.count("pushes over the deadline");
        Err(Over)
    }

    async fn put(&mut self, by: Instant, place: usize, image: &Arc<Image>, tag: Option<&str>) -> Result<(), Over> {
        let repository = &mut self.repositories[place];
        let (outcome, refusal) = self.registry.put(by, &repository.name, tag.unwrap_or(&image.digest), image).await;
        // What was refused after a lost answer may have been taken before.
        match tag {
            Some(tag) => repository.put(tag, image, outcome),
            None => repository.put_untagged(image, outcome),
        }
        if let Some(response) = refusal {
            let what = format!("manifest {} in {}", image.digest, repository.name);
            self.broken(&what, &response);
            return Err(Over);
        }
        match outcome {
            Outcome::Done => Ok(()),
            _ if Instant::now() >= by => self.late(),
            _ => {
                self.world.report.count("manifests with lost answers");
                Err(Over)
            }
        }
    }

    async fn retag(&mut self, place: usize) {
        let Some((_, image)) = self.repositories[place].pick(&mut self.random) else { return };
        let (tag, by) = (self.some_tag(place), self.by());
        if self.put(by, place, &image, Some(&tag)).await.is_ok() {
            self.world.report.count("tags moved or added");
        }
    }

    /// The tag that is deleted for sure, and what it pointed to.
    async fn delete_tag(&mut self, place: usize) -> Option<(String, Arc<Image>)> {
        let (tag, image) = self.repositories[place].pick(&mut self.random)?;
        let by = self.by();
        let repository = &mut self.repositories[place];
        let outcome = self.registry.delete(by, &format!("/v2/{}/manifests/{tag}", repository.name)).await;
        repository.delete_tag(&tag, outcome);
        self.deleted("tags deleted", &tag, outcome);
        (outcome == Outcome::Done).then_some((tag, image))
    }

    /// The manifest that is deleted for sure, and the tags that pointed to it.
    async fn delete_manifest(&mut self, place: usize) -> Option<(Vec<String>, Arc<Image>)> {
        let (_, image) = self.repositories[place].pick(&mut self.random)?;
        let by = self.by();
        let repository = &mut self.repositories[place];
        let tags = repository.tags_of(&image.digest);
        let path = format!("/v2/{}/manifests/{}", repository.name, image.digest);
        let Some(answer) = self.registry.ask(by, http::Method::DELETE, &path, &[], crate::http::empty).await else {
            repository.delete_manifest(&image.digest, Outcome::Unknown);
            return None;
        };
        let outcome = answer.outcome(&[202]);
        repository.delete_manifest(&image.digest, outcome);
        // An index lists it: that is a refusal that everybody may get.
        if outcome == Outcome::Refused && answer.response.status == 405 {
            self.world.report.count("manifests kept because an index lists them");
            return None;
        }
        self.deleted("manifests deleted", &image.digest, outcome);
        (outcome == Outcome::Done).then_some((tags, image))
    }

    /// A tag that was deleted a moment ago comes back.
    async fn undelete_tag(&mut self, place: usize) {
        let Some((tag, image)) = self.delete_tag(place).await else { return };
        let what = format!("{}:{tag}", self.repositories[place].name);
        let outcome = self.undelete(&what).await;
        self.repositories[place].put(&tag, &image, outcome);
        if outcome == Outcome::Done {
            self.world.report.count("tags undeleted");
        }
    }

    /// A manifest that was deleted a moment ago comes back, with its tags.
    async fn undelete_manifest(&mut self, place: usize) {
        let Some((tags, image)) = self.delete_manifest(place).await else { return };
        let what = format!("{}@{}", self.repositories[place].name, image.digest);
        let outcome = self.undelete(&what).await;
        self.repositories[place].undelete_manifest(&tags, &image, outcome);
        if outcome == Outcome::Done {
            self.world.report.count("manifests undeleted");
        }
    }

    async fn undelete(&mut self, what: &str) -> Outcome {
        let Some(data) = self.world.data.choose(&mut self.random) else { return Outcome::Refused };
        match ask(data, &["undelete", what], OPERATOR_LIMIT).await {
            Asked::Done(_) => Outcome::Done,
            Asked::Unknown => Outcome::Unknown,
            Asked::Not(said) => {
                if !said.contains("cannot reach") {
                    self.world.report.violation(format!("{what} was deleted just now and does not come back: {said}"));
                }
                Outcome::Refused
            }
        }
    }

    /// What is known to be there can be deleted.
    fn deleted(&self, what: &'static str, which: &str, outcome: Outcome) {
        match outcome {
            Outcome::Done => self.world.report.count(what),
            Outcome::Unknown => self.world.report.count("deletions with lost answers"),
            Outcome::Refused => {
                self.world.report.violation(format!("worker {}: {which} could not be deleted", self.number))
            }
        }
    }

    /// Unlinks a blob: refused while a manifest names it, which is what is wanted then.
    async fn delete_blob(&mut self) {
        let by = self.by();
        let blob = self.world.pool.pick(&mut self.random);
        let repository = &mut self.repositories[OWN];
        let outcome = self.registry.delete(by, &format!("/v2/{}/blobs/{}", repository.name, blob.digest)).await;
        repository.delete_blob(&blob.digest, outcome);
        if outcome == Outcome::Done {
            self.world.report.count("blobs unlinked");
        }
    }

    async fn abandon(&mut self, place: usize) {
        let by = self.by();
        let (blob, cancel) = (self.world.pool.pick(&mut self.random), self.random.random_bool(0.5));
        self.registry.abandon(by, &self.repositories[place].name, &blob, cancel).await;
        self.world.report.count("uploads abandoned or cancelled");
    }

    /// The repository goes, and the worker goes on under the same name if the answer is sure, else under another one.
    async fn delete_repository(&mut self) {
        let name = self.repositories[OWN].name.clone();
        let Some(data) = self.world.data.choose(&mut self.random) else { return };
        match ask(data, &["repository", "delete", &name], OPERATOR_LIMIT).await {
            Asked::Done(_) => {
                self.world.report.count("repositories deleted");
                return self.repositories[OWN].delete_all();
            }
            // Nothing is in it yet, or the node is down.
            Asked::Not(_) => return self.world.report.count("repositories not deleted"),
            Asked::Unknown => {}
        }
        self.world.report.count("repository deletions without an answer");
        let given_up = self.repositories[OWN].tags().len() + self.repositories[OWN].loose();
        self.world.report.add(GIVEN_UP, given_up as u64);
        self.generation += 1;
        self.repositories[OWN] = Repository::new(format!("churn/w{}-{}", self.number, self.generation), self.number);
        self.world.announce(&self.repositories[OWN].name);
    }

    async fn look_for_deleted(&mut self, place: usize) {
        let repository = &self.repositories[place];
        let deleted: Vec<_> = repository.deleted().collect();
        let Some(tag) = deleted.choose(&mut self.random) else { return };
        let path = format!("/v2/{}/manifests/{tag}", repository.name);
        match self.registry.head(self.by(), &path).await {
            Some(404) => self.world.report.count("deleted tags looked for"),
            Some(status) => self.world.report.violation(format!("{path} was deleted, and HEAD says {status}")),
            None => self.world.report.count("reads without an answer"),
        }
    }

    /// What was acknowledged is there, whole.
    async fn pull(&mut self, place: usize) {
        let Some((tag, image)) = self.repositories[place].pick(&mut self.random) else { return };
        let (by, name) = (self.by(), self.repositories[place].name.clone());
        let path = format!("/v2/{name}/manifests/{tag}");
        let Some(answer) = self.registry.get(by, &path).await else {
            return self.world.report.count("reads without an answer");
        };
        if answer.status != 200 || answer.body != image.body {
            return self.broken(&format!("{path} should be {}", image.digest), &answer);
        }
        for blob in image.blobs.iter().chain(image.children.iter().flat_map(|child| &child.blobs)) {
            let path = format!("/v2/{name}/blobs/{}", blob.digest);
            match self.registry.get(by, &path).await {
                None => return self.world.report.count("reads without an answer"),
                Some(answer) if answer.status == 200 && answer.body == blob.bytes => {}
                Some(answer) => return self.broken(&format!("{path}: not its bytes"), &answer),
            }
        }
        self.world.report.count("images pulled and verified");
    }

    /// Of others only this is known: what has a digest has its bytes.
    async fn pull_foreign(&mut self) {
        let Some(name) = self.world.some_name(&mut self.random) else { return };
        let by = self.by();
        let blob = self.world.pool.pick(&mut self.random);
        let path = format!("/v2/{name}/blobs/{}", blob.digest);
        match self.registry.get(by, &path).await {
            Some(answer) if answer.status == 200 && is_whole(&blob.digest, &answer.body) => {
                self.world.report.count("blobs of others pulled and verified");
            }
            Some(answer) if answer.status == 404 => self.world.report.count("blobs of others not there"),
            Some(answer) => self.broken(&path, &answer),
            None => self.world.report.count("reads without an answer"),
        }
    }
}

fn descriptor(media_type: &str, blob: &Blob) -> serde_json::Value {
    json!({"mediaType": media_type, "digest": blob.digest, "size": blob.bytes.len()})
}

fn finish(
    body: serde_json::Value,
    media_type: &'static str,
    blobs: Vec<Arc<Blob>>,
    children: Vec<Arc<Image>>,
) -> Arc<Image> {
    let body = Bytes::from(body.to_string());
    Arc::new(Image { digest: digest_of(&body), body, media_type, blobs, children })
}
