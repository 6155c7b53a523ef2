//! The distributions of *The Tail at Scale* (Dean and Barroso, CACM 2/2013), and what follows from
//! them by arithmetic.

use super::rng::Rng;
use std::time::Duration;

/// How long a simulated leaf takes, in milliseconds.
#[derive(Clone, Debug)]
pub enum Latency {
    /// P(X > x) at some points, straight lines between them on double logarithmic paper. Falling, and
    /// from 1.
    Survival(Vec<(f64, f64)>),
    /// Lognormal with this mean and sigma; some answers take so many times longer.
    Lognormal {
        /// Mean of the bulk.
        mean_ms: f64,
        /// Of the underlying normal distribution.
        sigma: f64,
        /// Share of stragglers.
        stragglers: f64,
        /// How many times longer those take.
        factor: f64,
    },
}

impl Latency {
    /// Fitted to the paper's example of 1,000 keys on 100 servers: with a hedge at 10 ms its p99.9
    /// falls from 1,800 to 74 ms at 2 % more requests.
    pub fn paper() -> Self {
        Self::Survival(vec![
            (0.5, 1.0),
            (2.0, 0.5),
            (5.0, 0.1),
            (10.0, 0.02),
            (69.0, 1e-3),
            (1_800.0, 1e-6),
            (60_000.0, 1e-9),
        ])
    }

    /// The setting of the benchmark of bhope/hedge: mean 5 ms, 5 % of the answers ten times slower.
    /// It names no sigma; this one gives the percentiles without hedges that it prints.
    pub fn stragglers() -> Self {
        Self::Lognormal {
            mean_ms: 5.0,
            sigma: 0.35,
            stragglers: 0.05,
            factor: 10.0,
        }
    }

    /// One answer's time.
    pub fn draw(&self, rng: &mut Rng) -> Duration {
        Duration::from_secs_f64(self.draw_ms(rng) / 1e3)
    }

    fn draw_ms(&self, rng: &mut Rng) -> f64 {
        match self {
            Self::Survival(points) => at_survival(points, rng.unit()),
            Self::Lognormal {
                mean_ms,
                sigma,
                stragglers,
                factor,
            } => {
                let bulk = (mean_ms.ln() - sigma * sigma / 2.0 + sigma * rng.normal()).exp();
                if rng.chance(*stragglers) {
                    bulk * factor
                } else {
                    bulk
                }
            }
        }
    }

    /// P(X > `ms`).
    pub fn survival(&self, ms: f64) -> f64 {
        match self {
            Self::Survival(points) => survival(points, ms),
            Self::Lognormal {
                mean_ms,
                sigma,
                stragglers,
                factor,
            } => {
                let median = mean_ms.ln() - sigma * sigma / 2.0;
                let bulk = |ms: f64| upper_tail((ms.ln() - median) / sigma);
                (1.0 - stragglers) * bulk(ms) + stragglers * bulk(ms / factor)
            }
        }
    }

    /// The time that this share of answers does not exceed.
    pub fn quantile(&self, q: f64) -> f64 {
        bisect(|ms| 1.0 - self.survival(ms), q)
    }

    /// What all of `shards` together take at this quantile, if each is asked again, of an independent
    /// replica, after each of `hedges_ms` since its start.
    pub fn all_quantile(&self, shards: u32, hedges_ms: &[f64], q: f64) -> f64 {
        let one = |ms: f64| {
            let again = hedges_ms.iter().filter(|at| ms > **at);
            self.survival(ms) * again.map(|at| self.survival(ms - at)).product::<f64>()
        };
        bisect(|ms| (f64::from(shards) * (-one(ms)).ln_1p()).exp(), q)
    }

    /// Hedges for each call, with the first after each of `hedges_ms`.
    pub fn extra(&self, hedges_ms: &[f64]) -> f64 {
        let mut extra = 0.0;
        for (i, at) in hedges_ms.iter().enumerate() {
            let earlier = hedges_ms[..i].iter().map(|e| self.survival(at - e));
            extra += self.survival(*at) * earlier.product::<f64>();
        }
        extra
    }
}

fn survival(points: &[(f64, f64)], ms: f64) -> f64 {
    let Some(next) = points.iter().position(|(x, _)| *x >= ms) else {
        return 0.0;
    };
    if next == 0 {
        return 1.0;
    }
    let ((x0, p0), (x1, p1)) = (points[next - 1], points[next]);
    let part = (ms / x0).ln() / (x1 / x0).ln();
    (p0.ln() + part * (p1 / p0).ln()).exp()
}

fn at_survival(points: &[(f64, f64)], p: f64) -> f64 {
    let Some(next) = points.iter().position(|(_, survive)| *survive <= p) else {
        return points.last().map_or(0.0, |(x, _)| *x);
    };
    if next == 0 {
        return points[0].0;
    }
    let ((x0, p0), (x1, p1)) = (points[next - 1], points[next]);
    let part = (p / p0).ln() / (p1 / p0).ln();
    (x0.ln() + part * (x1 / x0).ln()).exp()
}

/// Where a rising function reaches a value, between a microsecond and a thousand seconds.
fn bisect(rising: impl Fn(f64) -> f64, value: f64) -> f64 {
    let (mut low, mut high) = (1e-3_f64.ln(), 1e6_f64.ln());
    for _ in 0..100 {
        let middle = f64::midpoint(low, high);
        if rising(middle.exp()) < value {
            low = middle;
        } else {
            high = middle;
        }
    }
    high.exp()
}

/// P(Z > z) of the standard normal distribution, by Abramowitz and Stegun 26.2.17 (to 1e-7).
fn upper_tail(z: f64) -> f64 {
    if z < 0.0 {
        return 1.0 - upper_tail(-z);
    }
    let t = 1.0 / (1.0 + 0.231_641_9 * z);
    let series = [
        0.319_381_530,
        -0.356_563_782,
        1.781_477_937,
        -1.821_255_978,
        1.330_274_429,
    ];
    let poly = series.iter().rev().fold(0.0, |sum, c| (sum + c) * t);
    (-z * z / 2.0).exp() / std::f64::consts::TAU.sqrt() * poly
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64, within: f64) {
        assert!((a / b - 1.0).abs() <= within, "{a} should be {b}");
    }

    /// The closed form gives the numbers that the distribution was fitted to.
    #[test]
    fn the_closed_form_gives_the_papers_numbers() {
        let paper = Latency::paper();
        near(paper.all_quantile(1_000, &[], 0.999), 1_800.0, 0.01);
        near(paper.all_quantile(1_000, &[10.0], 0.999), 73.4, 0.01);
        near(paper.all_quantile(1_000, &[10.0], 0.5), 15.8, 0.01);
        near(paper.extra(&[10.0]), 0.02, 0.001);
        near(paper.quantile(0.95), 6.7, 0.01);
    }

    /// Draws follow the survival function, for both kinds.
    #[test]
    fn draws_follow_the_distribution() {
        for latency in [Latency::paper(), Latency::stragglers()] {
            let mut rng = Rng::new(7);
            let mut all: Vec<f64> = (0..200_000).map(|_| latency.draw_ms(&mut rng)).collect();
            all.sort_by(f64::total_cmp);
            for (i, q) in [(100_000, 0.5), (180_000, 0.9), (198_000, 0.99)] {
                near(all[i], latency.quantile(q), 0.03);
            }
        }
    }
}
