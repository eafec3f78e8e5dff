//! Latencies in constant memory, exact to better than one percent.

use std::time::Duration;

/// Sub-buckets per power of two: 128, thus a relative error below 1/128.
const FINE_BITS: u32 = 7;
const FINE: usize = 1 << FINE_BITS;
const BUCKETS: usize = (64 - FINE_BITS as usize + 1) * FINE;

/// Counts of durations by size, in log-linear buckets of nanoseconds.
#[derive(Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    count: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], count: 0, max: 0 }
    }
}

impl Histogram {
    /// Adds one duration.
    pub fn record(&mut self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanos)] += 1;
        self.count += 1;
        self.max = self.max.max(nanos);
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.count += other.count;
        self.max = self.max.max(other.max);
    }

    /// How many durations were recorded.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The smallest duration that at least `share` (0 to 1) of all do not exceed; zero if there are none.
    pub fn quantile(&self, share: f64) -> Duration {
        let rank = ((share * self.count as f64).ceil() as u64).clamp(1, self.count.max(1));
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_nanos(upper_bound(index).min(self.max));
            }
        }
        Duration::ZERO
    }

    /// The longest duration, exact.
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.max)
    }
}

fn bucket(nanos: u64) -> usize {
    if nanos < FINE as u64 {
        return nanos as usize;
    }
    let shift = nanos.ilog2() - FINE_BITS;
    (shift as usize + 1) * FINE + ((nanos >> shift) as usize - FINE)
}

fn upper_bound(index: usize) -> u64 {
    if index < FINE {
        return index as u64;
    }
    let shift = (index / FINE - 1) as u32;
    let low = ((index % FINE + FINE) as u64) << shift;
    low + ((1_u64 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket_within_one_percent() {
        for nanos in
            (0..64).flat_map(|bit| [1_u64 << bit, (1 << bit) + 1, (1_u64 << bit).wrapping_mul(3) / 2, u64::MAX])
        {
            let upper = upper_bound(bucket(nanos));
            assert!(upper >= nanos && upper - nanos <= nanos / 100, "{nanos} {upper}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_of_a_known_series() {
        let mut low = Histogram::default();
        let mut high = Histogram::default();
        for micros in 1..=1000 {
            let half = if micros <= 500 { &mut low } else { &mut high };
            half.record(Duration::from_micros(micros));
        }
        low.merge(&high);
        assert_eq!(low.count(), 1000);
        for (share, micros) in [(0.5, 500.0), (0.9, 900.0), (0.99, 990.0), (1.0, 1000.0)] {
            let got = low.quantile(share).as_secs_f64() * 1e6;
            assert!((got - micros).abs() <= micros / 100.0, "{share}: {got}");
        }
        assert_eq!(low.max(), Duration::from_millis(1));
    }

    #[test]
    fn without_values_everything_is_zero() {
        assert_eq!(Histogram::default().quantile(0.99), Duration::ZERO);
    }
}
