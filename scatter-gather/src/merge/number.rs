//! Adding numbers so that the order does not matter.
//!
//! Whole numbers are added in 128 bits. Others are kept as an exact sum of doubles that do not overlap
//! (Shewchuk 1997, "Adaptive precision floating-point arithmetic", as Python's `math.fsum` does it) and
//! rounded once, at the end: `0.1 + 0.2 + 0.3` is the same whatever came first, and whatever was added
//! by an inner node.

use super::Refusal;
use serde_json::Number;
use std::cmp::Ordering;

/// A number as a leaf wrote it. Read by the standard library, which rounds correctly, where the reader
/// of JSON may be off by the last bit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Num {
    /// Written without a fraction or an exponent.
    Whole(i128),
    /// Any other.
    Real(f64),
}

impl Num {
    /// Reads the text of a JSON value. `None` if it is no number, or one out of range.
    pub(super) fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        // Rust reads more than JSON allows: inf, nan, a leading plus.
        if !text.starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
            return None;
        }
        if let Ok(whole) = text.parse() {
            return Some(Self::Whole(whole));
        }
        let real: f64 = text.parse().ok()?;
        real.is_finite().then_some(Self::Real(real))
    }

    /// The nearest double.
    pub(super) fn real(self) -> f64 {
        #[allow(
            clippy::cast_precision_loss,
            reason = "the nearest is what is asked for"
        )]
        match self {
            Self::Whole(whole) => whole as f64,
            Self::Real(real) => real,
        }
    }

    /// Which is larger. Whole numbers are compared exactly, others as doubles.
    pub(super) fn compare(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Whole(a), Self::Whole(b)) => a.cmp(&b),
            // Minus zero is zero.
            (a, b) => (a.real() + 0.0).total_cmp(&(b.real() + 0.0)),
        }
    }
}

/// An exact sum.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sum {
    whole: i128,
    parts: Vec<f64>,
}

impl Sum {
    /// Adds a number of an answer.
    pub(super) fn add(&mut self, number: Num) -> Result<(), Refusal> {
        match number {
            // 2^63 answers of 2^64 each would be needed to saturate it.
            Num::Whole(whole) => self.whole = self.whole.saturating_add(whole),
            Num::Real(real) => self.add_f64(real),
        }
        self.check()
    }

    /// Adds another sum.
    pub(super) fn merge(&mut self, other: &Self) -> Result<(), Refusal> {
        self.whole = self.whole.saturating_add(other.whole);
        for part in &other.parts {
            self.add_f64(*part);
        }
        self.check()
    }

    /// The whole part and the others.
    pub(super) fn parts(&self) -> (i128, &[f64]) {
        (self.whole, &self.parts)
    }

    /// The sum of these.
    pub(super) fn of(whole: i128, parts: &[f64]) -> Result<Self, Refusal> {
        let mut sum = Self {
            whole,
            parts: Vec::new(),
        };
        for part in parts {
            sum.add_f64(*part);
        }
        sum.check()?;
        Ok(sum)
    }

    fn check(&self) -> Result<(), Refusal> {
        if self.parts.iter().all(|part| part.is_finite()) {
            Ok(())
        } else {
            Err(Refusal::nonsense(
                "with this answer the sum is out of the range of numbers",
            ))
        }
    }

    fn add_f64(&mut self, mut value: f64) {
        let mut kept = 0;
        for i in 0..self.parts.len() {
            let mut part = self.parts[i];
            if value.abs() < part.abs() {
                std::mem::swap(&mut value, &mut part);
            }
            let high = value + part;
            let low = part - (high - value);
            if low != 0.0 {
                self.parts[kept] = low;
                kept += 1;
            }
            value = high;
        }
        self.parts.truncate(kept);
        self.parts.push(value);
    }

    /// The sum, rounded once. Whole if everything added was whole and it fits 64 bits.
    pub(super) fn total(&self) -> Option<Number> {
        if self.parts.is_empty() {
            if let Ok(whole) = i64::try_from(self.whole) {
                return Some(whole.into());
            }
            if let Ok(whole) = u64::try_from(self.whole) {
                return Some(whole.into());
            }
        }
        let mut all = self.clone();
        // In pieces of 32 bits, each of which is a double without rounding.
        let mut left = self.whole.unsigned_abs();
        let mut weight = 1.0;
        while left > 0 {
            let piece = u32::try_from(left & u128::from(u32::MAX)).unwrap_or(0);
            let value = f64::from(piece) * weight;
            if piece > 0 {
                all.add_f64(if self.whole < 0 { -value } else { value });
            }
            left >>= 32;
            weight *= 4_294_967_296.0;
        }
        Number::from_f64(round(&all.parts))
    }

    /// Heap bytes.
    pub(super) fn bytes(&self) -> usize {
        self.parts.capacity() * size_of::<f64>()
    }
}

/// The double nearest to the sum of parts that do not overlap, smallest first.
fn round(parts: &[f64]) -> f64 {
    let mut rest = parts.iter().rev();
    let Some(&top) = rest.next() else { return 0.0 };
    let mut high = top;
    let mut low = 0.0;
    let mut below = None;
    for &part in rest {
        if low != 0.0 {
            below = Some(part);
            break;
        }
        let before = high;
        high = before + part;
        low = part - (high - before);
    }
    // Exactly half way: what lies below decides to which side.
    if let Some(below) = below
        && (low < 0.0) == (below < 0.0)
        && low != 0.0
    {
        let twice = low * 2.0;
        let further = high + twice;
        if twice == further - high {
            return further;
        }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(values: &[f64]) -> f64 {
        let mut sum = Sum::default();
        for value in values {
            sum.add(Num::Real(*value)).unwrap();
        }
        sum.total().unwrap().as_f64().unwrap()
    }

    /// Sums are exact up to one rounding, where adding one by one is not.
    #[test]
    fn sums_are_exact() {
        assert_eq!(total(&[0.1; 10]), 1.0);
        assert_eq!(total(&[1e100, 1.0, -1e100, 1e-3]), 1.001);
        assert_eq!(total(&[1e16, 1.0, 1e-16]), 10_000_000_000_000_002.0);
        let mut whole = Sum::default();
        whole.add(Num::Whole(u64::MAX.into())).unwrap();
        assert_eq!(whole.total().unwrap().as_u64(), Some(u64::MAX));
        whole.add(Num::Whole(u64::MAX.into())).unwrap();
        assert_eq!(
            whole.total().unwrap().as_f64(),
            Some(36_893_488_147_419_103_230.0)
        );
        whole.add(Num::Real(0.5)).unwrap();
        assert!(whole.total().unwrap().is_f64());
        assert!(whole.add(Num::Real(f64::MAX)).is_ok());
        assert!(whole.add(Num::Real(f64::MAX)).is_err());
        for bad in ["", "nan", "inf", "+1", "1e999", "\"1\"", "null", "1 2", "-"] {
            assert_eq!(Num::read(bad), None, "{bad}");
        }
        assert_eq!(
            Num::read("190614143.2318419"),
            Some(Num::Real(190_614_143.231_841_9))
        );
    }

    proptest::proptest! {
        #[test]
        fn any_order_and_any_grouping_gives_the_same(
            values in proptest::collection::vec(-1e300_f64..1e300, 0..40), split in 0..40_usize, seed: u64
        ) {
            let straight = total(&values);
            let mut shuffled = values.clone();
            let mut state = seed | 1;
            for i in (1..shuffled.len()).rev() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                shuffled.swap(i, (state >> 33) as usize % (i + 1));
            }
            proptest::prop_assert_eq!(straight.to_bits(), total(&shuffled).to_bits());
            let (left, right) = values.split_at(split.min(values.len()));
            let mut sums = [left, right].map(|part| {
                let mut sum = Sum::default();
                for value in part {
                    sum.add(Num::Real(*value)).unwrap();
                }
                sum
            });
            let right = sums[1].clone();
            sums[0].merge(&right).unwrap();
            proptest::prop_assert_eq!(straight.to_bits(), sums[0].total().unwrap().as_f64().unwrap().to_bits());
        }
    }
}
