//! Objects of the blob store and the segment lists that name them.

use super::apply::{Applied, Machine, UNSUPPORTED};
use super::keys::{Table, key, segment, split_timed, timed};
use super::mutant::Mutant;
use super::records::{damaged, decode, scan};
use super::tables::TablesError;
use crate::metadata::Outcome;
use bytes::Bytes;
use flotilla_proto::metadata::{START_DELETE_MAX, WORK_MAX};
use flotilla_proto::wire::metadata as wire;
use wire::object::State;

/// The segment that a command carries, if it has bytes.
pub(super) fn carried(segment: Option<&wire::Segment>) -> Option<&wire::Segment> {
    segment.filter(|segment| segment.length > 0 && !segment.key.is_empty())
}

impl Machine<'_> {
    /// Whether an object is recorded.
    pub(super) fn knows_object(&self, key_text: &str) -> Result<bool, TablesError> {
        Ok(self.tables.get(&key(Table::Object, &[key_text.as_bytes()]))?.is_some())
    }

    /// Adds segment `n` to a list; its object is live.
    pub(super) fn append(&mut self, list: &[u8], n: u32, item: &wire::Segment) -> Result<(), TablesError> {
        self.put(&segment(list, n), item)?;
        let live = wire::Object { state: Some(State::Live(Bytes::copy_from_slice(list))) };
        self.put(&key(Table::Object, &[item.key.as_bytes()]), &live)
    }

    /// Answers a command that is not applied: its segment will never be named, so its object goes.
    pub(super) fn reject(&mut self, segment: Option<&wire::Segment>, outcome: Outcome) -> Applied {
        if let Some(segment) = carried(segment) {
            self.discard(&segment.key)?;
        }
        Ok(outcome)
    }

    pub(super) fn discard_object(&mut self, command: &wire::DiscardObject) -> Applied {
        let Some(segment) = command.segment.as_ref().filter(|segment| !segment.key.is_empty()) else {
            return Ok(UNSUPPORTED);
        };
        let count = u64::from(self.discard(&segment.key)?);
        Ok(Outcome::Done(wire::Done { count }))
    }

    /// Moves an unrecorded key to `Deleting`; a recorded one has its own fate.
    fn discard(&mut self, key_text: &str) -> Result<bool, TablesError> {
        let unknown = !self.knows_object(key_text)?;
        if unknown {
            self.put_deleting(key_text)?;
        }
        Ok(unknown)
    }

    fn put_deleting(&mut self, key_text: &str) -> Result<(), TablesError> {
        let deleting = wire::Object { state: Some(State::Deleting(wire::Deleting { tries: 0 })) };
        self.put(&key(Table::Object, &[key_text.as_bytes()]), &deleting)?;
        self.mark(&key(Table::Deleting, &[key_text.as_bytes()]))
    }

    /// Queues a list that no reader ever had.
    pub(super) fn list_to_garbage(&mut self, list: &[u8], segments: u32) -> Result<(), TablesError> {
        if segments == 0 {
            return Ok(());
        }
        let garbage = wire::GarbageList { next: 0, segments };
        self.put(&timed(Table::Garbage, self.cluster.mono, list), &garbage)
    }

    /// Condemns the list of what was a blob: readers may still hold it. Final: a later commit of the digest maps its own segments.
    pub(super) fn condemn_list(&mut self, digest: &[u8], blob: &wire::Blob) -> Result<(), TablesError> {
        let wire::Blob { segments, size: bytes, .. } = *blob;
        if segments == 0 {
            return Ok(());
        }
        let digest = Bytes::copy_from_slice(digest);
        let condemned = wire::CondemnedList { segments, next: 0, bytes, digest };
        self.put(&timed(Table::Condemned, self.cluster.mono, &blob.segment_list), &condemned)
    }

    pub(super) fn start_delete(&mut self, command: &wire::StartDelete) -> Applied {
        let limit = command.limit.min(START_DELETE_MAX);
        let mut left = limit;
        while left > 0 && self.delete_garbage(&mut left)? {}
        while left > 0 && self.delete_condemned(&mut left)? {}
        Ok(Outcome::Done(wire::Done { count: u64::from(limit - left) }))
    }

    /// Takes segments off the oldest list that no reader ever had; false if there is none.
    fn delete_garbage(&mut self, left: &mut u32) -> Result<bool, TablesError> {
        let Some((entry, value)) = scan(&*self.tables, Table::Garbage, &[], 1)?.pop() else { return Ok(false) };
        let mut garbage: wire::GarbageList = decode(&entry, value)?;
        let (_, list) = split_timed(&entry).ok_or_else(|| damaged("key of a garbage list", &entry))?;
        garbage.next = self.take_off(list, garbage.next, garbage.segments, left)?;
        match garbage.next < garbage.segments {
            true => self.put(&entry, &garbage)?,
            false => self.delete(&entry)?,
        }
        Ok(true)
    }

    /// Takes segments off the oldest condemned list, if no reader can hold it any more and the breaker lets it pass.
    fn delete_condemned(&mut self, left: &mut u32) -> Result<bool, TablesError> {
        let oldest = scan(&*self.tables, Table::Condemned, &[], 1)?.pop();
        let Some((entry, value)) = oldest.filter(|_| self.collects()) else { return Ok(false) };
        let mut condemned: wire::CondemnedList = decode(&entry, value)?;
        let (at, list) = split_timed(&entry).ok_or_else(|| damaged("key of a condemned list", &entry))?;
        let due = at.saturating_add(self.delays().delete_ms) <= self.cluster.mono;
        if !due || condemned.next == 0 && !self.admit(at, condemned.bytes)? {
            return Ok(false);
        }
        condemned.next = self.take_off(list, condemned.next, condemned.segments, left)?;
        match condemned.next < condemned.segments {
            true => self.put(&entry, &condemned)?,
            false => self.delete(&entry)?,
        }
        Ok(true)
    }

    /// Moves the objects of segments from `next` on to `Deleting`, at most `left`; which segment is the next now.
    fn take_off(&mut self, list: &[u8], mut next: u32, segments: u32, left: &mut u32) -> Result<u32, TablesError> {
        while *left > 0 && next < segments {
            let record = segment(list, next);
            let item: wire::Segment = self.get(&record)?.ok_or_else(|| damaged("segment of a dead list", &record))?;
            self.delete(&record)?;
            self.put_deleting(&item.key)?;
            next += 1;
            *left -= 1;
        }
        Ok(next)
    }

    pub(super) fn deletes_done(&mut self, command: &wire::DeletesDone) -> Applied {
        if command.keys.len() > WORK_MAX {
            return Ok(UNSUPPORTED);
        }
        let mut count = 0;
        for key_text in &command.keys {
            let record = key(Table::Object, &[key_text.as_bytes()]);
            let object: Option<wire::Object> = self.get(&record)?;
            let asked = matches!(object, Some(wire::Object { state: Some(State::Deleting(_)) }));
            if asked || self.broken(Mutant::DeletesDoneUnasked) {
                self.delete(&record)?;
                self.delete(&key(Table::Deleting, &[key_text.as_bytes()]))?;
                count += 1;
            }
        }
        Ok(Outcome::Done(wire::Done { count }))
    }
}
