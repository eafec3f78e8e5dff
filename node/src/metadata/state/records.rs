//! Records under keys: protobuf in, protobuf out. Bytes that do not decode are damage, which stops the node.

use super::keys::{Table, key, prefix_end};
use super::tables::{Pair, Tables, TablesError, TablesMut};
use bytes::Bytes;
use prost::Message;

/// A record that is not what its key says.
#[derive(Debug, thiserror::Error)]
#[error("damaged record {} under key {}", .what, hex::encode(.key))]
struct Damaged {
    what: &'static str,
    key: Vec<u8>,
    #[source]
    source: Option<prost::DecodeError>,
}

/// Says that the bytes under `key` are no `what`.
pub(crate) fn damaged(what: &'static str, key: &[u8]) -> TablesError {
    TablesError(Box::new(Damaged { what, key: key.to_vec(), source: None }))
}

/// Reads stored bytes; byte fields of the record share them.
pub(crate) fn decode<M: Message + Default>(key: &[u8], value: Vec<u8>) -> Result<M, TablesError> {
    M::decode(Bytes::from(value)).map_err(|source| {
        let what = std::any::type_name::<M>();
        TablesError(Box::new(Damaged { what, key: key.to_vec(), source: Some(source) }))
    })
}

/// The record under `key`.
pub(crate) fn get<M: Message + Default>(tables: &(impl Tables + ?Sized), key: &[u8]) -> Result<Option<M>, TablesError> {
    tables.get(key)?.map(|value| decode(key, value)).transpose()
}

/// Writes a record.
pub(crate) fn put(tables: &mut dyn TablesMut, key: &[u8], record: &impl Message) -> Result<(), TablesError> {
    tables.put(key, &record.encode_to_vec())
}

/// At most `limit` pairs whose keys begin with the table and `fields`, ascending.
pub(crate) fn scan(
    tables: &(impl Tables + ?Sized),
    table: Table,
    fields: &[&[u8]],
    limit: usize,
) -> Result<Vec<Pair>, TablesError> {
    let start = key(table, fields);
    tables.scan(&start, &prefix_end(&start), limit)
}
