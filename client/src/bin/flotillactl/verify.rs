//! `flotillactl verify`: the node does the work; this waits for its end.

use crate::{Node, output};
use anyhow::Context;
use flotilla_client::admin;
use flotilla_proto::admin::{Verification, Verify};
use std::{io::Write, process::ExitCode, time::Duration};

/// Between two looks.
const POLL: Duration = Duration::from_millis(200);
/// Looks between two lines of progress.
const LOOKS: u32 = 50;
/// Exit code: something differs, or bytes are known to be missing or damaged.
const DIFFERS: u8 = 1;
/// Exit code: it could not be done, or not to its end.
const UNDONE: u8 = 2;

/// Verifies and says how that ended.
pub(crate) async fn run(node: &Node, verify: Verify) -> ExitCode {
    let ended = match wait(node, verify).await {
        Ok(seen) => node.show(&seen, output::verification).map(|()| code(&seen)),
        Err(error) => Err(error),
    };
    ended.unwrap_or_else(|error| output::failed(&error, ExitCode::from(UNDONE)))
}

fn code(seen: &Verification) -> ExitCode {
    match seen {
        seen if seen.differences_all > 0 || seen.suspects > 0 => ExitCode::from(DIFFERS),
        seen if !seen.is_clean() => ExitCode::from(UNDONE),
        _ => ExitCode::SUCCESS,
    }
}

async fn wait(node: &Node, verify: Verify) -> anyhow::Result<Verification> {
    let asked = node.open()?;
    let mut seen = admin::start_verification(&asked, verify).await?;
    let mut looks = 0;
    while seen.running {
        tokio::time::sleep(POLL).await;
        let now = admin::verification(&asked).await?;
        anyhow::ensure!(
            now.run == seen.run,
            "the node restarted, or it is another one: how the run ended is not known"
        );
        seen = now;
        looks += 1;
        if looks % LOOKS == 0 {
            // Progress is nobody's input; if it cannot be written, nothing is lost.
            let _ = writeln!(
                std::io::stderr(),
                "{}: {} of {} blobs, {} bytes read, {} keys of the store",
                seen.phase,
                seen.blobs,
                seen.blobs_all,
                seen.bytes,
                seen.keys
            );
        }
    }
    Ok(seen)
}

/// Bytes, as `1024`, `50MiB` or `2GiB`.
pub(crate) fn size(text: &str) -> anyhow::Result<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => anyhow::bail!("write a size like 50MiB"),
    };
    let number: u64 = number.parse().context("write a size like 50MiB")?;
    let bytes = number.checked_mul(1 << shift).filter(|bytes| *bytes > 0);
    bytes.context("write a size that is more than nothing, and less than all")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        for (text, bytes) in [("1", 1), ("7B", 7), ("2KiB", 2_048), ("50MiB", 50 << 20), ("3GiB", 3 << 30)] {
            assert_eq!(size(text).unwrap(), bytes, "{text}");
        }
        for text in ["", "0", "0MiB", "MiB", "1.5MiB", "-1", "5MB", "99999999999GiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
