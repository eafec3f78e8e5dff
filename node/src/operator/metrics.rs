//! What the state says of collection: `flotilla_gc_*`. Read at a scrape, a bounded look at each queue.

use crate::metadata::{Error, MetadataStore};
use flotilla_proto::{admin::Queue, wire::metadata as wire};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
};
use std::{fmt, sync::Arc};
use wire::GcMode;

/// Entries of a queue counted at a scrape.
const COUNTED_MAX: usize = 1_000;

/// The figures.
pub struct Figures {
    metadata: Arc<dyn MetadataStore>,
}

/// A figure of a queue.
type Value = fn(&Queue) -> u64;

/// What a scrape shows.
struct Look {
    gc: wire::Gc,
    suspects: u64,
    day_bytes: u64,
    day_bytes_max: u64,
    queues: Vec<Queue>,
}

impl Figures {
    /// Figures of this metadata, as this node has it.
    pub fn new(metadata: Arc<dyn MetadataStore>) -> Self {
        Self { metadata }
    }

    fn look(&self) -> Result<Look, Error> {
        let view = self.metadata.view()?;
        let (day_bytes, day_bytes_max) = view.breaker()?;
        let (_, gc) = view.gc()?;
        Ok(Look { gc, suspects: view.cluster()?.suspects, day_bytes, day_bytes_max, queues: view.queues(COUNTED_MAX)? })
    }
}

impl fmt::Debug for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Figures")
    }
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // A node that belongs to no cluster yet has none; tables that fail stop the node elsewhere.
        let Ok(look) = self.look() else { return Ok(()) };
        let gauge = |value: u64| ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
        let mut paused = encoder.encode_descriptor(
            "flotilla_gc_paused",
            "1 if collection is paused, by cause",
            None,
            MetricType::Gauge,
        )?;
        let mode = look.gc.mode();
        let causes = [
            ("breaker", look.gc.breaker && mode != GcMode::On),
            ("operator", mode == GcMode::Paused && !look.gc.breaker),
            ("verify", mode == GcMode::Verify),
        ];
        for (cause, applies) in causes {
            gauge(u64::from(applies)).encode(paused.encode_family(&[("cause", cause)])?)?;
        }
        let single = [
            ("flotilla_gc_suspect_blobs", "Blobs whose objects are missing or damaged", look.suspects),
            ("flotilla_gc_day_bytes", "Bytes of blobs that went in the last 24 hours, for the breaker", look.day_bytes),
            ("flotilla_gc_day_bytes_max", "More bytes in a day pause collection", look.day_bytes_max),
        ];
        for (name, help, value) in single {
            gauge(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        let of_queues: [(&str, &str, Value); 3] = [
            ("flotilla_gc_queue_entries", "What waits, counted to 1000", |queue| queue.waiting),
            ("flotilla_gc_queue_due_entries", "What is due, counted to 1000", |queue| queue.due),
            ("flotilla_gc_queue_late_seconds", "How long the oldest entry has been due", |queue| {
                queue.oldest_due_ms.unwrap_or(0) / 1_000
            }),
        ];
        for (name, help, value) in of_queues {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for queue in &look.queues {
                gauge(value(queue)).encode(family.encode_family(&[("queue", queue.name.as_str())])?)?;
            }
        }
        Ok(())
    }
}
