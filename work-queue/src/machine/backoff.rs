//! How long a job waits after an attempt that came to nothing.
//!
//! Exponential, with ±10 % of jitter so that jobs that failed together do not come back together. The
//! jitter is drawn from the job and the attempt, because every replica must draw the same.

use super::types::{JobId, Settings};

/// The finaliser of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators",
/// 2014): every bit of the input changes half of the output's.
pub(super) fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Milliseconds to wait after the `nth` failure (from 1) of this job.
pub(super) fn delay_ms(settings: &Settings, job: JobId, nth: u32) -> u64 {
    let doublings = nth.saturating_sub(1).min(63);
    let exact = settings
        .backoff_initial_ms
        .saturating_mul(1_u64 << doublings)
        .min(settings.backoff_max_ms);
    let permille = 900 + mix(job.0 ^ u64::from(nth) << 48) % 201;
    exact.saturating_mul(permille) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_longest_delay_within_ten_percent() {
        let settings = Settings {
            backoff_initial_ms: 1_000,
            backoff_max_ms: 60_000,
            ..Settings::default()
        };
        for job in 1..200 {
            for nth in 1..80 {
                let exact = (1_000_u64 << (nth - 1).min(20)).min(60_000);
                let delay = delay_ms(&settings, JobId(job), nth);
                assert!(
                    (exact * 9 / 10..=exact * 11 / 10).contains(&delay),
                    "{nth}: {delay}"
                );
            }
        }
        let drawn: std::collections::BTreeSet<_> = (1..200)
            .map(|job| delay_ms(&settings, JobId(job), 1))
            .collect();
        assert!(
            drawn.len() > 100,
            "jobs that failed together come back apart"
        );
    }
}
