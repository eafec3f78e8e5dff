use super::{Rule, change};

/// What stands above the table.
pub const PREFACE: &str = "\
# Differences from registry:2

Generated from `tests/src/differential/rules/list.rs`; regenerate with `FLOTILLA_WRITE_DOCS=1 cargo test -p flotilla-tests the_document`.

The test `differential` sends one script of requests to Debian's `docker-registry` 2.8.2 and to Flotilla, both started from the same
configuration and environment, and compares the status, the error codes and every header that clients depend on. This is all that
differs. Where the [distribution specification](https://github.com/opencontainers/distribution-spec/blob/main/spec.md) says something, it wins.

";

/// The differences that are meant.
pub const RULES: &[Rule] = &[
    Rule {
        id: "json-charset",
        request: "every JSON answer",
        theirs: "`application/json; charset=utf-8`",
        ours: "`application/json`",
        why: "JSON has no such parameter (RFC 8259, section 11)",
        everywhere: true,
        changes: &[change("content-type", "application/json; charset=utf-8", "application/json")],
    },
    Rule {
        id: "nosniff",
        request: "every request",
        theirs: "`X-Content-Type-Options` only if `http.headers` has it",
        ours: "`X-Content-Type-Options: nosniff`",
        why: "the default configuration of registry:2 has it too",
        everywhere: true,
        changes: &[change("x-content-type-options", "-", "nosniff")],
    },
    Rule {
        id: "location",
        request: "every `Location`",
        theirs: "absolute",
        ours: "path",
        why: "a path is right behind any proxy",
        everywhere: true,
        changes: &[
            change("location-form", "http://127.0.0.1:PORT", "path"),
            change("location-form", "https://127.0.0.1:PORT", "path"),
        ],
    },
];
