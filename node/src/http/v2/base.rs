use crate::http::{body::Body, headers};
use bytes::Bytes;
use http::{Response, header};

/// The extensions of this registry (extensions, `_oci`): only the one that lists them.
const EXTENSIONS: &str = concat!(
    r#"{"extensions":[{"name":"_oci","description":"lists the extensions of this registry","#,
    r#""url":"https://github.com/opencontainers/distribution-spec/blob/main/extensions/_oci.md","#,
    r#""endpoints":["_oci/ext/discover"]}]}"#,
);

/// end-1: this is a registry.
pub fn get() -> Response<Body> {
    json("{}")
}

/// Which extensions this registry has. The same below every repository, known or not.
pub fn discover() -> Response<Body> {
    json(EXTENSIONS)
}

fn json(text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::Full(Some(Bytes::from_static(text.as_bytes()))));
    response.headers_mut().insert(header::CONTENT_TYPE, headers::JSON);
    response
}
