//! Parts of blobs (RFC 9110, section 14).

use super::{
    Suite,
    data::{ARTIFACT, Algorithm, Blob, Set, Shape, artifact},
    uploads::Way,
    wire::{blob_path, header_is, manifest_path, status, whole},
};
use crate::http::{Response, empty};
use anyhow::{Result, ensure};
use http::Method;
use std::ops::Range;

const LENGTH: usize = 2048;

/// What a range gives.
enum Gives {
    /// 206 and these bytes.
    Part(Range<usize>),
    /// 200 and everything.
    Whole,
    /// 416.
    Nothing,
}

impl Suite {
    pub(super) async fn ranges(&self, algorithm: Algorithm) {
        let area = format!("ranges/{}", algorithm.name());
        let blob = Blob::random(algorithm, LENGTH);
        let path = blob_path(&self.repository, &blob.digest);
        self.check(format!("{area}/push"), self.push(&self.repository, Way::PostPut, &blob)).await;
        for (range, gives) in [
            ("bytes=500-1499", Gives::Part(500..1500)),
            ("bytes=500-", Gives::Part(500..LENGTH)),
            ("bytes=-500", Gives::Part(LENGTH - 500..LENGTH)),
            ("bytes=2000-5000", Gives::Part(2000..LENGTH)),
            ("bytes=0-0", Gives::Part(0..1)),
            ("bytes=0-", Gives::Part(0..LENGTH)),
            ("bytes=0-2047", Gives::Part(0..LENGTH)),
            ("bytes=2047-2047", Gives::Part(LENGTH - 1..LENGTH)),
            ("bytes=-5000", Gives::Part(0..LENGTH)),
            ("bytes=-1", Gives::Part(LENGTH - 1..LENGTH)),
            ("bytes=2000-99999999999999999999999999", Gives::Part(2000..LENGTH)),
            ("bytes=500-0", Gives::Nothing),
            ("bytes=5000-10000", Gives::Nothing),
            ("bytes=2048-", Gives::Nothing),
            ("bytes=-0", Gives::Nothing),
            // A unit that a server does not know is none of its business.
            ("lines=1-2", Gives::Whole),
        ] {
            self.check(format!("{area}/{range}"), async {
                let answer = self.part(&path, range).await?;
                match &gives {
                    Gives::Part(part) => {
                        status(&answer, &[206])?;
                        let content_range = format!("bytes {}-{}/{LENGTH}", part.start, part.end - 1);
                        header_is(&answer, "content-range", &content_range)?;
                        whole(&answer, &blob.bytes[part.clone()])
                    }
                    Gives::Whole => {
                        status(&answer, &[200])?;
                        whole(&answer, &blob.bytes)
                    }
                    Gives::Nothing => {
                        status(&answer, &[416])?;
                        header_is(&answer, "content-range", &format!("bytes */{LENGTH}"))
                    }
                }
            })
            .await;
        }
        self.check(format!("{area}/several ranges give those parts or everything"), async {
            let answer = self.part(&path, "bytes=0-9,100-109").await?;
            if answer.status == 200 {
                return whole(&answer, &blob.bytes);
            }
            status(&answer, &[206])?;
            let kind = answer.header("content-type");
            ensure!(kind.starts_with("multipart/byteranges; boundary="), "Content-Type {kind}");
            for part in [0..10, 100..110] {
                let bytes = &blob.bytes[part];
                ensure!(answer.body.windows(bytes.len()).any(|window| window == bytes), "a part is missing");
            }
            Ok(())
        })
        .await;
        self.check(format!("{area}/the parts of a blob make the whole"), async {
            let mut bytes = Vec::new();
            for start in (0..LENGTH).step_by(300) {
                bytes.extend_from_slice(&self.part(&path, &format!("bytes={start}-{}", start + 299)).await?.body);
            }
            ensure!(bytes == blob.bytes, "{} bytes", bytes.len());
            Ok(())
        })
        .await;
        self.check(format!("{area}/a range of another state of the blob gives everything"), async {
            let headers = [("range", "bytes=0-9"), ("if-range", "\"another\"")];
            let answer = self.send(Method::GET, &path, &headers, empty()).await?;
            status(&answer, &[200])?;
            whole(&answer, &blob.bytes)
        })
        .await;
        self.check(format!("{area}/conditions on the ETag, where there is one, are kept"), async {
            let answer = self.get(&path).await?;
            let etag = answer.header("etag");
            if etag.is_empty() {
                return Ok(());
            }
            let known = self.send(Method::GET, &path, &[("if-none-match", etag)], empty()).await?;
            status(&known, &[304])?;
            ensure!(known.body.is_empty() && known.header("etag") == etag, "{:?}", known.headers);
            let resumed = self.send(Method::GET, &path, &[("range", "bytes=9-"), ("if-range", etag)], empty()).await?;
            // A weak one never fits.
            status(&resumed, &[if etag.starts_with("W/") { 200 } else { 206 }])?;
            let changed = self.send(Method::GET, &path, &[("if-none-match", "\"another\"")], empty()).await?;
            status(&changed, &[200])
        })
        .await;
        self.check(format!("{area}/a range of a manifest gives the part or everything"), async {
            let mut set = Set::new("range");
            set.index(&Shape { algorithm, ..artifact(ARTIFACT) }, Vec::new());
            self.push_set(&self.repository, &set).await?;
            let manifest = &set.manifests[0].blob;
            let answer = self.part(&manifest_path(&self.repository, &manifest.digest), "bytes=0-9").await?;
            status(&answer, &[200, 206])?;
            whole(&answer, if answer.status == 206 { &manifest.bytes[..10] } else { &manifest.bytes })?;
            self.delete_set(&self.repository, &set).await
        })
        .await;
        self.check(format!("{area}/delete"), self.delete_for_good(&path)).await;
    }

    async fn part(&self, path: &str, range: &str) -> Result<Response> {
        self.send(Method::GET, path, &[("range", range)], empty()).await
    }
}
