//! The demonstration: a film, transcoded over three queue nodes and three workers, while a worker and
//! the queue's leader are killed.
//!
//! Everything runs on this machine in processes of its own and lies under one directory. It succeeds
//! only if the film passes every check, the queue's own record shows that nothing was lost or done
//! twice, and the killed worker's job shows a second attempt.

pub mod account;
pub mod cluster;
pub mod crashes;
pub mod family;
pub mod http;
pub mod ports;
pub mod process;
pub mod pulse;

use crate::ffmpeg::{Tools, tether};
use crate::film::plan::Plan;
use crate::film::settings::Settings;
use crate::film::test_film;
use crate::film::verify::{self, Check};
use crate::job::batch::Submitted;
use crate::job::prepared::{Prepared, Stage, blocking};
use crate::job::remote::Remote;
use crate::job::{baseline, batch, history, prepared, watch};
use crate::report::{self, Times};
use crate::say::Teller;
use anyhow::{Context as _, anyhow, bail};
use cluster::{Cluster, Site};
use crashes::{Crashes, Film};
use pulse::Pulse;
use quorate_core::types::Name;
use quorate_work_queue::agent::Blobs;
use quorate_work_queue::machine::{Command, Settings as QueueSettings};
use rustix::fs::{FlockOperation, flock};
use std::cell::RefCell;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The queue that the workers serve.
const QUEUE: &str = "transcode";
/// How soon a silent worker's job goes to another one. Long enough that a machine with a slow disk, on which the
/// queue changes its leader more often than once, takes no job from a worker that lives.
const LEASE_MS: u64 = 10_000;
/// A worker whose ffmpeg makes no progress for so long is given up.
const STALL_MS: u64 = 120_000;
/// Nothing done for so long ends the demonstration.
const PATIENCE: Duration = Duration::from_secs(300);

/// What to demonstrate.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The film; a test film is made without one
    pub film: Option<PathBuf>,
    /// Where everything lies: logs, data of the nodes, the film
    #[arg(long, default_value = "target/demo")]
    pub dir: PathBuf,
    /// The quorate binary; by default the one beside this one
    #[arg(long)]
    pub quorate: Option<PathBuf>,
    /// Overwrites the file of this chunk with rubbish, to see what becomes of it
    #[arg(long, value_name = "CHUNK")]
    pub spoil: Option<usize>,
    /// Seconds after which the demonstration gives up; by default 10 minutes and 100 times the film
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<u64>,
    /// How to encode
    #[command(flatten)]
    pub settings: Settings,
}

/// Whether everything was as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was.
    Passed,
    /// It was not; what, was said.
    Failed,
}

/// Runs the demonstration. Its processes end with the returned future, also when it is dropped.
pub async fn run(tools: &Tools, options: &Options) -> anyhow::Result<Verdict> {
    std::fs::create_dir_all(&options.dir)
        .with_context(|| format!("cannot create {}", options.dir.display()))?;
    let dir = options.dir.canonicalize()?;
    let _lock = lock(&dir)?;
    let transcode = tether::this_binary()?;
    let site = Site {
        quorate: find_quorate(options, &transcode)?,
        transcode,
        dir,
        queue: QUEUE.to_owned(),
    };
    site.clear()?;
    let limit = options.timeout.map(Duration::from_secs);
    let show = demonstrate(tools, options, &site, limit);
    show.await.map_err(|error| {
        anyhow!(
            "{error:#}\nThe demonstration failed. The logs of its processes are in {}",
            site.logs().display()
        )
    })
}

async fn demonstrate(
    tools: &Tools,
    options: &Options,
    site: &Site,
    limit: Option<Duration>,
) -> anyhow::Result<Verdict> {
    let mut teller = Teller::new();
    teller.step("The film");
    let source = source(tools, options, site, &teller).await?;
    let limit = match limit {
        Some(limit) => limit,
        None => default_limit(tools, &source).await?,
    };
    let rest = transcode(tools, options, site, &source, teller);
    tokio::time::timeout(limit, rest).await.unwrap_or_else(|_| {
        bail!(
            "not done after {} s; give it more time with --timeout",
            limit.as_secs()
        )
    })
}

async fn default_limit(tools: &Tools, source: &Path) -> anyhow::Result<Duration> {
    let (tools, source) = (tools.clone(), source.to_owned());
    let seconds = blocking(move || crate::ffmpeg::probe::duration_s(&tools, &source)).await?;
    Ok(Duration::from_secs(600) + Duration::from_secs_f64(seconds * 100.0))
}

async fn transcode(
    tools: &Tools,
    options: &Options,
    site: &Site,
    source: &Path,
    mut teller: Teller,
) -> anyhow::Result<Verdict> {
    let output = site.dir.join("film.mp4");
    let queue = Name::new(QUEUE)?;

    teller.step("Three queue nodes and three workers");
    let mut cluster = Cluster::start(site).await?;
    let remote = Remote::connect(&cluster.servers().join(","))?;
    configure(&remote, &queue).await?;
    let pulse = Pulse::start(&remote).await?;
    cluster.start_workers()?;
    tell_processes(&mut cluster, &teller).await?;

    teller.step("Cut at key frames, one job a chunk");
    let began = Instant::now();
    let blobs = Blobs::open(&site.blobs())?;
    let key = prepared::key(source, &output, &options.settings, "")?;
    let scratch = site.dir.join("scratch");
    let mut prepared = prepared::prepare(
        tools,
        &blobs,
        source,
        &key,
        &options.settings,
        &scratch,
        |stage| tell_stage(&teller, &stage),
    )
    .await?;
    if let Some(chunk) = options.spoil {
        let uri = prepared::spoil(&blobs, &mut prepared, chunk).await?;
        teller.fact(format_args!("chunk {chunk} is rubbish now: {uri}"));
    }
    let submitted = batch::submit(&remote, &queue, &prepared).await?;
    let prepare_s = began.elapsed().as_secs_f64();
    tell_batch(&teller, &prepared, &submitted);

    teller.step("Transcoding, with crashes");
    let began = Instant::now();
    teller.start_bar(u64::from(submitted.jobs));
    let teller_cell = RefCell::new(teller);
    let film = Film {
        remote: &remote,
        queue: &queue,
        key: &key,
        batch: submitted.id,
    };
    let mut encode_s = 0.0;
    let follow = watch::follow(&remote, &queue, &key, submitted.id, PATIENCE, |standing| {
        if standing.done < standing.jobs {
            encode_s = began.elapsed().as_secs_f64();
        }
        let running = format!("{} running", standing.running);
        teller_cell.borrow().set_bar(standing.done, running);
    });
    let crash = crashes::make(&film, &mut cluster, &pulse, &teller_cell);
    let outcome = tokio::try_join!(follow, crash);
    teller_cell.borrow_mut().end_bar();
    let (join, crashes) = outcome?;
    let mut teller = teller_cell.into_inner();
    let times = Times {
        prepare_s,
        encode_s,
        join_s: began.elapsed().as_secs_f64() - encode_s,
    };
    if !crashes.in_window() {
        teller.fact("(the film is short: the crashes did not all fall between 30 and 70 % of it)");
    }
    cluster.check()?;
    let made = watch::film(&remote, join).await?;
    blobs.fetch(&made, &output).await?;
    let jobs = history::jobs(&remote, &queue, &key, None).await?;
    let view = batch::view(&remote, submitted.id).await?;
    let (_, operations) = pulse.longest_gap();
    drop(pulse);

    teller.step("Is the film whole, and was every job done once?");
    let mut checks = account::audit(&prepared, &view, &jobs, &crashes);
    checks.extend(verify_film(tools, &prepared.plan, source, &output).await?);
    teller.line(report::checks(&checks));

    teller.step("The same film by one ffmpeg, for comparison");
    cluster.stop().await?;
    let baseline = measure(tools, &prepared, source).await?;

    teller.step("Account");
    teller.line(report::jobs(&jobs));
    teller.line("");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    teller.line(report::speed(&times, Some(&baseline), cores));
    tell_end(&teller, &crashes, operations, &checks, &output);
    if !verify::all_passed(&checks) {
        teller.fact(format_args!("the logs: {}", site.logs().display()));
    }
    Ok(match verify::all_passed(&checks) {
        true => Verdict::Passed,
        false => Verdict::Failed,
    })
}

fn tell_end(teller: &Teller, crashes: &Crashes, operations: u64, checks: &[Check], output: &Path) {
    teller.line("");
    teller.fact(format_args!(
        "service was away for {} ms at the most; {operations} small operations were acknowledged",
        crashes.outage.as_millis()
    ));
    match verify::all_passed(checks) {
        true => teller.fact("every check passed: nothing lost, nothing done twice"),
        false => {
            for check in checks.iter().filter(|check| check.passed == Some(false)) {
                teller.fact(format_args!("FAILED {}: {}", check.name, check.seen));
            }
        }
    }
    teller.fact(format_args!("the film: {}", output.display()));
}

async fn source(
    tools: &Tools,
    options: &Options,
    site: &Site,
    teller: &Teller,
) -> anyhow::Result<PathBuf> {
    if let Some(film) = &options.film {
        let film = film
            .canonicalize()
            .with_context(|| format!("cannot find the film {}", film.display()))?;
        teller.fact(film.display());
        return Ok(film);
    }
    let path = site.dir.join("test-film.mp4");
    let (tools, target) = (tools.clone(), path.clone());
    blocking(move || test_film::make(&tools, test_film::SECONDS, &target)).await?;
    teller.fact(format_args!(
        "{}: {} s that flash and beep once a second",
        path.display(),
        test_film::SECONDS
    ));
    Ok(path)
}

async fn configure(remote: &Remote, queue: &Name) -> anyhow::Result<()> {
    let settings = QueueSettings {
        lease_ms: LEASE_MS,
        stall_ms: STALL_MS,
        ..QueueSettings::default()
    };
    let queue = queue.clone();
    remote.tell(Command::Configure { queue, settings }).await?;
    Ok(())
}

async fn tell_processes(cluster: &mut Cluster, teller: &Teller) -> anyhow::Result<()> {
    let leader = cluster.leader().await?.id;
    for (node, server) in cluster.nodes.iter().zip(cluster.servers()) {
        let leads = if node.id == leader { ", leads" } else { "" };
        let (name, pid) = (node.process.name(), node.process.id());
        teller.fact(format_args!("{name}: {server}, process {pid}{leads}"));
    }
    for worker in &cluster.workers {
        let (name, pid) = (worker.name(), worker.id());
        teller.fact(format_args!("{name}: process {pid}"));
    }
    Ok(())
}

/// Says how far the preparing of a film is.
pub fn tell_stage(teller: &Teller, stage: &Stage<'_>) {
    match stage {
        Stage::Found => teller.fact("the same film was cut before; its pieces are still there"),
        Stage::Probing => teller.fact("reading the film once, to count its frames"),
        Stage::Splitting(plan) => {
            let frames = plan.frames;
            let length = plan.length_us as f64 / 1e6;
            let rate = match plan.constant_rate {
                Some(rate) => format!("at {rate} a second"),
                None => "at a variable rate".to_owned(),
            };
            teller.fact(format_args!("{frames} frames {rate}, {length:.1} s"));
        }
        Stage::Storing(plan) => {
            let n = plan.chunks.len();
            teller.fact(format_args!(
                "{n} chunks, none decoded; putting them into the blob store"
            ));
        }
    }
}

/// Says what was submitted.
pub fn tell_batch(teller: &Teller, prepared: &Prepared, submitted: &Submitted) {
    let sound = match prepared.audio {
        Some(_) => "one for the sound",
        None => "no sound",
    };
    let chunks = prepared.chunks.len();
    let id = submitted.id;
    teller.fact(format_args!(
        "batch {id}: {chunks} chunk jobs, {sound}, one join"
    ));
    if let Some(done) = submitted.attached {
        teller.fact(format_args!(
            "it was there already, with {done} of {} jobs done: they are not repeated",
            submitted.jobs
        ));
    }
    if submitted.retried > 0 {
        teller.fact(format_args!(
            "{} dead jobs are tried again",
            submitted.retried
        ));
    }
}

/// Compares the film with its source.
pub async fn verify_film(
    tools: &Tools,
    plan: &Plan,
    source: &Path,
    film: &Path,
) -> anyhow::Result<Vec<Check>> {
    let (tools, plan) = (tools.clone(), plan.clone());
    let (source, film) = (source.to_owned(), film.to_owned());
    blocking(move || verify::verify(&tools, &plan, &source, &film)).await
}

/// Lets one ffmpeg do the film, twice.
pub async fn measure(
    tools: &Tools,
    prepared: &Prepared,
    source: &Path,
) -> anyhow::Result<baseline::Baseline> {
    let (tools, source) = (tools.clone(), source.to_owned());
    let (plan, settings) = (prepared.plan.clone(), prepared.settings.clone());
    blocking(move || baseline::measure(&tools, &plan, &settings, &source)).await
}

fn find_quorate(options: &Options, transcode: &Path) -> anyhow::Result<PathBuf> {
    let quorate = match &options.quorate {
        Some(quorate) => quorate.clone(),
        None => transcode.with_file_name("quorate"),
    };
    match quorate.is_file() {
        true => Ok(std::path::absolute(quorate)?),
        false => bail!(
            "{} is not there; build it with: cargo build --release -p quorate",
            quorate.display()
        ),
    }
}

/// Two demonstrations in one directory would remove each other's files.
fn lock(dir: &Path) -> anyhow::Result<File> {
    let path = dir.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(_) => bail!(
            "another demonstration runs in {}; wait for it, or take another --dir",
            dir.display()
        ),
    }
}
