//! Upload sessions: opened before the first byte is written, so that every object is known; ended once.

use super::apply::{Applied, Machine, UNSUPPORTED, is_id};
use super::keys::{Table, key, timed};
use super::mutant::Mutant;
use super::objects::carried;
use super::records::scan;
use super::repositories::is_name;
use super::tables::TablesError;
use crate::metadata::Outcome;
use flotilla_proto::metadata::{SEGMENTS_MAX, WORK_MAX};
use flotilla_proto::{oci::Algorithm, wire::metadata as wire};
use wire::ended::Result as End;

/// Largest hash state that a session keeps, in bytes: chaining words, count and one block, with room.
const HASH_STATE_BYTES_MAX: usize = 1_024;

fn due(session: &wire::Session) -> u64 {
    session.idle_by_mono.min(session.hard_by_mono)
}

impl Machine<'_> {
    pub(super) fn session(&self, id: &[u8]) -> Result<Option<wire::Session>, TablesError> {
        self.get(&key(Table::Session, &[id]))
    }

    pub(super) fn open_session(&mut self, command: &wire::OpenSession) -> Applied {
        let id = command.session_id.as_ref();
        let algorithm = u8::try_from(command.algorithm).ok().and_then(Algorithm::from_byte);
        if !is_id(id) || !is_name(&command.repository) || algorithm.is_none() {
            return Ok(UNSUPPORTED);
        }
        if let Some(session) = self.session(id)? {
            return Ok(Outcome::SessionOpened(wire::SessionOpened { hour: session.hour }));
        }
        if let Some(ended) = self.ended(id)? {
            return Ok(Outcome::SessionUnknown(wire::SessionUnknown { ended: Some(ended) }));
        }
        if !scan(&*self.tables, Table::Segment, &[id], 1)?.is_empty() {
            return Ok(UNSUPPORTED); // an old session's list: ids, like keys, are never used twice
        }
        self.forget_end(id)?;

        let mono = self.cluster.mono;
        let session = wire::Session {
            repository: command.repository.clone(),
            hour: self.cluster.hour,
            algorithm: command.algorithm,
            idle_by_mono: mono.saturating_add(command.idle_ms),
            hard_by_mono: mono.saturating_add(command.hard_ms),
            opened_wall: self.cluster.wall,
            ..Default::default()
        };
        self.put(&key(Table::Session, &[id]), &session)?;
        self.mark(&timed(Table::SessionDue, due(&session), id))?;
        let mut hour = self.hour(session.hour)?;
        hour.open += 1;
        self.put_hour(session.hour, &hour)?;
        self.cluster.sessions += 1;
        Ok(Outcome::SessionOpened(wire::SessionOpened { hour: session.hour }))
    }

    pub(super) fn touch_session(&mut self, command: &wire::TouchSession) -> Applied {
        let id = command.session_id.as_ref();
        let Some(mut session) = self.session(id)? else { return self.session_unknown(id) };
        let before = due(&session);
        self.keep_open(&mut session, command.idle_ms);
        self.put_session(id, before, &session)?;
        Ok(Outcome::Done(wire::Done { count: 1 }))
    }

    pub(super) fn record_chunk(&mut self, command: &wire::RecordChunk) -> Applied {
        let id = command.session_id.as_ref();
        let segment = command.segment.as_ref();
        let Some(mut session) = self.session(id)? else {
            let unknown = self.session_unknown(id)?;
            return self.reject(segment, unknown);
        };
        if let Some(refusal) = self.refuse_segment(&session, command.from, segment)? {
            return self.reject(segment, refusal);
        }
        if command.hash_state.len() > HASH_STATE_BYTES_MAX {
            return self.reject(segment, UNSUPPORTED);
        }
        let before = due(&session);
        self.append_to(id, &mut session, segment)?;
        session.hash_state = command.hash_state.clone();
        self.keep_open(&mut session, command.idle_ms);
        self.put_session(id, before, &session)?;
        Ok(Outcome::ChunkRecorded(wire::ChunkRecorded { offset: session.offset }))
    }

    /// Why a segment cannot follow at `offset`, if so.
    pub(super) fn refuse_segment(
        &self,
        session: &wire::Session,
        offset: u64,
        segment: Option<&wire::Segment>,
    ) -> Result<Option<Outcome>, TablesError> {
        if session.offset != offset && !self.broken(Mutant::IgnoreAt) {
            return Ok(Some(Outcome::OffsetMismatch(wire::OffsetMismatch { offset: session.offset })));
        }
        let Some(segment) = carried(segment) else { return Ok(None) };
        if session.segments >= SEGMENTS_MAX {
            return Ok(Some(Outcome::SessionFull(wire::SessionFull { offset: session.offset })));
        }
        let refused = session.offset.checked_add(segment.length).is_none() || self.knows_object(&segment.key)?;
        Ok(refused.then_some(UNSUPPORTED))
    }

    /// Appends a segment that [`Machine::refuse_segment`] has let pass.
    pub(super) fn append_to(
        &mut self,
        id: &[u8],
        session: &mut wire::Session,
        segment: Option<&wire::Segment>,
    ) -> Result<(), TablesError> {
        if let Some(segment) = carried(segment) {
            self.append(id, session.segments, segment)?;
            session.segments += 1;
            session.offset = session.offset.saturating_add(segment.length);
        }
        Ok(())
    }

    pub(super) fn cancel_session(&mut self, command: &wire::CancelSession) -> Applied {
        let id = command.session_id.as_ref();
        let Some(session) = self.session(id)? else { return self.session_unknown(id) };
        if session.repository != command.repository {
            return Ok(Outcome::SessionUnknown(wire::SessionUnknown { ended: None }));
        }
        self.drop_session(id, session, End::Cancelled(true))?;
        Ok(Outcome::Done(wire::Done { count: 1 }))
    }

    /// Ends those that are due now: a session touched since the proposer looked stays open.
    pub(super) fn expire_sessions(&mut self, command: &wire::ExpireSessions) -> Applied {
        if command.session_ids.len() > WORK_MAX {
            return Ok(UNSUPPORTED);
        }
        let mut count = 0;
        for id in &command.session_ids {
            let session = self.session(id)?;
            if let Some(session) = session.filter(|session| due(session) <= self.cluster.mono) {
                self.drop_session(id, session, End::Expired(true))?;
                count += 1;
            }
        }
        Ok(Outcome::Done(wire::Done { count }))
    }

    /// Ends a session that commits nothing.
    fn drop_session(&mut self, id: &[u8], session: wire::Session, end: End) -> Result<(), TablesError> {
        self.list_to_garbage(id, session.segments)?;
        self.end_session(id, session, end)
    }

    /// Ends a session; its segment list has found its fate already.
    pub(super) fn end_session(&mut self, id: &[u8], session: wire::Session, end: End) -> Result<(), TablesError> {
        let at_mono = self.cluster.mono;
        self.delete(&key(Table::Session, &[id]))?;
        self.delete(&timed(Table::SessionDue, due(&session), id))?;
        let mut hour = self.hour(session.hour)?;
        hour.open = hour.open.saturating_sub(1);
        hour.last_end_mono = at_mono;
        self.put_hour(session.hour, &hour)?;
        self.cluster.sessions = self.cluster.sessions.saturating_sub(1);
        let ended = wire::Ended { repository: session.repository, result: Some(end), at_mono };
        self.put(&key(Table::Ended, &[id]), &ended)?;
        self.mark(&timed(Table::EndedAt, at_mono, id))
    }

    pub(super) fn session_unknown(&self, id: &[u8]) -> Applied {
        Ok(Outcome::SessionUnknown(wire::SessionUnknown { ended: self.ended(id)? }))
    }

    fn keep_open(&self, session: &mut wire::Session, idle_ms: u64) {
        session.idle_by_mono = self.cluster.mono.saturating_add(idle_ms).min(session.hard_by_mono);
    }

    fn put_session(&mut self, id: &[u8], due_before: u64, session: &wire::Session) -> Result<(), TablesError> {
        if due(session) != due_before {
            self.delete(&timed(Table::SessionDue, due_before, id))?;
            self.mark(&timed(Table::SessionDue, due(session), id))?;
        }
        self.put(&key(Table::Session, &[id]), session)
    }

    /// Removes what is left of an end that is too old to count.
    fn forget_end(&mut self, id: &[u8]) -> Result<(), TablesError> {
        let record = key(Table::Ended, &[id]);
        if let Some(old) = self.get::<wire::Ended>(&record)? {
            self.delete(&timed(Table::EndedAt, old.at_mono, id))?;
            self.delete(&record)?;
        }
        Ok(())
    }
}
