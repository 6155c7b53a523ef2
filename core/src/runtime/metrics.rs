//! Prometheus metrics: one recorder a process, rendered by the ops listener.
//!
//! The rest of the code only knows the `metrics` facade. Histograms have fixed buckets, because
//! quantiles computed in a process cannot be added up over replicas.

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::sync::OnceLock;
use std::time::Duration;

/// Seconds; from a page-cache write to a client that gives up.
const SECONDS_BUCKETS: &[f64] = &[
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0, 30.0,
];

/// How often the recorder folds what was observed into its buckets; without it they grow unbounded
/// when nobody scrapes.
pub const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// The process's metrics.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// Installs the recorder, once a process; every later call gives the same one. Fails when
    /// something else installed another recorder before.
    pub fn install() -> Result<Self, String> {
        static INSTALLED: OnceLock<Result<PrometheusHandle, String>> = OnceLock::new();
        let installed = INSTALLED.get_or_init(|| {
            let recorder = PrometheusBuilder::new()
                .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS_BUCKETS)
                .map_err(|error| error.to_string())?
                .build_recorder();
            let handle = recorder.handle();
            metrics::set_global_recorder(recorder).map_err(|error| error.to_string())?;
            super::process::describe();
            Ok(handle)
        });
        installed.clone().map(|handle| Self { handle })
    }

    /// The text that `/metrics` answers, with the process's figures as of now.
    pub fn render(&self) -> String {
        super::process::observe();
        self.handle.render()
    }

    /// Bounds the recorder's memory; to be called every [`UPKEEP_EVERY`].
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}
