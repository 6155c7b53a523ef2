//! Publish with acknowledgement, then pull, acknowledge and be done: the nearest that JetStream has to
//! enqueue, then lease and complete.

use crate::Args;
use crate::servers::{Cluster, NODES};
use anyhow::{Context as _, Result, bail};
use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::{Config, RetentionPolicy, StorageType};
use async_nats::jetstream::{self, Context};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use quorate_cli::measure::{Accounting, Latency, Load, Phase, Report, Usage};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const STREAM: &str = "BENCH";
const SUBJECT: &str = "bench.jobs";
/// For the cluster to elect its leaders.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// For the whole of one phase.
const PHASE_TIMEOUT: Duration = Duration::from_secs(300);
/// Between two looks at whether the last acknowledgements were taken in.
const SETTLE_POLL: Duration = Duration::from_millis(5);

/// Runs all phases on a fresh cluster: twice, without and with an answer to the acknowledgement of a
/// message. Without one JetStream is told that the job is done and does not say that it knows.
pub(crate) async fn run(cluster: &Cluster, args: &Args) -> Result<Vec<Report>> {
    let mut connections = Vec::new();
    for connection in 0..args.connections {
        connections.push(connect(cluster, connection).await?);
    }
    create_stream(&connections[0], cluster).await?;
    let one_in_flight = publish(&connections[..1], args.singles, 1, args.payload)
        .await?
        .latency;
    drain(&connections[..1], "warm", args.singles, args, false).await?;

    let mut reports = Vec::new();
    for (name, confirm) in [("told", false), ("confirmed", true)] {
        let before = cluster.reports();
        let driver = Usage::own().cpu_seconds;
        let enqueue = publish(&connections, args.jobs, args.inflight, args.payload).await?;
        let (cycle, accounting) = drain(&connections, name, args.jobs, args, confirm).await?;
        let mut servers = cluster.reports();
        for (server, before) in servers.iter_mut().zip(before) {
            server.cpu_seconds -= before.cpu_seconds;
        }
        reports.push(Report {
            system: "nats".to_owned(),
            transport: if confirm { "confirmed acks" } else { "acks" }.to_owned(),
            nodes: u32::try_from(NODES)?,
            load: Load {
                connections: args.connections,
                inflight: args.inflight,
                payload_bytes: args.payload,
                backlog: 0,
            },
            enqueue,
            cycle,
            one_in_flight,
            servers,
            driver_cpu_seconds: Usage::own().cpu_seconds - driver,
            accounting,
            outage: None,
        });
    }
    Ok(reports)
}

async fn connect(cluster: &Cluster, connection: u32) -> Result<Context> {
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        match async_nats::connect(cluster.url(connection)).await {
            Ok(client) => return Ok(jetstream::new(client)),
            Err(error) if Instant::now() > deadline => {
                bail!("no connection to nats-server: {error}\n{}", cluster.logs())
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn create_stream(context: &Context, cluster: &Cluster) -> Result<()> {
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        let config = Config {
            name: STREAM.to_owned(),
            subjects: vec![SUBJECT.to_owned()],
            retention: RetentionPolicy::WorkQueue,
            storage: StorageType::File,
            num_replicas: NODES,
            ..Config::default()
        };
        match context.create_stream(config).await {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > deadline => {
                bail!("no stream of three replicas: {error}\n{}", cluster.logs())
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Publishes `jobs` messages, numbered in their first bytes, `inflight` at a time on each connection.
async fn publish(connections: &[Context], jobs: u64, inflight: u32, payload: u32) -> Result<Phase> {
    let latency = RefCell::new(Latency::default());
    let next = RefCell::new(0..jobs);
    let begun = Instant::now();
    let tasks = connections.iter().map(|context| {
        let (latency, next) = (&latency, &next);
        futures::stream::iter(std::iter::from_fn(move || next.borrow_mut().next()))
            .map(Ok::<_, anyhow::Error>)
            .try_for_each_concurrent(inflight as usize, move |number| async move {
                let sent = Instant::now();
                let ack = context.publish(SUBJECT, body(number, payload)).await?;
                ack.await?;
                latency.borrow_mut().record(sent.elapsed());
                Ok(())
            })
    });
    tokio::time::timeout(PHASE_TIMEOUT, futures::future::try_join_all(tasks))
        .await
        .context("publishing took too long")??;
    let seconds = begun.elapsed().as_secs_f64();
    Ok(Phase::new(jobs, seconds, latency.borrow().summary()))
}

/// Pulls and acknowledges `jobs` messages.
async fn drain(
    connections: &[Context],
    name: &str,
    jobs: u64,
    args: &Args,
    confirm: bool,
) -> Result<(Phase, Accounting)> {
    let config = || pull::Config {
        durable_name: Some(name.to_owned()),
        ack_policy: AckPolicy::Explicit,
        max_ack_pending: i64::from(args.connections * args.inflight),
        num_replicas: NODES,
        ..pull::Config::default()
    };
    let mut consumers: Vec<PullConsumer> = Vec::new();
    for context in connections {
        consumers.push(context.create_consumer_on_stream(config(), STREAM).await?);
    }
    let latency = RefCell::new(Latency::default());
    let seen = RefCell::new(BTreeMap::<u64, u64>::new());
    let begun = Instant::now();
    let tasks = consumers.iter().map(|consumer| {
        pull_all(
            consumer,
            jobs,
            (args.inflight as usize, confirm),
            &latency,
            &seen,
        )
    });
    tokio::time::timeout(PHASE_TIMEOUT, async {
        futures::future::try_join_all(tasks).await?;
        settled(&consumers[0]).await
    })
    .await
    .context("consuming took too long")??;
    let seconds = begun.elapsed().as_secs_f64();
    connections[0]
        .delete_consumer_from_stream(name, STREAM)
        .await?;

    let seen = seen.borrow();
    let completed = seen.len() as u64;
    let accounting = Accounting {
        acknowledged: jobs,
        completed,
        lost: jobs.saturating_sub(completed),
        doubled: 0,
        redelivered: seen.values().filter(|&&times| times > 1).count() as u64,
        unknown: 0,
    };
    Ok((
        Phase::new(jobs, seconds, latency.borrow().summary()),
        accounting,
    ))
}

/// Pulls on one connection until all connections together have seen every message.
async fn pull_all(
    consumer: &PullConsumer,
    jobs: u64,
    (inflight, confirm): (usize, bool),
    latency: &RefCell<Latency>,
    seen: &RefCell<BTreeMap<u64, u64>>,
) -> Result<()> {
    let complete = || seen.borrow().len() as u64 == jobs;
    let messages = consumer
        .stream()
        .max_messages_per_batch(inflight)
        .messages()
        .await?;
    // A look from time to time, because the last message may come on another connection.
    let messages = messages.map_err(anyhow::Error::from);
    let work = messages.try_for_each_concurrent(inflight, |message| async move {
        let taken = Instant::now();
        if confirm {
            message
                .double_ack()
                .await
                .map_err(anyhow::Error::from_boxed)?;
        } else {
            message.ack().await.map_err(anyhow::Error::from_boxed)?;
        }
        latency.borrow_mut().record(taken.elapsed());
        *seen
            .borrow_mut()
            .entry(number(&message.payload))
            .or_insert(0) += 1;
        Ok(())
    });
    let done = async {
        while !complete() {
            tokio::time::sleep(SETTLE_POLL).await;
        }
    };
    tokio::select! {
        result = work => result,
        () = done => Ok(()),
    }
}

/// Waits until the server has taken in every acknowledgement.
async fn settled(consumer: &PullConsumer) -> Result<()> {
    loop {
        let info = consumer.get_info().await?;
        if info.num_ack_pending == 0 && info.num_pending == 0 {
            return Ok(());
        }
        tokio::time::sleep(SETTLE_POLL).await;
    }
}

/// A payload of this length that begins with its number, as far as there is room.
fn body(number: u64, length: u32) -> Bytes {
    let mut bytes = vec![b'x'; length as usize];
    let head = number.to_be_bytes();
    let room = bytes.len().min(head.len());
    bytes[..room].copy_from_slice(&head[head.len() - room..]);
    Bytes::from(bytes)
}

fn number(body: &[u8]) -> u64 {
    body.iter()
        .take(8)
        .fold(0, |number, &byte| number << 8 | u64::from(byte))
}
