//! Looks at a connection from time to time and says when to end it. One timer a connection; requests and frames set none.

use super::limits::{Limits, PROGRESS_BYTES};
use super::wire::Pulse;
use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep};

/// Looks within the shortest limit, at least.
const LOOKS: u32 = 6;
/// The longest time between two looks.
const INTERVAL_MAX: Duration = Duration::from_secs(1);
/// The same after a request: a connection is put away at the second look.
const IDLE_INTERVAL_MAX: Duration = Duration::from_millis(100);

/// What to do with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing happened since the last look: what serves it can be put away.
    Park,
    /// It was idle for too long.
    Idle,
    /// The head of a request does not come.
    HeadLate,
    /// The client does not take its answer.
    Stalled,
}

pub(super) struct Watch {
    pulse: Arc<Pulse>,
    limits: Limits,
    /// Bytes between requests begin the next one. Not in HTTP/2, which has pings.
    heads: bool,
    timer: Pin<Box<Sleep>>,
    interval: Duration,
    /// As of the last look.
    requests: u32,
    received: u64,
    phase: Phase,
    /// Bytes sent when the client last made progress, and when that was.
    sent: (u64, Instant),
}

#[derive(Clone, Copy)]
enum Phase {
    Busy,
    Idle(Instant),
    Head(Instant),
}

impl Watch {
    /// Begins with the first byte of a request.
    pub(super) fn new(pulse: Arc<Pulse>, limits: Limits, heads: bool) -> Self {
        let interval = (limits.head.min(limits.idle).min(limits.progress) / LOOKS).min(INTERVAL_MAX);
        let first = if heads { interval.min(IDLE_INTERVAL_MAX) } else { interval };
        let now = Instant::now();
        let (requests, received) = (pulse.requests.load(Relaxed), pulse.received.load(Relaxed));
        let sent = (moved(&pulse, heads), now);
        let (timer, phase) = (Box::pin(sleep(first)), Phase::Head(now));
        Self { pulse, limits, heads, timer, interval, requests, received, phase, sent }
    }

    /// Waits until there is something to do. Loses nothing when it is dropped and called again.
    pub(super) async fn verdict(&mut self) -> Verdict {
        loop {
            self.timer.as_mut().await;
            let now = Instant::now();
            let verdict = self.look(now);
            let interval = match self.phase {
                Phase::Idle(_) if self.heads => self.interval.min(IDLE_INTERVAL_MAX),
                _ => self.interval,
            };
            self.timer.as_mut().reset(now + interval);
            if let Some(verdict) = verdict {
                return verdict;
            }
        }
    }

    fn look(&mut self, now: Instant) -> Option<Verdict> {
        let sent = moved(&self.pulse, self.heads);
        let waits = self.pulse.blocked.load(Relaxed) || self.pulse.held.load(Relaxed) > 0;
        if !waits || sent.wrapping_sub(self.sent.0) >= PROGRESS_BYTES {
            self.sent = (sent, now);
        } else if now - self.sent.1 >= self.limits.progress {
            return Some(Verdict::Stalled);
        }

        let (requests, received) = (self.pulse.requests.load(Relaxed), self.pulse.received.load(Relaxed));
        let (news, bytes) = (requests != self.requests, received != self.received);
        (self.requests, self.received) = (requests, received);
        self.phase = match self.phase {
            _ if self.pulse.answers.load(Relaxed) > 0 || waits => Phase::Busy,
            Phase::Busy => Phase::Idle(now),
            _ if news => Phase::Idle(now),
            Phase::Idle(_) if bytes && self.heads => Phase::Head(now),
            unchanged => unchanged,
        };
        match self.phase {
            Phase::Idle(since) if now - since >= self.limits.idle => Some(Verdict::Idle),
            Phase::Idle(since) if now > since && !bytes => Some(Verdict::Park),
            Phase::Head(since) if now - since >= self.limits.head => Some(Verdict::HeadLate),
            _ => None,
        }
    }
}

/// Bytes whose count shows that the client takes its answers. In HTTP/2 a paused download shares the connection with uploads
/// that go on: there both directions count.
fn moved(pulse: &Pulse, is_http1: bool) -> u64 {
    let sent = pulse.sent.load(Relaxed);
    if is_http1 { sent } else { sent.wrapping_add(pulse.received.load(Relaxed)) }
}
