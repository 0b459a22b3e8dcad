//! A histogram with fixed bounds: how many values lie at or below each.

/// Seconds of a job: from a second to a day.
pub const JOB_SECONDS: &[f64] =
    &[1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_200.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0, 86_400.0];
/// Seconds of a commit or of its way to the disk: from a tenth of a millisecond to ten seconds.
pub const COMMIT_SECONDS: &[f64] =
    &[0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// Writes of one commit; the last is the largest batch.
pub const BATCH_WRITES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// See the module.
#[derive(Clone, PartialEq, Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    /// One for each bound, and one for what lies above them all.
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    /// An empty one. The bounds rise.
    pub fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    /// Takes a value in. What is no number is left out: one of them would make the sum useless for ever.
    pub fn observe(&mut self, value: f64) {
        if !value.is_finite() {
            return;
        }
        let place = self.bounds.iter().position(|bound| value <= *bound).unwrap_or(self.bounds.len());
        self.counts[place] += 1;
        self.sum += value;
    }

    /// Each bound with how many values lie at or below it.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        self.bounds.iter().zip(&self.counts).scan(0, |sum, (bound, count)| {
            *sum += count;
            Some((*bound, *sum))
        })
    }

    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Their sum.
    pub fn sum(&self) -> f64 {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_value_is_at_or_below_its_bounds_and_counted_once(
            values in proptest::collection::vec(0.0f64..100_000.0, 0..50),
        ) {
            let mut histogram = Histogram::new(JOB_SECONDS);
            values.iter().for_each(|value| histogram.observe(*value));
            for (bound, count) in histogram.cumulative() {
                prop_assert_eq!(count, values.iter().filter(|value| **value <= bound).count() as u64);
            }
            prop_assert_eq!(histogram.count(), values.len() as u64);
            prop_assert!((histogram.sum() - values.iter().sum::<f64>()).abs() < 1e-6);
        }
    }

    #[test]
    fn a_value_on_a_bound_belongs_to_it_and_what_is_no_number_to_none() {
        let mut histogram = Histogram::new(&[1.0, 2.0]);
        [1.0, 2.0, 2.1, f64::NAN, f64::INFINITY].iter().for_each(|value| histogram.observe(*value));
        assert_eq!(histogram.cumulative().collect::<Vec<_>>(), [(1.0, 1), (2.0, 2)]);
        assert_eq!(histogram.count(), 3);
    }
}
