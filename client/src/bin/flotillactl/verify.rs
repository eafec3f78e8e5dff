//! `flotillactl verify`: the node does the work; this waits for its end.

use crate::{Node, output};
use flotilla_client::admin;
use std::{io::Write, process::ExitCode, time::Duration};

/// Between two looks.
const POLL: Duration = Duration::from_millis(200);
/// Looks between two lines of progress.
const LOOKS: u32 = 50;

/// 0 if nothing differs, 1 if something does, or the verification did not come to its end.
pub(crate) async fn run(node: &Node, hash: bool) -> anyhow::Result<ExitCode> {
    let socket = node.socket();
    let mut seen = admin::start_verification(&socket, hash).await?;
    let mut looks = 0;
    while seen.running {
        tokio::time::sleep(POLL).await;
        seen = admin::verification(&socket).await?;
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
    node.show(&seen, output::verification)?;
    Ok(if seen.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
