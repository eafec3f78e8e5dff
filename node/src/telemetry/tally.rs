//! Histograms that can be read: one count is shown under two names with different buckets.

use prometheus_client::encoding::{MetricEncoder, NoLabelSet};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts observations between fixed bounds. Observing is two atomic additions.
#[derive(Debug)]
pub struct Tally {
    bounds: &'static [f64],
    /// How many of the unit that the sum is kept in make 1.
    unit: f64,
    /// One for each bound, and the rest.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Tally {
    /// Of times in seconds; `bounds` ascend.
    pub fn of_seconds(bounds: &'static [f64]) -> Self {
        Self::new(bounds, 1e9)
    }

    /// Of sizes in bytes; `bounds` ascend.
    pub fn of_bytes(bounds: &'static [f64]) -> Self {
        Self::new(bounds, 1.0)
    }

    fn new(bounds: &'static [f64], unit: f64) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, unit, counts, sum: AtomicU64::new(0) }
    }

    /// Counts one.
    pub fn observe(&self, value: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket].fetch_add(1, Relaxed);
        // A cast of a float stops at the ends of the integer.
        self.sum.fetch_add((value * self.unit) as u64, Relaxed);
    }

    /// What was observed so far.
    pub fn counts(&self) -> Counts {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        let buckets = bounds.zip(self.counts.iter().map(|count| count.load(Relaxed))).collect();
        Counts { buckets, sum: self.sum.load(Relaxed) as f64 / self.unit }
    }
}

/// The counts of a histogram at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    /// Upper bound of each bucket, the last one infinite, and how many observations it has alone.
    pub buckets: Vec<(f64, u64)>,
    /// Of all observations.
    pub sum: f64,
}

impl Counts {
    /// How many observations.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }

    /// Takes the counts of another histogram with the same bounds in.
    pub fn add(&mut self, other: &Self) {
        if self.buckets.is_empty() {
            self.buckets.clone_from(&other.buckets);
        } else {
            for ((_, mine), (_, more)) in self.buckets.iter_mut().zip(&other.buckets) {
                *mine += more;
            }
        }
        self.sum += other.sum;
    }

    /// The same with fewer buckets: those up to the bounds `kept`, which are bounds of this histogram.
    #[must_use]
    pub fn within(&self, kept: &[f64]) -> Self {
        let mut buckets: Vec<(f64, u64)> =
            kept.iter().copied().chain([f64::INFINITY]).map(|bound| (bound, 0)).collect();
        for (bound, count) in &self.buckets {
            let at = buckets.partition_point(|(kept, _)| kept < bound);
            buckets[at.min(kept.len())].1 += count;
        }
        Self { buckets, sum: self.sum }
    }

    /// Writes the samples.
    pub fn encode(&self, encoder: &mut MetricEncoder<'_>) -> std::fmt::Result {
        encoder.encode_histogram::<NoLabelSet>(self.sum, self.count(), &self.buckets, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observation_is_counted_once_below_its_bound() {
        let tally = Tally::of_seconds(&[0.1, 1.0, 10.0]);
        for value in [0.0, 0.1, 0.5, 1.0, 5.0, 100.0] {
            tally.observe(value);
        }
        let counts = tally.counts();
        assert_eq!(counts.buckets, [(0.1, 2), (1.0, 2), (10.0, 1), (f64::INFINITY, 1)]);
        assert_eq!((counts.count(), counts.sum), (6, 106.6));
    }

    #[test]
    fn fewer_buckets_hold_the_same_observations() {
        let tally = Tally::of_bytes(&[1.0, 2.0, 4.0, 8.0]);
        for value in [1.0, 2.0, 3.0, 4.0, 5.0, 9.0] {
            tally.observe(value);
        }
        let mut counts = tally.counts().within(&[2.0, 8.0]);
        assert_eq!(counts.buckets, [(2.0, 2), (8.0, 3), (f64::INFINITY, 1)]);
        assert_eq!(counts.sum, 24.0);
        counts.add(&counts.clone());
        assert_eq!((counts.count(), counts.sum), (12, 48.0));
        let mut none = Counts::default();
        none.add(&counts);
        assert_eq!(none, counts);
    }
}
