//! A report as a table.

use crate::measure::{Phase, Report, Summary};
use crate::output::Render;
use crate::table::Table;

impl Render for Report {
    fn table(&self) -> Table {
        let mut table = Table::new(&["", ">jobs/s", ">jobs", ">p50 ms", ">p99 ms", ">max ms"]);
        for (name, phase) in [
            ("enqueue", &self.enqueue),
            ("lease + complete", &self.cycle),
        ] {
            phase_row(&mut table, name, phase);
        }
        let one = &self.one_in_flight;
        table.row([
            &"enqueue, one in flight",
            &"",
            &one.count,
            &fine(one.p50_ms),
            &fine(one.p99_ms),
            &fine(one.max_ms),
        ]);
        if let Some(outage) = &self.outage {
            let Summary {
                p50_ms,
                p99_ms,
                max_ms,
                count,
            } = outage.gap;
            table.row([
                &"leader killed, gap",
                &"",
                &count,
                &fine(p50_ms),
                &fine(p99_ms),
                &fine(max_ms),
            ]);
        }
        table.then(&servers(self));
        let mut totals = Table::fields();
        let a = self.accounting;
        totals
            .field(
                "load",
                &format!(
                    "{} × {} in flight, {} B, backlog {}, {} over {} nodes",
                    self.load.connections, self.load.inflight, self.load.payload_bytes, self.load.backlog,
                    self.transport, self.nodes
                ),
            )
            .field(
                "accounting",
                &format!(
                    "{} acknowledged, {} completed, {} lost, {} doubled, {} redelivered, {} of unknown outcome",
                    a.acknowledged, a.completed, a.lost, a.doubled, a.redelivered, a.unknown
                ),
            );
        table.then(&totals);
        table
    }
}

fn phase_row(table: &mut Table, name: &str, phase: &Phase) {
    let Summary {
        p50_ms,
        p99_ms,
        max_ms,
        ..
    } = phase.latency;
    table.row([
        &name,
        &format!("{:.0}", phase.per_second),
        &phase.jobs,
        &fine(p50_ms),
        &fine(p99_ms),
        &fine(max_ms),
    ]);
}

fn servers(report: &Report) -> Table {
    let mut table = Table::new(&[
        "process",
        ">CPU s",
        ">RSS MiB",
        ">syncs",
        ">entries",
        ">operations",
        ">ops/entry",
    ]);
    for server in &report.servers {
        table.row([
            &server.name,
            &format!("{:.2}", server.cpu_seconds),
            &(server.rss_bytes >> 20),
            &or_dash(server.syncs),
            &or_dash(server.entries),
            &or_dash(server.operations),
            &ratio(server.operations, server.entries),
        ]);
    }
    table.row([
        &"load",
        &format!("{:.2}", report.driver_cpu_seconds),
        &"",
        &"",
        &"",
        &"",
        &"",
    ]);
    table
}

fn fine(ms: f64) -> String {
    format!("{ms:.2}")
}

fn or_dash(count: Option<u64>) -> String {
    count.map_or_else(|| "-".to_owned(), |count| count.to_string())
}

#[allow(clippy::cast_precision_loss, reason = "printed with one digit")]
fn ratio(over: Option<u64>, under: Option<u64>) -> String {
    match (over, under) {
        (Some(over), Some(under)) if under > 0 => format!("{:.1}", over as f64 / under as f64),
        _ => "-".to_owned(),
    }
}
