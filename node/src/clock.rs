//! The one door to the wall clock. Deadlines use `tokio::time::Instant`; decisions of the state machine use replicated
//! monotonic time and never this.

use std::time::{SystemTime, UNIX_EPOCH};

/// Unix milliseconds, for display and for the times in tokens and certificates.
#[expect(clippy::disallowed_methods, reason = "this is the door")]
pub fn wall_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

/// Days from 1970-01-01 to a date of the Gregorian calendar; nothing if there is no such date, or it is before.
pub fn days_to(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=month_days(year, month)).contains(&day) {
        return None;
    }
    // Whole years, then the leap days in them, then months.
    let leap_days = |years: u64| years / 4 - years / 100 + years / 400;
    let years = (year - 1970) * 365 + leap_days(year - 1) - leap_days(1969);
    Some(years + (1..month).map(|month| month_days(year, month)).sum::<u64>() + day - 1)
}

/// Unix milliseconds as RFC 3339 writes them, in UTC.
pub fn rfc3339(ms: u64) -> String {
    let (mut days, in_day) = (ms / 86_400_000, ms % 86_400_000);
    let mut year = 1970 + days / 366;
    while days_to(year + 1, 1, 1).is_some_and(|first| first <= days) {
        year += 1;
    }
    days -= days_to(year, 1, 1).unwrap_or_default();
    let mut month = 1;
    while days >= month_days(year, month) && month < 12 {
        days -= month_days(year, month);
        month += 1;
    }
    let (hour, minute, second) = (in_day / 3_600_000, in_day / 60_000 % 60, in_day / 1000 % 60);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", days + 1, in_day % 1000)
}

fn month_days(year: u64, month: u64) -> u64 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 => 28 + u64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_calendars_have_them() {
        for (ms, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (68_169_600_000, "1972-02-29T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_799_999, "2000-02-29T23:59:59.999Z"),
            (1_735_689_599_007, "2024-12-31T23:59:59.007Z"),
            (1_735_689_600_000, "2025-01-01T00:00:00.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(ms), expected);
        }
        assert_eq!((days_to(2100, 2, 29), days_to(2000, 2, 29), days_to(1969, 1, 1)), (None, Some(11_016), None));
        for day in 0..80_000 {
            let text = rfc3339(day * 86_400_000);
            let number = |from: usize, to: usize| text[from..to].parse().unwrap();
            assert_eq!(days_to(number(0, 4), number(5, 7), number(8, 10)), Some(day), "{text}");
        }
    }
}
