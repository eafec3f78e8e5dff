//! Clients that are replayed: what each sends, in its order and with its headers, and what its code wants of the answers.
//!
//! One table per client (the modules below); [`Replay`] sends it, every request to the next node, so that nothing may
//! hang on a connection or on one node's memory. What all clients rely on is checked on every answer.

mod answer;
pub mod containerd;
pub mod containers_image;
pub mod docker;
pub mod ggcr;
mod material;
pub mod oras;
pub mod regclient;
mod step;

pub use material::{DOCKER_LIST, DOCKER_MANIFEST, Material, OCI_CONFIG, OCI_EMPTY, OCI_INDEX, OCI_LAYER};
pub use step::{Check, Payload, Row, Step, Table, delete, get, head, patch, post, put};

use crate::http::{AnyBody, Response, empty, exchange, exchange_http2, full};
use bytes::Bytes;
use futures_util::{StreamExt, future::join_all, stream};
use http::{HeaderMap, Request, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use std::{
    convert::Infallible,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

/// No request takes longer.
const LIMIT: Duration = Duration::from_secs(30);
/// Pieces of a body without a length.
const PIECE: usize = 32 * 1024;

/// How requests travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// HTTP/1.1
    Http1,
    /// HTTP/2 without TLS, by prior knowledge.
    Http2,
}

/// Sends tables to nodes.
pub struct Replay {
    nodes: Vec<String>,
    next: AtomicUsize,
    wire: Wire,
}

impl Replay {
    /// Over these nodes, each request to the next.
    pub fn new(nodes: Vec<String>, wire: Wire) -> Self {
        Self { nodes, next: AtomicUsize::new(0), wire }
    }

    /// Sends a whole table; what it remembered stays in `material`.
    ///
    /// # Panics
    /// When an answer does not satisfy its step.
    pub async fn run(&self, table: &Table, material: &mut Material) {
        let mut number = 0;
        for row in &table.rows {
            match row {
                Row::One(step) => {
                    number += 1;
                    self.step(table, &format!("{number}"), step, material).await;
                }
                Row::Together(lanes) => {
                    number += 1;
                    let lanes = lanes.iter().enumerate().map(|(lane, steps)| {
                        let mut material = material.clone();
                        async move {
                            for (at, step) in steps.iter().enumerate() {
                                let name = format!("{number}, lane {lane}, {}", at + 1);
                                self.step(table, &name, step, &mut material).await;
                            }
                        }
                    });
                    join_all(lanes).await;
                }
            }
        }
    }

    async fn step(&self, table: &Table, number: &str, step: &Step, material: &mut Material) {
        let path = material.fill(&step.path);
        let shown = format!("{}, step {number}: {} {path}", table.client, step.method);
        let node = &self.nodes[self.next.fetch_add(1, Ordering::Relaxed) % self.nodes.len()];
        let answer = self.send(node, table.agent, step, &path, material).await;
        let answer = answer.unwrap_or_else(|error| panic!("{shown} at {node}: {error:#}"));
        if let Err(error) = answer::check(step, &answer, material) {
            let body = String::from_utf8_lossy(&answer.body[..answer.body.len().min(600)]).into_owned();
            panic!("{shown} at {node}: {error:#}\n{} {:#?}\n{body}", answer.status, answer.headers);
        }
    }

    async fn send(
        &self,
        node: &str,
        agent: &str,
        step: &Step,
        path: &str,
        material: &Material,
    ) -> anyhow::Result<Response> {
        let mut headers = HeaderMap::new();
        headers.insert(header::USER_AGENT, agent.parse()?);
        for (name, value) in &step.headers {
            headers.append(*name, material.fill(value).parse()?);
        }
        let uri = match self.wire {
            Wire::Http1 => path.to_owned(),
            Wire::Http2 => format!("http://{node}{path}"),
        };
        let mut request = Request::builder().method(&step.method).uri(uri);
        if self.wire == Wire::Http1 {
            request = request.header(header::HOST, node);
        }
        let mut request = request.body(body(&step.body, material))?;
        request.headers_mut().extend(headers);
        let answer = async {
            match self.wire {
                Wire::Http1 => exchange(node, request).await,
                Wire::Http2 => exchange_http2(node, request).await,
            }
        };
        tokio::time::timeout(LIMIT, answer).await?
    }
}

fn body(payload: &Payload, material: &Material) -> AnyBody {
    match payload {
        Payload::None => empty(),
        Payload::Sized(name, None) => full(material.of(name).clone()),
        Payload::Sized(name, Some((from, to))) => full(material.of(name).slice(*from..*to)),
        Payload::Stream(name) => {
            let bytes = material.of(name);
            let pieces: Vec<Bytes> =
                (0..bytes.len()).step_by(PIECE).map(|from| bytes.slice(from..bytes.len().min(from + PIECE))).collect();
            BodyExt::boxed(StreamBody::new(stream::iter(pieces).map(|piece| Ok::<_, Infallible>(Frame::data(piece)))))
        }
    }
}
