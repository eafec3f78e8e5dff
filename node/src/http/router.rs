//! One public request from its head to its answer: which endpoint, what every answer carries, what is counted and logged.

use super::body::{Body, RequestBody};
use super::error::{self, Error};
use super::limits::{self, Limits, Overloaded, Refusal};
use super::metrics::{Answered, Metrics};
use super::v2::{self, endpoint::Endpoint, endpoint::PathError};
use super::{headers, ops};
use crate::{
    auth::{Access, Policy},
    health::Health,
    lifecycle::{Lifecycle, Readiness},
    registry::{self, Registry},
};
use flotilla_proto::oci::ReferenceError;
use http::{HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};
use http_body::Body as _;
use hyper::body::Incoming;
use std::borrow::Cow;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tokio::{sync::watch, time::Instant};
use tracing::{Instrument, Level, debug, error, event, info_span, warn};

/// The public front. Cheap to clone.
#[derive(Clone)]
pub struct Front(Arc<Inner>);

/// What a front is made of.
pub struct Setup {
    /// The use cases.
    pub registry: Registry,
    /// Who may do what.
    pub access: Arc<Access>,
    /// What probes are answered with.
    pub readiness: watch::Receiver<Readiness>,
    /// Whether a check takes this node out.
    pub health: Health,
    /// Writes are answered by 405.
    pub read_only: bool,
    /// Counts requests.
    pub metrics: Metrics,
    /// An event for every answer.
    pub access_log: bool,
    /// Bounds; the listener has the same.
    pub limits: Limits,
}

impl Setup {
    /// Open to anyone, with the usual limits and no access log.
    pub fn new(registry: Registry, readiness: watch::Receiver<Readiness>, metrics: Metrics) -> Self {
        let (access, limits) = (Arc::new(Access::open()), Limits::default());
        let (health, read_only) = (Health::default(), false);
        Self { registry, access, readiness, health, read_only, metrics, access_log: false, limits }
    }
}

struct Inner {
    setup: Setup,
    /// Request ids are this process's random part and a count.
    process: u32,
    requests: AtomicU64,
}

impl Front {
    /// A front of these parts.
    pub fn new(setup: Setup) -> Self {
        Self(Arc::new(Inner { setup, process: rand::random(), requests: AtomicU64::new(0) }))
    }

    /// The use cases.
    pub(super) fn registry(&self) -> &Registry {
        &self.0.setup.registry
    }

    /// Who may do what.
    pub(super) fn policy(&self) -> &Policy {
        self.0.setup.access.policy()
    }

    /// Whether writes are switched off.
    pub(super) fn is_read_only(&self) -> bool {
        self.0.setup.read_only
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.0.setup.metrics
    }

    /// As [`Front::handle`], in a tracked task if the request may change something: a client that hangs up right after the
    /// last byte of its body must not undo what the bytes that arrived were for.
    pub async fn handle_detached(self, request: Request<Incoming>, lifecycle: Lifecycle) -> Response<Body> {
        if is_read(request.method()) {
            return self.handle(request).await;
        }
        match lifecycle.spawn(self.handle(request)).await {
            Ok(response) => response,
            Err(failure) => {
                error!(%failure, "a request's task failed");
                error::respond(&registry::Error::Internal(failure.to_string()).into())
            }
        }
    }

    /// Answers one request.
    pub async fn handle(self, request: Request<Incoming>) -> Response<Body> {
        let began = Instant::now();
        let id = self.request_id();
        let (head, incoming) = request.into_parts();
        let has_body = !incoming.is_end_stream();
        let body = RequestBody::new(incoming, self.0.setup.limits.progress);
        let route = route(&head);
        let label = route.label();
        let _in_flight = self.0.setup.metrics.begin(label);
        let flaw = limits::flaw(&head);
        // What follows a bad head may be anything.
        let mut closes = flaw.is_some();
        let flaw = flaw.or_else(|| overloaded(&head, &route)).or_else(|| self.unhealthy(&route));
        closes |= flaw.is_some() && has_body;

        let repository = route.repository();
        let span = info_span!("request", request.id = %id, http.method = %head.method, oci.repository = repository);
        let mut response = match flaw {
            Some(flaw) => error::respond(&flaw),
            None => self.answer(&head, &route, &body).instrument(span.clone()).await,
        };
        let late = body.is_late() && !response.status().is_success();
        if late {
            response = error::respond(&Refusal::BodyLate.into());
        }
        closes |= late;
        let received = body.received();
        if !closes && has_body && !body.is_end() {
            closes = !can_go_on(&head, body, response.status()).await;
        }

        let fields = response.headers_mut();
        fields.insert(headers::API_VERSION, headers::REGISTRY_2_0);
        fields.insert(header::X_CONTENT_TYPE_OPTIONS, headers::NOSNIFF);
        fields.insert(headers::REQUEST_ID, headers::value(&id));
        // The client's next request goes through the balancer again, to another node.
        closes |= matches!(*self.0.setup.readiness.borrow(), Readiness::Unready(_)) || self.0.setup.health.is_out();
        if closes && head.version < http::Version::HTTP_2 {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        let bytes = response.body().size_hint().exact().unwrap_or_default();
        if head.method == Method::HEAD {
            if !response.headers().contains_key(header::CONTENT_LENGTH) && !bodiless(response.status()) {
                response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
            }
            *response.body_mut() = Body::Empty;
        } else if bytes == 0 && !bodiless(response.status()) {
            response.headers_mut().insert(header::CONTENT_LENGTH, headers::ZERO);
        }

        let code = response.status().as_u16();
        let took = began.elapsed();
        let answered = Answered { method: &head.method, endpoint: label, code, took, received, sent: bytes };
        self.0.setup.metrics.answered(&answered);
        if self.0.setup.access_log {
            span.in_scope(|| {
                let agent = head.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
                let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                event!(
                    target: "access",
                    Level::INFO,
                    request.id = %id,
                    http.method = %head.method,
                    http.path = %shown(head.uri.path()),
                    http.status = code,
                    http.bytes = bytes,
                    http.agent = agent,
                    micros,
                    "answered"
                );
            });
        }
        response
    }

    async fn answer(&self, head: &Parts, route: &Route, body: &RequestBody) -> Response<Body> {
        let result = match route {
            Route::Root => match head.method {
                Method::GET | Method::HEAD => Ok(Response::new(Body::Empty)),
                _ => Err(Error::Method { allow: "GET, HEAD" }),
            },
            Route::Probe => {
                let Setup { readiness, health, .. } = &self.0.setup;
                ops::probe(head.uri.path(), readiness, health).ok_or(PathError::NotFound.into())
            }
            Route::Endpoint(endpoint) => self.endpoint(head, endpoint, body).await,
            Route::Nothing(error) => Err((*error).into()),
        };
        result.unwrap_or_else(|error| {
            let mut response = error::respond(&error);
            report(&error, response.status());
            if response.status() == StatusCode::UNAUTHORIZED
                && let Some(challenge) = self.0.setup.access.challenge()
            {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, headers::value(challenge));
            }
            response
        })
    }

    async fn endpoint(&self, head: &Parts, endpoint: &Endpoint, body: &RequestBody) -> Result<Response<Body>, Error> {
        let mut fields = head.headers.get_all(header::AUTHORIZATION).iter();
        let authorization = match (fields.next(), fields.next()) {
            (None, _) => None,
            // What is no text, or said twice, is nobody's.
            (Some(field), None) => Some(field.to_str().unwrap_or_default()),
            (Some(_), Some(_)) => Some(""),
        };
        let caller = self.0.setup.access.caller(authorization).await?;
        v2::answer(self, head, endpoint, body, &caller).await
    }

    /// As in registry:2, a node that a check takes out answers nothing but probes.
    fn unhealthy(&self, route: &Route) -> Option<Error> {
        (self.0.setup.health.is_out() && !matches!(route, Route::Probe)).then_some(Error::Unhealthy)
    }

    fn request_id(&self) -> String {
        let n = self.0.requests.fetch_add(1, Ordering::Relaxed);
        format!("{:08x}{n:08x}", self.0.process)
    }
}

/// Whether the connection can carry another request after an early answer: the rest of a short body is read. Of a success
/// (a repeated request) all of it is: clients that meet an answer in the middle of their body take it for a failure.
async fn can_go_on(head: &Parts, body: RequestBody, answered: StatusCode) -> bool {
    // A client that waits for `100 Continue` has sent nothing, and reading would ask it to.
    let waits = head.headers.contains_key(header::EXPECT) && body.received() == 0;
    match answered.is_success() {
        _ if waits => false,
        true => body.skip().await,
        false => body.drain().await,
    }
}

/// A path for the log: what a terminal could take for a command is escaped.
fn shown(path: &str) -> Cow<'_, str> {
    match path.is_ascii() {
        true => Cow::Borrowed(path),
        false => Cow::Owned(path.escape_default().to_string()),
    }
}

/// Probes are answered also under load: a balancer must not take a busy node for a dead one.
fn overloaded(head: &Parts, route: &Route) -> Option<Error> {
    let refused = head.extensions.get::<Overloaded>().is_some() && !matches!(route, Route::Probe);
    refused.then(|| Refusal::Overloaded.into())
}

enum Route {
    Root,
    Probe,
    Endpoint(Endpoint),
    Nothing(PathError),
}

impl Route {
    fn label(&self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Probe => "probe",
            Self::Endpoint(endpoint) => endpoint.label(),
            Self::Nothing(_) => "none",
        }
    }

    fn repository(&self) -> Option<&str> {
        match self {
            Self::Endpoint(endpoint) => endpoint.repository().map(|name| name.as_str()),
            Self::Root | Self::Probe | Self::Nothing(_) => None,
        }
    }
}

fn route(head: &Parts) -> Route {
    match head.uri.path() {
        "/" => Route::Root,
        "/livez" | "/readyz" => Route::Probe,
        path => match Endpoint::parse(path) {
            Ok(endpoint) => Route::Endpoint(endpoint),
            // To a reader, what cannot be a tag is a manifest that does not exist.
            Err(PathError::Reference(ReferenceError::Tag(_))) if is_read(&head.method) => {
                Route::Nothing(PathError::NoSuchTag)
            }
            Err(error) => Route::Nothing(error),
        },
    }
}

fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// Answers of these statuses have no body and no length.
fn bodiless(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) || status.is_informational()
}

fn report(error: &Error, status: StatusCode) {
    if !status.is_server_error() {
        debug!(status = status.as_u16(), "refused: {}", error::with_causes(error));
    } else if status == StatusCode::SERVICE_UNAVAILABLE {
        warn!("cannot answer for now: {}", error::with_causes(error));
    } else {
        error!("request failed: {}", error::with_causes(error));
    }
}
