//! Operators at the cluster port. Only under mutual TLS, where a certificate of the cluster's authority says that somebody
//! may: at a plaintext port every user of the machine could ask what the socket answers one user alone.

use super::{host::Host, service::Peer};
use bytes::Bytes;
use flotilla_proto::wire::cluster::{OperatorRequest, OperatorResponse, operator_server::Operator};
use futures_util::future::BoxFuture;
use sha2::{Digest as _, Sha256};
use std::{net::IpAddr, sync::Arc};
use tonic::{Request, Response, Status};

/// What an operator asks, and who that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// HTTP method.
    pub method: String,
    /// Path with a query.
    pub target: String,
    /// Whence it came.
    pub from: Option<IpAddr>,
    /// The sha256 of the client's certificate, hexadecimal.
    pub certificate: String,
}

/// Answers a call by a status and JSON.
pub type Answerer = Arc<dyn Fn(Call) -> BoxFuture<'static, (u16, Bytes)> + Send + Sync>;

#[tonic::async_trait]
impl Operator for Peer {
    async fn call(&self, request: Request<OperatorRequest>) -> Result<Response<OperatorResponse>, Status> {
        let answerer = admit(&self.0)?;
        let from = request.remote_addr().map(|address| address.ip());
        let certificate = request.peer_certs().and_then(|chain| chain.first().map(Sha256::digest));
        let certificate = certificate.ok_or_else(|| Status::unauthenticated("the client shows no certificate"))?;
        let OperatorRequest { method, target } = request.into_inner();
        let (status, json) = answerer(Call { method, target, from, certificate: hex::encode(certificate) }).await;
        Ok(Response::new(OperatorResponse { status: status.into(), json }))
    }
}

fn admit(host: &Host) -> Result<Answerer, Status> {
    if host.cluster.as_ref().is_none_or(|cluster| cluster.tls.is_none()) {
        let why = "operators are served here under mutual TLS only (cluster.tls); ask through the node's socket";
        return Err(Status::failed_precondition(why));
    }
    host.operators.get().cloned().ok_or_else(|| Status::unavailable("the node starts"))
}
