//! The manual page, from the table of keys.

use super::{
    keys::{KEYS, MAPPED, Rule},
    load::{DEFAULT_FILES, OURS},
};
use std::fmt::Write;

/// The text of `docs/config.md`.
pub fn manual() -> String {
    let ours = OURS.map(|section| format!("`{section}`")).join(", ");
    let mut page = format!(
        "# Configuration\n\n\
         Generated from `node/src/config/keys.rs`; regenerate with `FLOTILLA_WRITE_DOCS=1 cargo test -p flotilla-node manual`.\n\n\
         One YAML file in the shape of registry:2's `config.yml`, and our sections {ours}: `flotilla serve CONFIG`. \
         `REGISTRY_CONFIGURATION_PATH` replaces the argument. Without either it is the first that exists of {files}; without any, \
         variables and defaults. Durations look like `30s` or `1h30m`.\n\n\
         ## Variables\n\n\
         The variable `REGISTRY_` + path in capitals joined by `_` overrides a key (`REGISTRY_HTTP_ADDR`). Its value is YAML; what is no \
         YAML, as some passwords, stands for itself. List elements go by index (`REGISTRY_CLUSTER_PEERS_0`). Variables apply in lexical \
         order, and a deeper one makes the missing maps. `REGISTRY_STORAGE=s3` replaces the driver, so that \
         `REGISTRY_STORAGE_S3_BUCKET` can follow. Names of headers keep their spelling \
         (`REGISTRY_HTTP_HEADERS_Access-Control-Allow-Origin`). A variable that names no setting is one notice. What Kubernetes tells of a \
         Service whose name begins with `registry` (`REGISTRY_PORT=tcp://…`, `REGISTRY_SERVICE_HOST`, `REGISTRY_PORT_5000_TCP_ADDR`, \
         `REGISTRY_AUTH_PORT`) is left out, with one notice for all.\n\n\
         ## Looking at it\n\n\
         `flotilla config check [CONFIG]` prints what a node would use as YAML, each value with its source (`default`, `file` or the \
         variable; secrets masked), then the notices and a warning for each file that cannot be read. With mistakes it prints all of them \
         and ends with exit code 2, as `flotilla serve` does.\n\n\
         Without `cluster` a node is alone: its metadata is in `flotilla` under the storage directory, or in \
         `/var/lib/registry/flotilla` with S3.\n",
        files = DEFAULT_FILES.map(|file| format!("`{file}`")).join(", "),
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
        &format!(
            "No effect and one notice; so for keys that are not listed, except in our sections ({ours}): those are mistakes."
        ),
        |rule| matches!(rule, Rule::Ignored),
    );
    page.push_str("\n## Mapped\n\nThe left stands for the right.\n\n| | |\n|---|---|\n");
    for (from, to) in MAPPED {
        let _ = writeln!(page, "| {from} | {to}. |");
    }
    page
}
