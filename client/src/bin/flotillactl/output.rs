//! Answers for people.

use flotilla_proto::admin::Status;

/// A table of facts, then one of members.
pub fn status(status: &Status) -> String {
    let leader = status.leader.map_or("none known".to_owned(), |leader| leader.to_string());
    let mut readiness = status.readiness.state.clone();
    if let Some(reason) = &status.readiness.reason {
        readiness.push_str(&format!(" ({reason})"));
    }
    let mut facts = vec![
        ("node", format!("{} {}", status.node_id, status.name)),
        ("version", status.version.clone()),
        ("cluster", status.cluster_id.clone()),
        ("disk", status.disk_id.clone()),
        ("readiness", readiness),
        ("role", format!("{}, term {}, leader {leader}", status.role, status.term)),
        ("log", format!("applied {}, committed {}, last {}", status.applied_index, status.committed, status.last_log)),
        (
            "content",
            format!("{} repositories, {} blobs, {}", status.repositories, status.blobs, bytes(status.blob_bytes)),
        ),
        ("uploads", format!("{} open", status.sessions)),
    ];
    if let Some(hash) = &status.state_hash {
        facts.push(("state", format!("sha256:{} at index {}, term {}", hash.sha256, hash.index, hash.term)));
    }
    let mut text: String = facts.iter().map(|(name, value)| format!("{name:<10} {}\n", value.trim_end())).collect();
    let head = ["MEMBER", "NAME", "ADDRESS", "VOTES", "DISK"].map(str::to_owned);
    let rows = status.members.iter().map(|member| {
        let votes = if member.voter { "yes" } else { "no" };
        [member.id.to_string(), member.name.clone(), member.address.clone(), votes.to_owned(), member.disk_id.clone()]
    });
    text.push('\n');
    text.push_str(&table(&std::iter::once(head).chain(rows).collect::<Vec<_>>()));
    text
}

fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

fn bytes(count: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let step = (1..=units.len()).rev().find(|step| count >> (10 * step) > 0);
    match step {
        // One digit after the point, cut off.
        Some(step) => {
            let tenths = (u128::from(count) * 10) >> (10 * step);
            format!("{}.{} {}", tenths / 10, tenths % 10, units[step - 1])
        }
        None => format!("{count} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flotilla_proto::admin::{Member, StateHash};

    #[test]
    fn a_status_reads_as_two_tables() {
        let text = status(&Status {
            node_id: 2,
            blob_bytes: 1_610_612_736,
            leader: Some(1),
            members: vec![Member { id: 12, address: "h:1".to_owned(), voter: true, ..Member::default() }],
            state_hash: Some(StateHash { index: 5, term: 1, sha256: "ab".to_owned() }),
            ..Status::default()
        });
        for wanted in ["1.5 GiB", "leader 1", "sha256:ab at index 5", "12            h:1      yes"] {
            assert!(text.contains(wanted), "{wanted}\n{text}");
        }
        assert_eq!((bytes(1023), bytes(1024)), ("1023 bytes".to_owned(), "1.0 KiB".to_owned()));
    }
}
