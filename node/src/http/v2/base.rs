use crate::http::{body::Body, headers};
use bytes::Bytes;
use http::{Response, header};

/// end-1: this is a registry.
pub fn get() -> Response<Body> {
    let mut response = Response::new(Body::Full(Some(Bytes::from_static(b"{}"))));
    response.headers_mut().insert(header::CONTENT_TYPE, headers::JSON);
    response
}
