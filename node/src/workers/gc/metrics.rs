use prometheus_client::{metrics::counter::Counter, registry::Registry};

/// What collection did on this node, `flotilla_gc_*`. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    pub(super) links: Counter,
    pub(super) blobs: Counter,
    pub(super) bytes: Counter,
    pub(super) manifests: Counter,
    pub(super) trash: Counter,
    pub(super) drained: Counter,
    pub(super) started: Counter,
    pub(super) deleted: Counter,
    pub(super) delete_failures: Counter,
    pub(super) hours: Counter,
    pub(super) strays: Counter,
    pub(super) uploads: Counter,
    pub(super) scrubbed: Counter,
    pub(super) missing: Counter,
    pub(super) suspects: Counter,
    pub(super) healed: Counter,
    pub(super) recounts: Counter,
    pub(super) miscounts: Counter,
}

impl Metrics {
    /// Figures shown by `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let all = Self::default();
        let room = registry.sub_registry_with_prefix("flotilla_gc");
        for (name, help, counter) in [
            ("links_collected", "Links without references that were dropped", &all.links),
            ("blobs_collected", "Blobs whose last link was dropped", &all.blobs),
            ("collected_bytes", "Bytes of those blobs", &all.bytes),
            ("manifests_removed", "Manifests that nothing held and that were removed", &all.manifests),
            ("trash_purged", "Deleted manifests and tags whose grace was over", &all.trash),
            ("records_drained", "Records of deleted repositories that were removed", &all.drained),
            ("deletes_started", "Objects that were given to be deleted", &all.started),
            ("objects_deleted", "Objects that the store named as gone", &all.deleted),
            ("delete_failures", "Objects that the store did not name as gone, by attempt", &all.delete_failures),
            ("hours_swept", "Buckets of sessions whose part of the store was found clean", &all.hours),
            ("strays_deleted", "Objects that no record named and that were deleted", &all.strays),
            ("uploads_aborted", "Writes that were left in the store and were aborted", &all.uploads),
            ("objects_scrubbed", "Recorded objects that were looked up in the store", &all.scrubbed),
            ("objects_missing", "Looks at recorded objects that were missing or had a wrong length", &all.missing),
            ("suspects_marked", "Blobs that were marked as suspect", &all.suspects),
            ("suspects_healed", "Suspect blobs that were found whole again", &all.healed),
            ("recounts", "Times that everything in the state was counted again", &all.recounts),
            ("miscounts", "Differences that were found by that", &all.miscounts),
        ] {
            room.register(name, help, counter.clone());
        }
        all
    }
}
