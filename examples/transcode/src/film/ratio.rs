//! Exact fractions: time bases and frame rates as containers state them.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A positive fraction, such as the time base 1/90000 or the frame rate 30000/1001.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ratio {
    num: u32,
    den: u32,
}

impl Ratio {
    /// `num/den`, or nothing if either is zero.
    pub const fn new(num: u32, den: u32) -> Option<Self> {
        if num == 0 || den == 0 {
            return None;
        }
        Some(Self { num, den })
    }

    /// The same number upside down: a frame rate's time base.
    #[must_use]
    pub const fn inverse(self) -> Self {
        Self {
            num: self.den,
            den: self.num,
        }
    }

    /// As a number.
    pub fn value(self) -> f64 {
        f64::from(self.num) / f64::from(self.den)
    }

    /// `ticks` of this time base in whole microseconds, rounded to the nearest.
    pub fn micros(self, ticks: i64) -> i64 {
        let scaled = i128::from(ticks) * i128::from(self.num) * 1_000_000;
        let den = i128::from(self.den);
        let rounded = (scaled + den.signum() * den / 2).div_euclid(den);
        i64::try_from(rounded).unwrap_or(if rounded > 0 { i64::MAX } else { i64::MIN })
    }

    /// `ticks` of this time base in seconds.
    pub fn seconds(self, ticks: i64) -> f64 {
        // Films are far shorter than 2^53 ticks.
        ticks as f64 * self.value()
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.num, self.den)
    }
}

impl FromStr for Ratio {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        text.split_once(['/', ':'])
            .and_then(|(num, den)| Self::new(num.parse().ok()?, den.parse().ok()?))
            .ok_or_else(|| format!("{text:?} is not a positive fraction such as 30000/1001"))
    }
}

impl TryFrom<String> for Ratio {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Ratio> for String {
    fn from(ratio: Ratio) -> Self {
        ratio.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn converts_ticks_to_microseconds_rounding_to_the_nearest() {
        let ntsc: Ratio = "1001/24000".parse().unwrap();
        assert_eq!(ntsc.micros(24), 1_001_000);
        assert_eq!(ntsc.micros(1), 41_708);
        assert_eq!(ntsc.micros(-1), -41_708);
        let mpeg: Ratio = "1/90000".parse().unwrap();
        assert_eq!(mpeg.micros(129_600), 1_440_000);
    }

    #[test]
    fn refuses_what_is_not_a_positive_fraction() {
        for bad in ["0/0", "1/0", "0/1", "30", "a/b", ""] {
            assert!(bad.parse::<Ratio>().is_err(), "{bad}");
        }
    }
}
