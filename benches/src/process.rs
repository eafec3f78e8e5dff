//! CPU time and memory of other processes, out of `/proc` (Linux).

use anyhow::{Context, Result};
use std::{fs, time::Duration};

/// `/proc` counts CPU time in ticks of 10 ms (USER_HZ) on every Linux architecture we build for.
const TICK: Duration = Duration::from_millis(10);

/// User and system time of all threads of `pid`, past ones included, in steps of 10 ms.
pub fn cpu_time(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    parse_stat(&stat).with_context(|| format!("cannot understand {path}"))
}

/// The largest resident set of `pid` in bytes since [`reset_peak`], or since its start.
pub fn peak_rss(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    parse_status(&status).with_context(|| format!("cannot understand {path}"))
}

/// Makes [`peak_rss`] forget the past, where we may; else the peak covers the whole life of the process.
pub fn reset_peak(pid: u32) {
    // Another user's process refuses this; the figure is then an upper bound.
    let _refused = fs::write(format!("/proc/{pid}/clear_refs"), "5");
}

fn parse_stat(stat: &str) -> Option<Duration> {
    // The command name, in parentheses, may hold anything; utime and stime are fields 14 and 15, and state is field 3.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_ascii_whitespace().skip(11);
    let ticks = times.next()?.parse::<u32>().ok()?.checked_add(times.next()?.parse().ok()?)?;
    Some(TICK * ticks)
}

fn parse_status(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_past_an_odd_command_name() {
        let stat = "42 (a b) c) S 1 42 42 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 9 0 100 0 0";
        assert_eq!(parse_stat(stat), Some(Duration::from_secs(2)));
        assert_eq!(parse_stat("42"), None);
    }

    #[test]
    fn the_peak_is_in_bytes() {
        assert_eq!(parse_status("Name:\tx\nVmHWM:\t    12 kB\n"), Some(12 * 1024));
        assert_eq!(parse_status("Name:\tx\n"), None);
    }

    #[test]
    fn this_process_has_figures() {
        let pid = std::process::id();
        assert!(cpu_time(pid).is_ok());
        assert!(peak_rss(pid).expect("readable") > 0);
    }
}
