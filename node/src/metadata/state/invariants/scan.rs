//! Reads tables a page at a time.

use super::{Checked, sum::Sum};
use crate::metadata::state::keys::{Table, after, key, prefix_end};
use crate::metadata::state::records::decode;
use crate::metadata::state::tables::{Pair, Tables, TablesError};
use prost::Message;

/// Pairs read at a time; fewer where values are large.
const PAGE: usize = 1_000;
const LARGE_PAGE: usize = 16;

/// Takes every pair of a table below `fields`, its key without those.
pub(super) fn each(
    tables: &dyn Tables,
    table: Table,
    fields: &[&[u8]],
    mut take: impl FnMut(&[u8], Vec<u8>) -> Checked,
) -> Checked {
    let limit = match table {
        Table::ManifestBody | Table::TrashBody | Table::Manifest | Table::Trash => LARGE_PAGE,
        _ => PAGE,
    };
    let prefix = key(table, fields);
    let end = prefix_end(&prefix);
    let mut start = prefix.clone();
    loop {
        let page: Vec<Pair> = tables.scan(&start, &end, limit)?;
        let next = page.last().filter(|_| page.len() == limit).map(|(last, _)| after(last.clone()));
        for (entry, value) in page {
            take(&entry[prefix.len()..], value)?;
        }
        match next {
            Some(next) => start = next,
            None => return Ok(()),
        }
    }
}

/// As [`each`], for records.
pub(super) fn each_record<M: Message + Default>(
    tables: &dyn Tables,
    table: Table,
    fields: &[&[u8]],
    mut take: impl FnMut(&[u8], M) -> Checked,
) -> Checked {
    each(tables, table, fields, |rest, value| take(rest, decode(rest, value)?))
}

pub(super) fn sum_of(tables: &dyn Tables, table: Table) -> Result<Sum, TablesError> {
    let mut sum = Sum::default();
    each(tables, table, &[], |rest, _| {
        sum.add(&[rest]);
        Ok(())
    })?;
    Ok(sum)
}
