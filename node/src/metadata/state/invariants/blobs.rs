//! Blobs, the segment lists they and others own, and the objects of those.

use super::{Check, Checked, scan::each_record, sum::Sum};
use crate::metadata::state::keys::{Table, key};
use crate::metadata::state::records::decode;
use crate::metadata::state::tables::TablesError;
use flotilla_proto::wire::metadata as wire;
use wire::object::State;

/// What the owner of a segment list says about it, as far as it still has it.
fn own(segments: &mut Sum, list: &[u8], from: u32, to: u32) {
    (from..to).for_each(|n| segments.add(&[list, &n.to_be_bytes()]));
}

impl Check<'_> {
    /// Number and total length of the segments of a list.
    pub(super) fn list(&self, list: &[u8]) -> Result<(u64, u64), TablesError> {
        let (mut segments, mut length) = (0, 0_u64);
        each_record::<wire::Segment>(self.tables, Table::Segment, &[list], |_, segment| {
            segments += 1;
            length = length.saturating_add(segment.length);
            Ok(())
        })?;
        Ok((segments, length))
    }

    pub(super) fn blobs(&mut self) -> Checked {
        let cluster = self.cluster()?;
        let (mut blobs, mut bytes, mut suspects, mut linked) = (0, 0_u64, 0, Sum::default());
        each_record::<wire::Blob>(self.tables, Table::Blob, &[], |digest, blob| {
            blobs += 1;
            bytes = bytes.saturating_add(blob.size);
            suspects += u64::from(blob.suspect);
            linked.add_times(&[digest], blob.links);
            self.expect(blob.links > 0, || format!("blob {} has no links", hex::encode(digest)));
            let same = self.list(&blob.segment_list)? == (u64::from(blob.segments), blob.size);
            self.expect(same || blob.segments == 0 && blob.size == 0, || {
                format!("blob {} has other segments than it says", hex::encode(digest))
            });
            Ok(())
        })?;
        let links = self.sums.links;
        self.expect(links == linked, || {
            format!("blobs count other links: there are {}, they have {}", links.count, linked.count)
        });
        self.expect(cluster.blobs == blobs, || "blobs are miscounted".to_owned());
        self.expect(cluster.blob_bytes == bytes, || "bytes of blobs are miscounted".to_owned());
        self.expect(cluster.suspects == suspects, || "suspect blobs are miscounted".to_owned());
        Ok(())
    }

    /// Every segment list has exactly one owner, every segment a live object of its own, and the other way round.
    pub(super) fn objects(&mut self) -> Checked {
        let tables = self.tables;
        let mut owned = Sum::default();
        each_record::<wire::Session>(tables, Table::Session, &[], |id, session| {
            own(&mut owned, id, 0, session.segments);
            Ok(())
        })?;
        each_record::<wire::Blob>(tables, Table::Blob, &[], |_, blob| {
            own(&mut owned, &blob.segment_list, 0, blob.segments);
            Ok(())
        })?;
        each_record::<wire::GarbageList>(tables, Table::Garbage, &[], |entry, list| {
            own(&mut owned, entry.get(8..).unwrap_or_default(), list.next, list.segments);
            Ok(())
        })?;
        each_record::<wire::CondemnedList>(tables, Table::Condemned, &[], |entry, list| {
            own(&mut owned, entry.get(8..).unwrap_or_default(), list.next, list.segments);
            Ok(())
        })?;
        let (mut segments, mut named) = (Sum::default(), Sum::default());
        each_record::<wire::Segment>(tables, Table::Segment, &[], |entry, segment| {
            segments.add(&[entry]);
            named.add(&[segment.key.as_bytes(), b" ", entry.get(..16).unwrap_or_default()]);
            Ok(())
        })?;
        self.named("S4", owned == segments, || {
            format!("segments do not have one owner each: there are {}, {} are owned", segments.count, owned.count)
        });

        let (mut live, mut deleting, mut stateless) = (Sum::default(), Sum::default(), 0);
        each_record::<wire::Object>(tables, Table::Object, &[], |name, object| {
            match object.state {
                Some(State::Live(list)) => live.add(&[name, b" ", &list]),
                Some(State::Deleting(_)) => deleting.add(&[name]),
                None => stateless += 1,
            }
            Ok(())
        })?;
        self.named("S4", stateless == 0, || format!("{stateless} objects have no state"));
        self.mirrors(Table::Deleting, deleting)?;
        if named != live {
            self.named("S4", false, || {
                format!("segments and live objects differ: {} segments, {} objects", named.count, live.count)
            });
            each_record::<wire::Segment>(tables, Table::Segment, &[], |entry, segment| {
                let record = key(Table::Object, &[segment.key.as_bytes()]);
                let object = tables.get(&record)?.map(|value| decode::<wire::Object>(&record, value)).transpose()?;
                let list = object.and_then(|object| match object.state {
                    Some(State::Live(list)) => Some(list),
                    _ => None,
                });
                let own = list.as_deref() == entry.get(..16);
                self.named("S4", own, || format!("the object of segment {} is not its own", segment.key));
                Ok(())
            })?;
        }
        Ok(())
    }
}
