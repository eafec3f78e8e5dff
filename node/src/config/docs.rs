//! The manual page, from the table of keys.

use super::keys::{KEYS, Rule};
use std::fmt::Write;

/// The text of `docs/config.md`.
pub fn manual() -> String {
    let mut page = String::from(
        "# Configuration\n\n\
         Generated from `node/src/config/keys.rs`; regenerate with `FLOTILLA_WRITE_DOCS=1 cargo test -p flotilla-node manual`.\n\n\
         One YAML file in the shape of registry:2's `config.yml`, and our sections `cluster`, `gc` and `limits`. The variable `REGISTRY_` + path in \
         capitals joined by `_` overrides a key (`REGISTRY_HTTP_ADDR`); its value is YAML; list elements go by index; variables \
         apply in lexical order; `REGISTRY_STORAGE=s3` replaces the driver. `REGISTRY_CONFIGURATION_PATH` replaces the file \
         argument. Durations look like `30s` or `1h30m`.\n\n\
         Without `cluster` a node is alone: its metadata is in `flotilla` under the storage directory, or in \
         `/var/lib/registry/flotilla` with S3.\n",
    );
    let mut section = |title: &str, about: &str, wanted: fn(&Rule) -> bool| {
        // Writing to a text cannot fail.
        let _ = write!(page, "\n## {title}\n\n{about}\n\n| key | |\n|---|---|\n");
        for key in KEYS.iter().filter(|key| wanted(&key.rule)) {
            let fix = if key.fix.is_empty() { String::new() } else { format!(" Instead: {}.", key.fix) };
            let _ = writeln!(page, "| `{}` | {}.{fix} |", key.path, key.text);
        }
    };
    section("Honoured", "These do what they say.", |rule| matches!(rule, Rule::Honoured));
    section(
        "Refused",
        "Where these would take effect, the node does not start; empty or disabled, one notice.",
        |rule| matches!(rule, Rule::Refused(_)),
    );
    section(
        "Ignored",
        "No effect and one notice; so for keys that are not listed, except in `cluster`, `gc` and `limits`: those are mistakes.",
        |rule| matches!(rule, Rule::Ignored),
    );
    page
}
