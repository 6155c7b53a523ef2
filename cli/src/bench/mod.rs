//! `quorate bench work-queue`: a cluster of its own, a load, and what came of it.
//!
//! The cluster is made of real processes and synced files; only the network is loopback. Everything
//! that was acknowledged is accounted for, whatever else is measured.

mod body;
mod driver;
pub(crate) mod election;
mod http;
mod kills;
mod ledger;
mod nodes;
mod phases;
mod render;
mod stream;

use crate::errors::{Exit, Failure, Outcome};
use crate::measure::{Gaps, Load as LoadReport, Outage, Phase, Report, Usage};
use crate::output::Output;
use driver::Driver;
use ledger::Ledger;
use nodes::Nodes;
use phases::{Load, Until};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Shortest payload, in bytes.
pub(crate) const PAYLOAD_MIN: usize = body::BYTES_MIN;
/// Jobs of one run, at the most: the book of them stays small.
pub(crate) const JOBS_MAX: u64 = 20_000_000;
/// The queue of the load.
const QUEUE: &str = "bench";

/// What to run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// 1, 3 or 5.
    pub(crate) nodes: u32,
    /// By plain HTTP instead of the Rust client.
    pub(crate) http: bool,
    /// Connections.
    pub(crate) connections: u32,
    /// Jobs in flight on each.
    pub(crate) inflight: u32,
    /// Bytes of a payload.
    pub(crate) payload: u32,
    /// How long to enqueue.
    pub(crate) amount: Amount,
    /// Jobs to enqueue before anything is measured.
    pub(crate) backlog: u64,
    /// Enqueues of the measurement with one in flight.
    pub(crate) singles: u64,
    /// Kills of the leader.
    pub(crate) kills: u32,
    /// Jobs a second while leaders are killed; no bound when absent.
    pub(crate) per_second: Option<u32>,
    /// Where the nodes keep their data.
    pub(crate) data_dir: Option<PathBuf>,
}

/// The size of the enqueue phase.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Amount {
    /// So many jobs.
    Jobs(u64),
    /// As many as go in within this time.
    Time(Duration),
}

/// Runs the plan.
pub(crate) async fn run(plan: &Plan, output: Output) -> Outcome<Report> {
    output.note(format!("starting {} node(s)", plan.nodes));
    let mut nodes = Nodes::start("work-queue", plan.nodes, plan.data_dir.as_deref()).await?;
    let driver: Arc<dyn Driver> = if plan.http {
        Arc::new(http::Http::new(
            &nodes.addresses(),
            QUEUE,
            plan.payload as usize,
            (plan.connections, plan.inflight),
            plan.kills > 0,
        ))
    } else {
        Arc::new(stream::Stream::connect(&nodes.addresses(), QUEUE, plan).await?)
    };
    let load = Load {
        driver,
        ledger: Arc::new(Ledger::new(JOBS_MAX)),
        connections: plan.connections,
        inflight: plan.inflight,
        gaps: Arc::new(Gaps::new(Instant::now())),
    };

    output.note("one job in flight");
    let one_in_flight = load.singles(plan.singles).await?.latency;
    if plan.backlog > 0 {
        output.note(format!("a backlog of {} jobs", plan.backlog));
        load.enqueue(Until::Jobs(plan.backlog)).await?;
    }
    let (enqueue, cycle, outage) = measured(plan, &mut nodes, &load, output).await?;
    let report = Report {
        system: "quorate".to_owned(),
        transport: if plan.http { "http" } else { "stream" }.to_owned(),
        nodes: plan.nodes,
        load: LoadReport {
            connections: plan.connections,
            inflight: plan.inflight,
            payload_bytes: plan.payload,
            backlog: plan.backlog,
        },
        enqueue,
        cycle,
        one_in_flight,
        servers: nodes.reports().await,
        driver_cpu_seconds: Usage::own().cpu_seconds,
        accounting: load.ledger.accounting(),
        outage,
    };
    Ok(report)
}

async fn measured(
    plan: &Plan,
    nodes: &mut Nodes,
    load: &Load,
    output: Output,
) -> Outcome<(Phase, Phase, Option<Outage>)> {
    if plan.kills > 0 {
        output.note(format!(
            "killing the leader {} time(s) under load",
            plan.kills
        ));
        let (enqueue, cycle, outage) =
            kills::run(nodes, load, plan.kills, plan.per_second, output).await?;
        return Ok((enqueue, cycle, Some(outage)));
    }
    output.note("enqueueing");
    let enqueue = load
        .enqueue(match plan.amount {
            Amount::Jobs(jobs) => Until::Jobs(jobs),
            Amount::Time(time) => Until::Time(time),
        })
        .await?;
    output.note("leasing and completing");
    let cycle = load.drain(enqueue.jobs).await?;
    Ok((enqueue, cycle, None))
}

/// A run that lost or doubled a job has failed, whatever its figures are.
pub(crate) fn verdict(report: &Report) -> Outcome {
    let accounting = report.accounting;
    if accounting.lost == 0 && accounting.doubled == 0 {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Refused,
        format!(
            "{} acknowledged jobs lost, {} doubled: this is a bug, please report it with the command line",
            accounting.lost, accounting.doubled
        ),
    ))
}
