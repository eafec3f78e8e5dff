use super::{Authority, User, scope};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;

/// `GET /token?service=&scope=`; clients that try OAuth2 by POST first find that there is none, and turn to GET.
pub(super) fn answer<B>(authority: &Authority, request: &Request<B>) -> Response<Full<Bytes>> {
    if request.method() != Method::GET || request.uri().path() != "/token" {
        return json_answer(StatusCode::NOT_FOUND, &json!({"detail": "not found"}));
    }
    let authorization = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(user) = user(&authority.users, authorization) else {
        let mut answer = json_answer(StatusCode::UNAUTHORIZED, &json!({"detail": "wrong user or password"}));
        answer
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Basic realm=\"tokens\""));
        return answer;
    };
    let query = request.uri().query().unwrap_or_default();
    let scopes = query.split('&').filter_map(|pair| pair.strip_prefix("scope=")).map(decoded);
    let scopes = scopes.collect::<Vec<_>>().join(" ");
    let wanted = scopes.split(' ').filter_map(scope::parse);
    let access = wanted.filter_map(|wanted| user.granted(&wanted)).collect();
    match authority.key.sign(&authority.key.header(), &authority.payload(&user.name, access)) {
        Ok(token) => {
            authority.issued.fetch_add(1, Ordering::Relaxed);
            let life = authority.life.load(Ordering::Relaxed);
            json_answer(StatusCode::OK, &json!({"token": token, "access_token": token, "expires_in": life}))
        }
        Err(error) => json_answer(StatusCode::INTERNAL_SERVER_ERROR, &json!({"detail": error.to_string()})),
    }
}

/// Who shows these credentials; the user without a name if there are none.
fn user<'a>(users: &'a [User], authorization: Option<&str>) -> Option<&'a User> {
    let Some(authorization) = authorization else { return users.iter().find(|user| user.name.is_empty()) };
    let encoded = authorization.strip_prefix("Basic ")?;
    let credentials = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let (name, password) = credentials.split_once(':')?;
    users.iter().find(|user| !name.is_empty() && user.name == name && user.password == password)
}

fn json_answer(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from(body.to_string())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    answer
}

/// The value of a parameter.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|_| first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(if first == b'+' { b' ' } else { first });
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
