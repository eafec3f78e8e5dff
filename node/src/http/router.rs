//! One public request from its head to its answer: which endpoint, what every answer carries, what is counted and logged.

use super::access_log::{AccessLog, CLIENT_GONE, Entry};
use super::audit::{self, Audit, Who};
use super::body::{Body, RequestBody};
use super::client::{Client, Connection};
use super::error::{self, Error};
use super::limits::{self, Limits, Overloaded, Refusal};
use super::metrics::{Answered, Metrics};
use super::origin::{Origin, Origins};
use super::v2::{self, endpoint::Endpoint, endpoint::PathError};
use super::{challenge, headers, ops, token};
use crate::{
    auth::{Access, Caller, NotVerified, Policy, TOKEN_PATH},
    health::Health,
    lifecycle::{Lifecycle, Readiness},
    registry::{self, Registry},
};
use flotilla_proto::oci::ReferenceError;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};
use http_body::Body as _;
use hyper::body::Incoming;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tokio::{sync::watch, time::Instant};
use tracing::{Instrument, debug, error, info_span, warn};

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
    /// Notes every answer.
    pub access_log: AccessLog,
    /// Where the outside finds the registry.
    pub origins: Origins,
    /// Of every answer; the listener has the same.
    pub headers: HeaderMap,
    /// Bounds; the listener has the same.
    pub limits: Limits,
    /// Lines about changes, logins and denials.
    pub audit: Option<Audit>,
}

impl Setup {
    /// Open to anyone at `/`, with the usual limits and no access log.
    pub fn new(registry: Registry, readiness: watch::Receiver<Readiness>, metrics: Metrics) -> Self {
        let (access, limits) = (Arc::new(Access::open()), Limits::default());
        let (access_log, origins, headers) = (AccessLog::Off, Origins::default(), HeaderMap::new());
        let (health, read_only, audit) = (Health::default(), false, None);
        Self { registry, access, readiness, health, read_only, metrics, access_log, origins, headers, limits, audit }
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

    /// Whether the caller may do something here. Where there are tokens, who has none is always sent for one: clients ask once,
    /// and without a challenge they would never show who they are.
    pub(super) fn admits(&self, caller: &Caller) -> bool {
        let access = &self.0.setup.access;
        access.policy().admits(caller) && !(access.has_tokens() && *caller == Caller::Anonymous)
    }

    /// How callers show who they are.
    pub(super) fn access(&self) -> &Access {
        &self.0.setup.access
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
        let (mut head, incoming) = request.into_parts();
        let connection = head.extensions.get::<Connection>().copied().unwrap_or_default();
        let (client, origin) = self.0.setup.origins.of(&head.uri, &head.headers, connection);
        if let Some(address) = client {
            head.extensions.insert(Client(address));
        }
        let has_body = !incoming.is_end_stream();
        let body = RequestBody::new(incoming, self.0.setup.limits.progress);
        let route = route(&head, &self.0.setup);
        let label = route.label();
        let _in_flight = self.0.setup.metrics.begin(label);
        let flaw = limits::flaw(&head);
        // What follows a bad head may be anything.
        let mut closes = flaw.is_some();
        let flaw = flaw.or_else(|| overloaded(&head, &route)).or_else(|| self.unhealthy(&route));
        closes |= flaw.is_some() && has_body;

        let repository = route.repository();
        let span = info_span!("request", request.id = %id, http.method = %head.method, oci.repository = repository);
        let who = Who::default();
        let note = |code, received, sent| {
            let (user, took) = (who.verified(), began.elapsed());
            let answered = Answered { method: &head.method, endpoint: label, code, took, received, sent };
            self.0.setup.metrics.answered(&answered);
            let entry = Entry { id: &id, head: &head, client, user, status: code, bytes: sent, took };
            span.in_scope(|| self.0.setup.access_log.note(&entry));
        };
        let abandoned = OnDrop::new(|| note(CLIENT_GONE, 0, 0));
        let mut response = match flaw {
            Some(flaw) => error::respond(&flaw),
            None => self.answer(&head, &route, &body, &origin, &who).instrument(span.clone()).await,
        };
        let broken = body.is_broken();
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
        headers::add(fields, &self.0.setup.headers);
        if matches!(route, Route::Token) {
            // Whatever the operator says of answers: a token is for one caller.
            fields.insert(header::CACHE_CONTROL, headers::NO_STORE);
        }
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

        abandoned.forget();
        note(if broken { CLIENT_GONE } else { response.status().as_u16() }, received, bytes);
        if let Some(audit) = &self.0.setup.audit
            && let Some(line) = audit::line(&head, &route, &who, &id, &response)
        {
            audit.write(line).await;
        }
        response
    }

    async fn answer(
        &self,
        head: &Parts,
        route: &Route,
        body: &RequestBody,
        origin: &Origin<'_>,
        who: &Who,
    ) -> Response<Body> {
        let result = match route {
            Route::Nothing(error) => Err((*error).into()),
            // Browsers ask before they send what a page wants to be sent, and show no credentials then.
            _ if head.method == Method::OPTIONS && self.shares() => Ok(preflight(route)),
            Route::Root => match head.method {
                Method::GET | Method::HEAD => Ok(Response::new(Body::Empty)),
                _ => Err(Error::Method { allow: route.methods() }),
            },
            Route::Probe(path) => {
                let Setup { readiness, health, .. } = &self.0.setup;
                ops::probe(path, readiness, health).ok_or(PathError::NotFound.into())
            }
            Route::Token => match self.access().issuer() {
                Some(issuer) => token::answer(self, issuer, head, authorization(head), who).await,
                None => Err(PathError::NotFound.into()),
            },
            Route::Endpoint(endpoint) => self.endpoint(head, endpoint, body, origin, who).await,
        };
        result.unwrap_or_else(|error| {
            let mut response = error::respond(&error);
            report(&error, response.status());
            if response.status() == StatusCode::UNAUTHORIZED
                && let Some(challenge) = self.access().password_challenge()
            {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, headers::value(challenge));
            }
            response
        })
    }

    /// Whether web pages of other origins may read answers.
    fn shares(&self) -> bool {
        self.0.setup.headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN)
    }

    async fn endpoint(
        &self,
        head: &Parts,
        endpoint: &Endpoint,
        body: &RequestBody,
        origin: &Origin<'_>,
        who: &Who,
    ) -> Result<Response<Body>, Error> {
        let access = self.access();
        let caller = self.caller(head, who).await;
        let result = match &caller {
            Ok(caller) => v2::answer(self, head, endpoint, body, caller, origin).await,
            Err(error) => Err((*error).into()),
        };
        match result {
            Err(error) if error::is_about_caller(&error) => {
                debug!("not permitted: {}", error::with_causes(&error));
                let wanted = challenge::wanted(endpoint, head);
                Ok(challenge::respond(&error, access, origin, &wanted, caller.as_ref().ok()))
            }
            result => result,
        }
    }

    /// Who sends a request; noted in `who`.
    pub(super) async fn caller(&self, head: &Parts, who: &Who) -> Result<Caller, NotVerified> {
        let (access, authorization) = (self.access(), authorization(head));
        let client = head.extensions.get::<Client>().map(|client| client.0);
        let client = client.filter(|_| self.0.setup.origins.know_clients());
        let caller = access.caller(authorization, client).await;
        match (&caller, authorization) {
            (Ok(caller), _) => who.is(caller),
            (Err(_), Some(authorization)) if self.0.setup.audit.is_some() => {
                who.claims_to_be(access.known_name(authorization).await);
            }
            (Err(_), _) => {}
        }
        caller
    }

    /// As in registry:2, a node that a check takes out answers nothing but probes.
    fn unhealthy(&self, route: &Route) -> Option<Error> {
        (self.0.setup.health.is_out() && !matches!(route, Route::Probe(_))).then_some(Error::Unhealthy)
    }

    fn request_id(&self) -> String {
        let n = self.0.requests.fetch_add(1, Ordering::Relaxed);
        format!("{:08x}{n:08x}", self.0.process)
    }
}

/// The header `Authorization`. What is no text, or said twice, is nobody's.
fn authorization(head: &Parts) -> Option<&str> {
    let mut fields = head.headers.get_all(header::AUTHORIZATION).iter();
    match (fields.next(), fields.next()) {
        (None, _) => None,
        (Some(field), None) => Some(field.to_str().unwrap_or_default()),
        (Some(_), Some(_)) => Some(""),
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

/// Answers the question of a browser what a page may send; the headers that say so are those of every answer.
fn preflight(route: &Route) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(route.methods()));
    response
}

/// Does something when it is dropped, unless it was told to forget.
struct OnDrop<F: Fn()>(Option<F>);

impl<F: Fn()> OnDrop<F> {
    fn new(act: F) -> Self {
        Self(Some(act))
    }

    fn forget(mut self) {
        self.0 = None;
    }
}

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        if let Some(act) = &self.0 {
            act();
        }
    }
}

/// Probes are answered also under load: a balancer must not take a busy node for a dead one.
fn overloaded(head: &Parts, route: &Route) -> Option<Error> {
    let refused = head.extensions.get::<Overloaded>().is_some() && !matches!(route, Route::Probe(_));
    refused.then(|| Refusal::Overloaded.into())
}

pub(super) enum Route {
    Root,
    Probe(&'static str),
    Token,
    Endpoint(Endpoint),
    Nothing(PathError),
}

impl Route {
    fn label(&self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Probe(_) => "probe",
            Self::Token => "token",
            Self::Endpoint(endpoint) => endpoint.label(),
            Self::Nothing(_) => "none",
        }
    }

    fn methods(&self) -> &'static str {
        match self {
            Self::Endpoint(endpoint) => endpoint.methods(),
            Self::Root | Self::Probe(_) | Self::Token | Self::Nothing(_) => "GET, HEAD",
        }
    }

    fn repository(&self) -> Option<&str> {
        match self {
            Self::Endpoint(endpoint) => endpoint.repository().map(|name| name.as_str()),
            Self::Root | Self::Probe(_) | Self::Token | Self::Nothing(_) => None,
        }
    }
}

/// Probes and the root are also where balancers look for them, whatever the prefix.
fn route(head: &Parts, setup: &Setup) -> Route {
    let outer = head.uri.path();
    let inner = setup.origins.inner(outer);
    match inner.unwrap_or(outer) {
        "/" => Route::Root,
        "/livez" => Route::Probe("/livez"),
        "/readyz" => Route::Probe("/readyz"),
        TOKEN_PATH if inner.is_some() && setup.access.issuer().is_some() => Route::Token,
        path if inner.is_some() => match Endpoint::parse(path) {
            Ok(endpoint) => Route::Endpoint(endpoint),
            // To a reader, what cannot be a tag is a manifest that does not exist.
            Err(PathError::Reference(ReferenceError::Tag(_))) if is_read(&head.method) => {
                Route::Nothing(PathError::NoSuchTag)
            }
            Err(error) => Route::Nothing(error),
        },
        _ => Route::Nothing(PathError::NotFound),
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
