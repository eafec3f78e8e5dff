use super::{FORMAT, FRAME_BYTES_MAX, SnapshotMeta, push_pair};
use crate::raft::{
    tables::{Database, Position, ReadTables, io_error},
    types::{Vote, log_id_to_wire, stored_membership_to_wire, vote_to_wire},
};
use bytes::Bytes;
use flotilla_proto::wire::cluster::{
    self as wire, SnapshotChunk, SnapshotFooter, SnapshotFrame, SnapshotHeader, snapshot_chunk::Part,
};
use sha2::{Digest as _, Sha256};
use std::{io, sync::Arc};

/// One consistent state with its meta, read from inside the same view. Pins old pages: keep it for one transfer only.
pub struct SnapshotView {
    tables: ReadTables,
    meta: SnapshotMeta,
    cluster_id: String,
}

impl SnapshotView {
    pub(in crate::raft) fn open(database: Arc<Database>, cluster_id: &str) -> io::Result<Self> {
        let txn = database.begin_read()?;
        let position = Position::load(&txn)?;
        let meta = SnapshotMeta { last_log_id: position.applied, last_membership: position.membership };
        Ok(Self { tables: ReadTables::new(database, &txn)?, meta, cluster_id: cluster_id.to_owned() })
    }

    /// What the view covers.
    pub fn meta(&self) -> &SnapshotMeta {
        &self.meta
    }

    /// sha256 over all pairs in key order, each as u32 key length, key, u32 value length, value (big-endian).
    pub fn hash(&self) -> io::Result<[u8; 32]> {
        let (mut digest, mut raw) = (Sha256::new(), Vec::new());
        for pair in self.tables.iter()? {
            let (key, value) = pair.map_err(io_error)?;
            raw.clear();
            push_pair(&mut raw, key.value(), value.value())?;
            digest.update(&raw);
        }
        Ok(digest.finalize().into())
    }

    /// The stream to a peer: header, frames, footer. `vote` is the sender's. Each step reads the disk and compresses.
    pub fn chunks(&self, vote: &Vote) -> io::Result<Chunks> {
        self.chunks_from(Some(vote_to_wire(vote)))
    }

    pub(super) fn chunks_from(&self, vote: Option<wire::Vote>) -> io::Result<Chunks> {
        let header = SnapshotHeader {
            vote,
            last_log_id: self.meta.last_log_id.as_ref().map(log_id_to_wire),
            membership: Some(stored_membership_to_wire(&self.meta.last_membership)),
            format: FORMAT,
            cluster_id: self.cluster_id.clone(),
        };
        let pairs = self.tables.iter()?;
        Ok(Chunks { header: Some(header), pairs, left_over: Vec::new(), sum: Some(Sha256::new()), sent: 0 })
    }
}

/// The messages of one transfer; ends after the footer or the first error.
pub struct Chunks {
    header: Option<SnapshotHeader>,
    pairs: redb::Range<'static, &'static [u8], &'static [u8]>,
    /// A pair that did not fit into the frame before.
    left_over: Vec<u8>,
    /// `None` once the footer is out.
    sum: Option<Sha256>,
    sent: u64,
}

impl Chunks {
    fn frame(&mut self) -> io::Result<Option<SnapshotFrame>> {
        let mut raw = std::mem::take(&mut self.left_over);
        let mut pairs = u64::from(!raw.is_empty());
        for pair in &mut self.pairs {
            let (key, value) = pair.map_err(io_error)?;
            let (key, value) = (key.value(), value.value());
            if !raw.is_empty() && raw.len() + key.len() + value.len() + 8 > FRAME_BYTES_MAX {
                push_pair(&mut self.left_over, key, value)?;
                break;
            }
            push_pair(&mut raw, key, value)?;
            pairs += 1;
        }
        if raw.is_empty() {
            return Ok(None);
        }
        if let Some(sum) = &mut self.sum {
            sum.update(&raw);
        }
        self.sent += pairs;
        let payload = Bytes::from(lz4_flex::block::compress(&raw));
        let raw_length = u32::try_from(raw.len()).map_err(io::Error::other)?;
        Ok(Some(SnapshotFrame { crc32: crc32fast::hash(&payload), payload, pairs, raw_length }))
    }
}

impl Iterator for Chunks {
    type Item = io::Result<SnapshotChunk>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(header) = self.header.take() {
            return Some(Ok(SnapshotChunk { part: Some(Part::Header(header)) }));
        }
        self.sum.as_ref()?;
        let part = match self.frame() {
            Ok(Some(frame)) => Part::Frame(frame),
            Ok(None) => {
                let sha256 = self.sum.take()?.finalize();
                Part::Footer(SnapshotFooter { pairs: self.sent, sha256: Bytes::copy_from_slice(&sha256) })
            }
            Err(error) => {
                self.sum = None;
                return Some(Err(error));
            }
        };
        Some(Ok(SnapshotChunk { part: Some(part) }))
    }
}
