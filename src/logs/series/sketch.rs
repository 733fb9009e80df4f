//! A mergeable sketch of durations: how many fell into each of 128 buckets, eight to an octave.
//!
//! A quantile read from it is off by at most 1/16 of its value. Two sketches are added bucket by bucket, so p95 of an hour
//! is that of all its requests and no average of averages. The buckets are fixed, so counting takes neither a lock nor
//! memory, which the sketches of libraries do not offer.

/// Buckets of a sketch.
pub const BUCKETS: usize = 128;
/// Below 2^9 µs all is one bucket.
const FIRST_BIT: u32 = 9;
/// Buckets of an octave are 2^3.
const SUB_BITS: u32 = 3;

/// The bucket of a duration in microseconds. Everything beyond 33 s is in the last.
pub fn bucket(us: u64) -> usize {
    if us < 1 << FIRST_BIT {
        return 0;
    }
    let octave = 63 - us.leading_zeros();
    let sub = (us >> (octave - SUB_BITS)) & ((1 << SUB_BITS) - 1);
    let index = u64::from(octave - FIRST_BIT) * (1 << SUB_BITS) + sub;
    usize::try_from(index).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

/// Microseconds at which a bucket ends.
pub fn upper_us(bucket: usize) -> u64 {
    let (octave, sub) = (FIRST_BIT + (bucket as u32 >> SUB_BITS), bucket as u64 & 7);
    (8 + sub + 1) << (octave - SUB_BITS)
}

/// What a bucket stands for: its middle.
fn middle_us(bucket: usize) -> u64 {
    let lower = if bucket == 0 { 0 } else { upper_us(bucket - 1) };
    u64::midpoint(lower, upper_us(bucket))
}

/// Counts of durations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sketch(pub [u32; BUCKETS]);

impl Default for Sketch {
    fn default() -> Self {
        Self([0; BUCKETS])
    }
}

impl Sketch {
    /// Counts one more.
    pub fn add(&mut self, us: u64) {
        let count = &mut self.0[bucket(us)];
        *count = count.saturating_add(1);
    }

    /// Adds all of another.
    pub fn merge(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(count, more)| *count = count.saturating_add(more));
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|count| u64::from(*count)).sum()
    }

    /// The duration that a share (0 to 1) of all does not exceed, in milliseconds; `None` when there is none at all.
    pub fn quantile_ms(&self, share: f64) -> Option<f64> {
        let total = self.count();
        if total == 0 {
            return None;
        }
        let rank = (share * total as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in self.0.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= rank {
                return Some(middle_us(bucket) as f64 / 1000.0);
            }
        }
        None
    }

    /// One byte for each bucket.
    pub fn to_bytes(&self) -> [u8; BUCKETS] {
        self.0.map(pack)
    }

    /// What [`Sketch::to_bytes`] wrote; counts of 16 and more come back rounded to four binary digits.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut sketch = Self::default();
        sketch.0.iter_mut().zip(bytes).for_each(|(count, byte)| *count = unpack(*byte));
        sketch
    }
}

/// A count as a small floating-point number: five bits of exponent, three of mantissa.
fn pack(count: u32) -> u8 {
    if count < 8 {
        return count as u8;
    }
    let mut exponent = 28 - count.leading_zeros();
    let mut digits = (u64::from(count) + ((1u64 << exponent) >> 1)) >> exponent;
    if digits == 16 {
        (exponent, digits) = (exponent + 1, 8);
    }
    ((exponent + 1) << 3) as u8 | (digits - 8) as u8
}

fn unpack(byte: u8) -> u32 {
    let (exponent, digits) = (u32::from(byte >> 3), u64::from(byte & 7));
    let value = if exponent == 0 { digits } else { (8 + digits) << (exponent - 1) };
    u32::try_from(value).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        for us in (0..2_000_000u64).step_by(37).chain([33_000_000, 40_000_000, u64::MAX]) {
            let found = bucket(us);
            assert!(found == BUCKETS - 1 || us < upper_us(found), "{us} is in {found}");
            assert!(found == 0 || us >= upper_us(found - 1), "{us} is in {found}");
        }
    }

    proptest! {
        #[test]
        fn a_quantile_is_near_the_exact_one(mut all in prop::collection::vec(512u64..33_000_000, 1..400), share in 0.01f64..1.0) {
            let mut sketch = Sketch::default();
            all.iter().for_each(|us| sketch.add(*us));
            all.sort_unstable();
            let rank = ((share * all.len() as f64).ceil() as usize).max(1);
            let (exact, found) = (all[rank - 1] as f64 / 1000.0, sketch.quantile_ms(share).unwrap());
            prop_assert!((found - exact).abs() <= exact / 15.9 + 0.3, "{found} for {exact}");
        }

        #[test]
        fn merged_is_as_counted_together(a in prop::collection::vec(0u64..60_000_000, 0..200), b in prop::collection::vec(0u64..60_000_000, 0..200)) {
            let (mut one, mut two, mut both) = (Sketch::default(), Sketch::default(), Sketch::default());
            a.iter().for_each(|us| one.add(*us));
            b.iter().for_each(|us| two.add(*us));
            a.iter().chain(&b).for_each(|us| both.add(*us));
            one.merge(&two);
            prop_assert_eq!(one, both);
        }

        #[test]
        fn a_count_survives_the_byte(count in any::<u32>()) {
            let back = unpack(pack(count));
            prop_assert!((f64::from(back) - f64::from(count)).abs() <= f64::from(count) / 16.0, "{} became {}", count, back);
            prop_assert!(count >= 16 || back == count);
        }
    }
}
