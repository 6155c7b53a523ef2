//! The policies that the experiments compare, in simulated time and over sockets alike.

use super::report::{Line, Row};
use super::tail::Latency;
use crate::gather::{HedgePolicy, Share};
use std::time::Duration;

/// One policy of an experiment.
#[derive(Clone, Debug)]
pub struct Policy {
    /// As tables have it.
    pub name: String,
    /// When it hedges, if it does.
    pub hedge: Option<HedgePolicy>,
    /// Hedges for each call.
    pub budget: Share,
    /// Hedges saved up.
    pub burst: u32,
    /// When its hedges are sent, for the closed form.
    hedges_ms: Vec<f64>,
    published: Option<Row>,
}

impl Policy {
    /// None, one after 10 ms, and two by quantiles, for the leaves of [`Latency::paper`]. Published are
    /// figures of 1,000 shards.
    pub fn of_the_paper(shards: u32) -> Vec<Self> {
        let latency = Latency::paper();
        let fixed = HedgePolicy::delay(Duration::from_millis(10));
        let at = |ppm| HedgePolicy::quantile(Share::ppm(ppm));
        let (p95, p99) = (latency.quantile(0.95), latency.quantile(0.99));
        let published = |p999, extra| {
            Some(Row {
                p999,
                extra,
                ..Row::default()
            })
            .filter(|_| shards == 1_000)
        };
        let policy = |name: String, hedge, hedges_ms, published| Self {
            name,
            hedge,
            // Above any policy's need, so that the budget does not distort what the policy does.
            budget: Share::ppm(150_000),
            burst: 10_000,
            hedges_ms,
            published,
        };
        vec![
            policy("none".to_owned(), None, vec![], published(1_800.0, 0.0)),
            policy(
                "fixed 10 ms".to_owned(),
                Some(fixed),
                vec![10.0],
                published(74.0, 0.02),
            ),
            policy(
                format!("p95 ({p95:.1} ms)"),
                Some(at(950_000)),
                vec![p95],
                None,
            ),
            policy(
                format!("p99 ({p99:.1} ms)"),
                Some(at(990_000)),
                vec![p99],
                None,
            ),
        ]
    }

    /// None, and up to two hedges within 8 %, for the leaves of [`Latency::stragglers`]. Published are
    /// bhope/hedge's figures.
    pub fn of_stragglers() -> Vec<Self> {
        let threshold = Latency::stragglers().quantile(0.93);
        let adaptive = HedgePolicy {
            hedges_max: 2,
            ..HedgePolicy::quantile(Share::ppm(930_000))
        };
        let policy =
            |name: String, hedge, hedges_ms, [p50, p95, p99, p999, extra]: [f64; 5]| Self {
                name,
                hedge,
                budget: Share::ppm(80_000),
                burst: 10,
                hedges_ms,
                published: Some(Row {
                    p50,
                    p95,
                    p99,
                    p999,
                    extra,
                }),
            };
        vec![
            policy(
                "none".to_owned(),
                None,
                vec![],
                [5.1, 18.8, 65.0, 103.8, 0.0],
            ),
            policy(
                format!("p93 ({threshold:.1} ms), twice"),
                Some(adaptive),
                vec![threshold, 2.0 * threshold],
                [5.0, 12.3, 17.3, 63.5, 0.089],
            ),
        ]
    }

    /// What was measured of it, beside what follows by arithmetic for all of so many shards.
    pub fn line(self, latency: &Latency, shards: u32, measured: Row) -> Line {
        let at = |q| latency.all_quantile(shards, &self.hedges_ms, q);
        Line {
            closed: Some(Row::of(at, latency.extra(&self.hedges_ms))),
            policy: self.name,
            measured,
            published: self.published,
        }
    }
}
