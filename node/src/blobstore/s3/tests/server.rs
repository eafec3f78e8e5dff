//! An S3 service in this process that can be told to misbehave.

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use s3s::service::{S3Service, S3ServiceBuilder};
use std::{
    io,
    sync::{Arc, Mutex},
};
use tokio::{net::TcpListener, task::JoinSet};

/// What happens to the next requests of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// 503 SlowDown, and nothing is done.
    SlowDown,
    /// 403 AccessDenied, and nothing is done.
    Refused,
    /// It is done, but the connection ends without an answer.
    LostAnswer,
    /// Half of the body, then the connection ends.
    Truncated,
    /// 200, with an error in the body; nothing is done.
    ErrorIn200,
    /// 404 without a body, as of somebody on the way; nothing is done.
    Bare404,
}

/// Uploads of one listing.
const UPLOADS_PAGE: usize = 3;

/// A kind of request: its method, and a piece of its query.
pub(super) type Kind = (Method, &'static str);

#[derive(Clone)]
pub(super) struct Server {
    service: S3Service,
    faults: Arc<Mutex<Vec<(Kind, Fault)>>>,
    seen: Arc<Mutex<Vec<String>>>,
    /// Multipart uploads that run, as path and id: the service itself cannot list them.
    uploads: Arc<Mutex<Vec<(String, String)>>>,
    pub(super) endpoint: String,
}

type Body = UnsyncBoxBody<Bytes, io::Error>;

impl Server {
    /// Serves `folder` with bucket `bucket` until the task set is dropped.
    pub(super) async fn start(folder: &std::path::Path, tasks: &mut JoinSet<()>) -> Self {
        std::fs::create_dir_all(folder.join("bucket")).unwrap();
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(folder).unwrap());
        builder.set_auth(s3s::auth::SimpleAuth::from_single("id", "secret"));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (faults, seen, uploads) = (Arc::default(), Arc::default(), Arc::default());
        let server = Self { service: builder.build(), faults, seen, uploads, endpoint };
        let serving = server.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let server = serving.clone();
                let service = hyper::service::service_fn(move |request| server.clone().answer(request));
                let connection =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service);
                connections.spawn(connection.map(drop));
            }
        });
        server
    }

    pub(super) fn fail(&self, kind: Kind, fault: Fault, times: usize) {
        self.faults.lock().unwrap().extend(std::iter::repeat_n((kind, fault), times));
    }

    pub(super) fn forget_faults(&self) {
        self.faults.lock().unwrap().clear();
    }

    /// Requests since the last call, as method and query.
    pub(super) fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    /// Faults that did not happen yet.
    pub(super) fn pending(&self) -> usize {
        self.faults.lock().unwrap().len()
    }

    fn answer(self, request: Request<Incoming>) -> BoxFuture<'static, io::Result<Response<Body>>> {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let path = request.uri().path().trim_start_matches("/bucket/").to_owned();
        let method = request.method().clone();
        self.seen.lock().unwrap().push(format!("{} {query}", request.method()));
        let fault = {
            let mut faults = self.faults.lock().unwrap();
            let at = faults.iter().position(|((method, piece), _)| method == request.method() && query.contains(piece));
            at.map(|at| faults.remove(at).1)
        };
        async move {
            let text = |status, body: &'static str| {
                let body =
                    Full::new(Bytes::from_static(body.as_bytes())).map_err(|never| match never {}).boxed_unsync();
                Ok(Response::builder().status(status).header("content-type", "application/xml").body(body).unwrap())
            };
            match fault {
                Some(Fault::SlowDown) => {
                    let error = "<Error><Code>SlowDown</Code><Message>slow down</Message></Error>";
                    return text(StatusCode::SERVICE_UNAVAILABLE, error);
                }
                Some(Fault::Refused) => {
                    return text(
                        StatusCode::FORBIDDEN,
                        "<Error><Code>AccessDenied</Code><Message>no</Message></Error>",
                    );
                }
                Some(Fault::ErrorIn200) => {
                    return text(StatusCode::OK, "<Error><Code>InternalError</Code><Message>no</Message></Error>");
                }
                Some(Fault::Bare404) => return text(StatusCode::NOT_FOUND, ""),
                Some(Fault::LostAnswer | Fault::Truncated) | None => {}
            }
            if method == Method::GET && ["", "/bucket"].contains(&path.as_str()) && query.contains("uploads") {
                return Ok(xml(self.list_uploads(&query)));
            }
            let answer = self
                .service
                .call(request.map(s3s::Body::from))
                .await
                .map_err(|error| io::Error::other(format!("{error:?}")))?;
            let (head, body) = answer.into_parts();
            if method == Method::POST && query.contains("uploads") && head.status.is_success() {
                let whole =
                    BodyExt::collect(body).await.map_err(|error| io::Error::other(error.to_string()))?.to_bytes();
                let text = String::from_utf8_lossy(&whole);
                let id = text.split("<UploadId>").nth(1).and_then(|rest| rest.split('<').next()).unwrap_or_default();
                self.uploads.lock().unwrap().push((path, id.to_owned()));
                let body = Full::new(whole).map_err(|never| match never {}).boxed_unsync();
                return Ok(Response::from_parts(head, body));
            }
            if [Method::POST, Method::DELETE].contains(&method) && head.status.is_success() {
                self.uploads.lock().unwrap().retain(|(_, id)| !query.contains(&format!("uploadId={id}")));
            }
            match fault {
                Some(Fault::LostAnswer) => {
                    BodyExt::collect(body).await.map_err(|error| io::Error::other(error.to_string()))?;
                    Err(io::Error::other("the answer is lost"))
                }
                Some(Fault::Truncated) => {
                    let whole =
                        BodyExt::collect(body).await.map_err(|error| io::Error::other(error.to_string()))?.to_bytes();
                    let pieces = [Ok(Frame::data(whole.slice(..whole.len() / 2))), Err(io::Error::other("cut"))];
                    Ok(Response::from_parts(head, StreamBody::new(stream::iter(pieces).boxed()).boxed_unsync()))
                }
                _ => Ok(Response::from_parts(
                    head,
                    body.map_err(|error| io::Error::other(error.to_string())).boxed_unsync(),
                )),
            }
        }
        .boxed()
    }

    fn list_uploads(&self, query: &str) -> String {
        let field = |name: &str| {
            let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            value.unwrap_or_default().replace("%2F", "/")
        };
        let (prefix, after) = (field("prefix"), (field("key-marker"), field("upload-id-marker")));
        let mut uploads = self.uploads.lock().unwrap().clone();
        uploads.retain(|upload| upload.0.starts_with(&prefix) && *upload > after);
        uploads.sort();
        let more = uploads.len() > UPLOADS_PAGE;
        uploads.truncate(UPLOADS_PAGE);
        let next = uploads.last().filter(|_| more).map(|(path, id)| {
            format!("<NextKeyMarker>{path}</NextKeyMarker><NextUploadIdMarker>{id}</NextUploadIdMarker>")
        });
        let named =
            uploads.iter().map(|(path, id)| format!("<Upload><Key>{path}</Key><UploadId>{id}</UploadId></Upload>"));
        let (named, next): (String, _) = (named.collect(), next.unwrap_or_default());
        format!(
            "<ListMultipartUploadsResult><Bucket>bucket</Bucket><IsTruncated>{more}</IsTruncated>{next}{named}\
             </ListMultipartUploadsResult>"
        )
    }
}

fn xml(text: String) -> Response<Body> {
    let body = Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync();
    Response::builder().header("content-type", "application/xml").body(body).unwrap()
}
