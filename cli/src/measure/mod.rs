//! What every load driver of this repository measures with, so that two systems are measured alike:
//! latencies, gaps, server processes and their CPU time, and the report that is printed.

mod cluster;
mod gaps;
mod latency;
mod process;
mod report;
mod stop;

pub use cluster::{TempDir, free_ports, temp_dir};
pub use gaps::Gaps;
pub use latency::{Latency, Summary};
pub use process::{Server, Usage};
pub use report::{Accounting, Load, NodeReport, Outage, Phase, Report};
pub use stop::told_to_stop;
