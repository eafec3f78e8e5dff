//! Section `cluster`.

use super::Reader;
use crate::config::{Cluster, ClusterTls, address};
use serde_json::Value;
use std::path::PathBuf;

impl Reader {
    pub(super) fn cluster(&self) -> Option<Cluster> {
        let addr = self.address("cluster.addr", "127.0.0.1:5001");
        let advertise = self.set("cluster.advertise").is_some();
        let advertised = self.address("cluster.advertise", &addr);
        let peers = self.peers();
        let expect = self.text("cluster.bootstrapexpect").map(|text| {
            text.parse::<usize>().ok().filter(|expect| (1..=7).contains(expect)).unwrap_or_else(|| {
                self.mistake("cluster.bootstrapexpect", "expected a number from 1 to 7", "write 3 or 5");
                1
            })
        });
        if expect.is_none() {
            self.uses("cluster.bootstrapexpect", 1, None);
        }
        let tls = self.cluster_tls();
        let cluster = Cluster {
            name: self.text_or("cluster.name", "flotilla"),
            advertise: advertised,
            bootstrap_expect: expect.unwrap_or(1),
            new_store: self.boolean("cluster.newstore", false),
            addr,
            peers,
            tls,
        };
        self.set("cluster.datadir");
        if !self.get("cluster").is_some_and(Value::is_object) {
            self.has_no_effect("cluster");
            return None;
        }
        if !address::is_loopback(&cluster.addr) && cluster.tls.is_none() && address::split(&cluster.addr).is_some() {
            let fix = "set cluster.tls.{certificate,key,ca}, or listen on a loopback address";
            self.mistake("cluster.addr", "without mutual TLS anyone who reaches this port could write", fix);
        }
        if !advertise && address::is_unspecified(&cluster.addr) {
            self.mistake(
                "cluster.advertise",
                "peers cannot reach an unspecified address",
                "name this node's host:port",
            );
        }
        if cluster.peers.is_empty() && cluster.bootstrap_expect > 1 {
            let fix = "list the cluster addresses of all nodes, or one DNS name with port";
            self.mistake("cluster.peers", "the nodes to form a cluster with are not named", fix);
        }
        if !cluster.peers.is_empty() && expect.is_none() {
            let fix = "write how many nodes form the new cluster, e.g. 3; the same on every node";
            self.mistake("cluster.bootstrapexpect", "it is required with `peers`", fix);
        }
        Some(cluster)
    }

    fn peers(&self) -> Vec<String> {
        let peers: Vec<String> = match self.set("cluster.peers") {
            None => Vec::new(),
            Some(Value::Array(items)) => {
                if items.iter().any(|item| !item.is_string()) {
                    self.mistake("cluster.peers", "expected a list of addresses", "write `[host:port, ...]`");
                }
                items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
            }
            Some(_) => {
                let text = self.text("cluster.peers").unwrap_or_default();
                text.split([',', ' ']).filter(|peer| !peer.is_empty()).map(str::to_owned).collect()
            }
        };
        if peers.iter().any(|peer| address::split(peer).is_none_or(|(host, _)| host.is_empty())) {
            self.mistake("cluster.peers", "every peer is host and port", "write `[host:port, ...]`");
        }
        peers
    }

    fn cluster_tls(&self) -> Option<ClusterTls> {
        let paths = ["cluster.tls.certificate", "cluster.tls.key", "cluster.tls.ca"];
        let [certificate, key, ca] = paths.map(|path| self.text(path).map(PathBuf::from));
        let given = [&certificate, &key, &ca].map(|path| path.is_some());
        if given.contains(&true) {
            for (path, _) in paths.iter().zip(given).filter(|(_, given)| !given) {
                self.mistake(path, "mutual TLS needs certificate, key and ca", "name the PEM file");
            }
        }
        Some(ClusterTls { certificate: certificate?, key: key?, ca: ca? })
    }
}
