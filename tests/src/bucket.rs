//! What lies in a store, seen by a client that shares no code with the product: S3 with signatures made here, or the
//! directory itself.

use crate::{
    cluster::Storage,
    http::{Response, empty, exchange},
};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{Method, Request};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

const REGION: &str = "garage";
const ROOT: &str = "registry/";
/// Every request here has an empty body.
const EMPTY_HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A store.
pub enum Store {
    /// A directory.
    Directory(PathBuf),
    /// A bucket.
    Bucket(Bucket),
}

impl Store {
    /// The one that a cluster writes to. `direct` is the address to ask instead of the configured one (a proxy's).
    pub fn of(storage: &Storage, direct: Option<&str>) -> Self {
        match storage {
            Storage::Directory(dir) => Self::Directory(dir.clone()),
            Storage::S3 { endpoint, bucket, access_key, secret_key } => Self::Bucket(Bucket {
                endpoint: direct.unwrap_or(endpoint).to_owned(),
                name: bucket.clone(),
                access_key: access_key.clone(),
                secret_key: secret_key.clone(),
            }),
        }
    }

    /// Keys below the root, and their lengths.
    pub async fn objects(&self) -> Result<BTreeMap<String, u64>> {
        match self {
            Self::Directory(dir) => files(dir),
            Self::Bucket(bucket) => bucket.objects().await,
        }
    }

    /// The bytes of an object.
    pub async fn read(&self, key: &str) -> Result<Bytes> {
        match self {
            Self::Directory(dir) => Ok(std::fs::read(dir.join(key))?.into()),
            Self::Bucket(bucket) => Ok(bucket.call(Method::GET, &format!("{ROOT}{key}"), &[]).await?.expect(200)?.body),
        }
    }

    /// Removes an object behind the registry's back.
    pub async fn remove(&self, key: &str) -> Result<()> {
        match self {
            Self::Directory(dir) => Ok(std::fs::remove_file(dir.join(key))?),
            Self::Bucket(bucket) => {
                bucket.call(Method::DELETE, &format!("{ROOT}{key}"), &[]).await?.expect(204)?;
                Ok(())
            }
        }
    }

    /// Keys of multipart uploads that are neither completed nor aborted; a directory has none.
    pub async fn multipart_uploads(&self) -> Result<Vec<String>> {
        match self {
            Self::Directory(_) => Ok(Vec::new()),
            Self::Bucket(bucket) => bucket.multipart_uploads().await,
        }
    }
}

fn files(root: &Path) -> Result<BTreeMap<String, u64>> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
                continue;
            }
            let path = entry.path();
            let key = path.strip_prefix(root)?.to_str().context("a file's name is not text")?;
            found.insert(key.to_owned(), entry.metadata()?.len());
        }
    }
    Ok(found)
}

/// A bucket, by path style.
pub struct Bucket {
    endpoint: String,
    name: String,
    access_key: String,
    secret_key: String,
}

impl Bucket {
    async fn objects(&self) -> Result<BTreeMap<String, u64>> {
        let (mut found, mut token) = (BTreeMap::new(), String::new());
        loop {
            let mut query = vec![("list-type", "2"), ("prefix", ROOT)];
            if !token.is_empty() {
                query.push(("continuation-token", &token));
            }
            let page = self.page(&query).await?;
            for object in elements(&page, "Contents") {
                let (key, size) = (element(object, "Key")?, element(object, "Size")?);
                let key = key.strip_prefix(ROOT).context("a key outside of the prefix")?;
                found.insert(key.to_owned(), size.parse()?);
            }
            if element(&page, "IsTruncated")? != "true" {
                return Ok(found);
            }
            token = element(&page, "NextContinuationToken")?.to_owned();
        }
    }

    async fn multipart_uploads(&self) -> Result<Vec<String>> {
        // More than one page of them is as wrong as one.
        let page = self.page(&[("prefix", ROOT), ("uploads", "")]).await?;
        elements(&page, "Upload").map(|upload| Ok(element(upload, "Key")?.to_owned())).collect()
    }

    async fn page(&self, query: &[(&str, &str)]) -> Result<String> {
        let answer = self.call(Method::GET, "", query).await?.expect(200)?;
        Ok(String::from_utf8(answer.body.to_vec())?)
    }

    /// A signed request (AWS Signature Version 4) without a body.
    async fn call(&self, method: Method, key: &str, query: &[(&str, &str)]) -> Result<Response> {
        let time = Stamp::now()?;
        let path = format!("/{}/{}", self.name, key.split('/').map(escaped).collect::<Vec<_>>().join("/"));
        let mut pairs: Vec<_> =
            query.iter().map(|(key, value)| format!("{}={}", escaped(key), escaped(value))).collect();
        pairs.sort();
        let query = pairs.join("&");
        let headers = format!("host:{}\nx-amz-content-sha256:{EMPTY_HASH}\nx-amz-date:{}\n", self.endpoint, time.full);
        let signed = "host;x-amz-content-sha256;x-amz-date";
        let canonical = format!("{method}\n{path}\n{query}\n{headers}\n{signed}\n{EMPTY_HASH}");
        let scope = format!("{}/{REGION}/s3/aws4_request", time.date);
        let hash = hex::encode(Sha256::digest(canonical.as_bytes()));
        let text = format!("AWS4-HMAC-SHA256\n{}\n{scope}\n{hash}", time.full);
        let mut key = format!("AWS4{}", self.secret_key).into_bytes();
        for part in [time.date.as_str(), REGION, "s3", "aws4_request"] {
            key = hmac(&key, part.as_bytes());
        }
        let signature = hex::encode(hmac(&key, text.as_bytes()));
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={signed}, Signature={signature}",
            self.access_key
        );
        let address = if query.is_empty() { path } else { format!("{path}?{query}") };
        let request = Request::builder().method(method).uri(address).header("host", &self.endpoint);
        let request = request.header("x-amz-content-sha256", EMPTY_HASH).header("x-amz-date", &time.full);
        exchange(&self.endpoint, request.header("authorization", authorization).body(empty())?).await
    }
}

/// The time as signatures want it.
struct Stamp {
    date: String,
    full: String,
}

impl Stamp {
    fn now() -> Result<Self> {
        #[expect(clippy::disallowed_methods, reason = "a signature carries the wall clock; nothing is decided by it")]
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        Ok(Self::at(seconds))
    }

    fn at(seconds: u64) -> Self {
        let (mut days, second) = (seconds / 86_400, seconds % 86_400);
        let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let mut year = 1970;
        while days >= 365 + u64::from(leap(year)) {
            days -= 365 + u64::from(leap(year));
            year += 1;
        }
        let mut month = 1;
        for length in [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
            if days < length {
                break;
            }
            days -= length;
            month += 1;
        }
        let date = format!("{year}{month:02}{:02}", days + 1);
        let full = format!("{date}T{:02}{:02}{:02}Z", second / 3600, second / 60 % 60, second % 60);
        Self { date, full }
    }
}

/// HMAC with SHA-256 (RFC 2104).
fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut block = [0; 64];
    if key.len() > block.len() {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let padded = |pad: u8| block.map(|byte| byte ^ pad);
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize().to_vec()
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// What stands in each element of that name. Enough for answers of S3: none nests in one of its own name.
fn elements<'a>(text: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let mut rest = text;
    std::iter::from_fn(move || {
        let (_, after) = rest.split_once(&open)?;
        let (inside, after) = after.split_once(&close)?;
        rest = after;
        Some(inside)
    })
}

fn element<'a>(text: &'a str, name: &str) -> Result<&'a str> {
    elements(text, name).next().with_context(|| format!("no {name} in {text}"))
}

/// The objects of each upload session; the store's own marker is left out.
///
/// # Errors
/// When a key is not `<cluster>/<incarnation>/<hour>/<shard>/<session>-<process>-<number>`.
pub fn by_session(objects: &BTreeMap<String, u64>) -> Result<BTreeMap<String, Vec<String>>> {
    let mut sessions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for key in objects.keys().filter(|key| *key != "flotilla.json") {
        let parts: Vec<_> = key.split('/').collect();
        ensure!(parts.len() == 5, "a strange key: {key}");
        let mut ids = parts[4].rsplitn(3, '-').skip(2);
        sessions
            .entry(ids.next().with_context(|| format!("a strange key: {key}"))?.to_owned())
            .or_default()
            .push(key.clone());
    }
    Ok(sessions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_signatures_want_them() {
        assert_eq!(Stamp::at(0).full, "19700101T000000Z");
        assert_eq!(Stamp::at(1_709_164_800 + 3_661).full, "20240229T010101Z");
        assert_eq!(Stamp::at(1_735_689_599).full, "20241231T235959Z");
        assert_eq!(Stamp::at(1_735_689_600).date, "20250101");
    }

    /// RFC 4231, test cases 2 and 6.
    #[test]
    fn hmac_gives_the_answers_of_its_rfc() {
        let short = hmac(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(hex::encode(short), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        let long = hmac(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First");
        assert_eq!(hex::encode(long), "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    }

    #[test]
    fn objects_are_grouped_by_session() {
        let keys = ["c/i/1/ab/s-1-b-0", "c/i/1/cd/s-1-c-4", "c/i/2/ab/s-2-b-1", "flotilla.json"];
        let objects = keys.map(|key| (key.to_owned(), 1)).into();
        let sessions = by_session(&objects).unwrap();
        assert_eq!(sessions["s-1"], ["c/i/1/ab/s-1-b-0", "c/i/1/cd/s-1-c-4"]);
        assert_eq!(sessions["s-2"], ["c/i/2/ab/s-2-b-1"]);
        assert_eq!(sessions.len(), 2);
        assert!(by_session(&[("c/i/odd".to_owned(), 1)].into()).is_err());
    }

    #[test]
    fn elements_are_found() {
        let text = "<A><Key>x</Key></A><A><Key>y</Key></A>";
        assert_eq!(elements(text, "A").map(|inside| element(inside, "Key").unwrap()).collect::<Vec<_>>(), ["x", "y"]);
        assert!(element(text, "Size").is_err());
    }
}
