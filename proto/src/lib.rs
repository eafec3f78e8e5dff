//! Words and formats that leave a Flotilla process. No I/O, no async, no clock.
//!
//! * [`oci`]: the distribution specification's words, each with a grammar and one parser.
//! * [`wire`]: generated protobuf messages of the log, the snapshots and the cluster port.
//! * [`metadata`]: how log commands and records are encoded.
//! * [`admin`]: operator API bodies (JSON).

pub mod admin;
pub mod metadata;
pub mod oci;

/// Generated from `proto/*.proto`; see those files for the contract of each message.
pub mod wire {
    /// Log commands, outcomes and records.
    #[expect(missing_docs, reason = "documented in proto/metadata.proto")]
    pub mod metadata {
        tonic::include_proto!("flotilla.metadata.v1");
    }
    /// Calls between nodes.
    #[expect(missing_docs, reason = "documented in proto/cluster.proto")]
    #[expect(clippy::allow_attributes, reason = "generated code")]
    pub mod cluster {
        tonic::include_proto!("flotilla.cluster.v1");
    }
}
