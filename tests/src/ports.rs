//! Loopback ports for servers. Below the range of outgoing connections, so that a restarted server gets its port again.

use std::{
    net::TcpListener,
    sync::atomic::{AtomicU32, Ordering},
};

const FIRST: u32 = 12_000;
const COUNT: u32 = 18_000;
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A port nobody listens on, handed out once per process.
///
/// # Panics
/// When every port of the range is taken.
pub fn free() -> u16 {
    for _ in 0..COUNT {
        // Processes that run at the same time begin at different places.
        let offset = std::process::id().wrapping_mul(97).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(FIRST + offset % COUNT).expect("the range lies below 65536");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free");
}

/// `127.0.0.1:` and a free port.
pub fn address() -> String {
    format!("127.0.0.1:{}", free())
}
