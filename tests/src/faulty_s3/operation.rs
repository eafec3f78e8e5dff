//! What a request asks of the store.

use http::{Method, Request};

/// A call of S3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are those of S3")]
pub enum Operation {
    PutObject,
    CopyObject,
    UploadPart,
    UploadPartCopy,
    CreateMultipartUpload,
    CompleteMultipartUpload,
    AbortMultipartUpload,
    GetObject,
    HeadObject,
    DeleteObject,
    DeleteObjects,
    ListObjects,
    ListMultipartUploads,
    ListParts,
    Other,
}

impl Operation {
    /// By method, query and headers; addresses are of path style: `/bucket/key`.
    pub fn of<B>(request: &Request<B>) -> Self {
        let query = request.uri().query().unwrap_or_default();
        let has = |name: &str| query.split('&').any(|pair| pair.split('=').next() == Some(name));
        let copies = request.headers().contains_key("x-amz-copy-source");
        let has_key = request.uri().path().trim_matches('/').contains('/');
        match *request.method() {
            Method::PUT if has("partNumber") && copies => Self::UploadPartCopy,
            Method::PUT if has("partNumber") => Self::UploadPart,
            Method::PUT if copies => Self::CopyObject,
            Method::PUT if has_key => Self::PutObject,
            Method::POST if has("uploads") => Self::CreateMultipartUpload,
            Method::POST if has("uploadId") => Self::CompleteMultipartUpload,
            Method::POST if has("delete") => Self::DeleteObjects,
            Method::DELETE if has("uploadId") => Self::AbortMultipartUpload,
            Method::DELETE if has_key => Self::DeleteObject,
            Method::GET if has("uploads") => Self::ListMultipartUploads,
            Method::GET if has("uploadId") => Self::ListParts,
            Method::GET if has_key => Self::GetObject,
            Method::GET if has("list-type") || has("prefix") => Self::ListObjects,
            Method::HEAD if has_key => Self::HeadObject,
            _ => Self::Other,
        }
    }

    /// Whether it changes the store in a way that may happen twice.
    pub fn is_change(self) -> bool {
        matches!(
            self,
            Self::PutObject
                | Self::CopyObject
                | Self::UploadPart
                | Self::UploadPartCopy
                | Self::CreateMultipartUpload
                | Self::CompleteMultipartUpload
                | Self::AbortMultipartUpload
                | Self::DeleteObject
                | Self::DeleteObjects
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart() {
        for (method, address, operation) in [
            ("PUT", "/b/k/1", Operation::PutObject),
            ("PUT", "/b/k?partNumber=1&uploadId=x", Operation::UploadPart),
            ("POST", "/b/k?uploads", Operation::CreateMultipartUpload),
            ("POST", "/b/k?uploadId=x", Operation::CompleteMultipartUpload),
            ("POST", "/b?delete", Operation::DeleteObjects),
            ("POST", "/b/?delete=&x-id=DeleteObjects", Operation::DeleteObjects),
            ("DELETE", "/b/k?uploadId=x", Operation::AbortMultipartUpload),
            ("DELETE", "/b/k", Operation::DeleteObject),
            ("GET", "/b/k", Operation::GetObject),
            ("HEAD", "/b/k", Operation::HeadObject),
            ("GET", "/b/?list-type=2&prefix=registry%2F", Operation::ListObjects),
            ("GET", "/b?uploads&prefix=x", Operation::ListMultipartUploads),
            ("HEAD", "/b", Operation::Other),
        ] {
            let request = Request::builder().method(method).uri(address).body(()).unwrap();
            assert_eq!(Operation::of(&request), operation, "{method} {address}");
        }
        let copy = Request::builder().method("PUT").uri("/b/k").header("x-amz-copy-source", "/b/l").body(()).unwrap();
        assert_eq!(Operation::of(&copy), Operation::CopyObject);
    }
}
