//! A film as the client of a queue that runs somewhere, with workers that somebody started.

use crate::demo::{Verdict, measure, tell_batch, tell_stage, verify_film};
use crate::ffmpeg::Tools;
use crate::film::settings::Settings;
use crate::film::test_film;
use crate::film::verify;
use crate::job::batch::Submitted;
use crate::job::prepared::blocking;
use crate::job::remote::Remote;
use crate::job::{batch, history, prepared, watch};
use crate::report::{self, Times};
use crate::say::Teller;
use anyhow::Context as _;
use quorate_core::types::Name;
use quorate_work_queue::agent::Blobs;
use quorate_work_queue::machine::JobView;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What to transcode, and where.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The film; a test film is made without one
    pub film: Option<PathBuf>,
    /// The film to write; by default FILM.quorate.mp4 in this directory
    #[arg(long, short)]
    pub output: Option<PathBuf>,
    /// Addresses of the queue's API, separated by commas
    #[arg(long, env = "QUORATE_SERVERS", default_value = "http://127.0.0.1:7072")]
    pub servers: String,
    /// The blob store that the workers use too: file:///absolute/path
    #[arg(long, env = "QUORATE_BLOBS")]
    pub blobs: String,
    /// The queue that the workers serve
    #[arg(long, default_value = "transcode")]
    pub queue: String,
    /// Starts a new batch even if this film was transcoded to this place before
    #[arg(long)]
    pub again: bool,
    /// Does not let one ffmpeg encode the film too, to compare the times
    #[arg(long)]
    pub no_compare: bool,
    /// Seconds without a job done after which to give up
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    pub patience: u64,
    /// How to encode
    #[command(flatten)]
    pub settings: Settings,
}

/// What came of a film.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Whether it passed every check.
    pub verdict: Verdict,
    /// Its batch, as it was found or made.
    pub submitted: Submitted,
    /// What the queue recorded of its jobs.
    pub jobs: Vec<JobView>,
    /// The film.
    pub film: PathBuf,
}

/// Transcodes the film over the queue at the given addresses.
pub async fn run(tools: &Tools, options: &Options) -> anyhow::Result<Verdict> {
    let remote = Remote::connect(&options.servers)?;
    Ok(transcode(tools, options, &remote).await?.verdict)
}

/// Transcodes the film, or attaches to the batch that does.
pub async fn transcode(
    tools: &Tools,
    options: &Options,
    remote: &Remote,
) -> anyhow::Result<Outcome> {
    let mut teller = Teller::new();
    let queue = Name::new(&options.queue)?;
    let blobs = Blobs::open(&options.blobs)?;

    teller.step("The film");
    let source = source(tools, options).await?;
    let output = output(options, &source)?;
    teller.fact(source.display());
    let began = Instant::now();
    let salt = match options.again {
        true => format!("{:016x}", rand::random::<u64>()),
        false => String::new(),
    };
    let key = prepared::key(&source, &output, &options.settings, &salt)?;
    let scratch = tempfile::tempdir().context("cannot make a temporary directory")?;
    let prepared = prepared::prepare(
        tools,
        &blobs,
        &source,
        &key,
        &options.settings,
        scratch.path(),
        |stage| tell_stage(&teller, &stage),
    )
    .await?;
    let submitted = batch::submit(remote, &queue, &prepared).await?;
    let prepare_s = began.elapsed().as_secs_f64();
    tell_batch(&teller, &prepared, &submitted);

    teller.step("Transcoding");
    let began = Instant::now();
    teller.start_bar(u64::from(submitted.jobs));
    let patience = Duration::from_secs(options.patience);
    let mut encode_s = 0.0;
    let follow = watch::follow(remote, &queue, &key, submitted.id, patience, |standing| {
        if standing.done < standing.jobs {
            encode_s = began.elapsed().as_secs_f64();
        }
        teller.set_bar(standing.done, format!("{} running", standing.running));
    });
    let followed = follow.await;
    teller.end_bar();
    let film = watch::film(remote, followed?).await?;
    blobs.fetch(&film, &output).await?;
    let times = Times {
        prepare_s,
        encode_s,
        join_s: began.elapsed().as_secs_f64() - encode_s,
    };

    teller.step("Is the film whole?");
    let checks = verify_film(tools, &prepared.plan, &source, &output).await?;
    teller.line(report::checks(&checks));

    teller.step("Account");
    let jobs = history::jobs(remote, &queue, &key, None).await?;
    teller.line(report::jobs(&jobs));
    teller.line("");
    if submitted.attached.is_none() {
        let baseline = match options.no_compare {
            true => None,
            false => Some(measure(tools, &prepared, &source).await?),
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        teller.line(report::speed(&times, baseline.as_ref(), cores));
    }
    teller.fact(format_args!("the film: {}", output.display()));
    let verdict = match verify::all_passed(&checks) {
        true => Verdict::Passed,
        false => Verdict::Failed,
    };
    Ok(Outcome {
        verdict,
        submitted,
        jobs,
        film: output,
    })
}

async fn source(tools: &Tools, options: &Options) -> anyhow::Result<PathBuf> {
    if let Some(film) = &options.film {
        return film
            .canonicalize()
            .with_context(|| format!("cannot find the film {}", film.display()));
    }
    let path = std::path::absolute("quorate-test-film.mp4")?;
    // A film that is there is taken as it is: made anew, it might differ and be another job.
    if !path.exists() {
        let (tools, target) = (tools.clone(), path.clone());
        blocking(move || test_film::make(&tools, test_film::SECONDS, &target)).await?;
    }
    Ok(path)
}

fn output(options: &Options, source: &Path) -> anyhow::Result<PathBuf> {
    let output = match &options.output {
        Some(output) => output.clone(),
        None => {
            let stem = source.file_stem().unwrap_or_default().to_string_lossy();
            PathBuf::from(format!("{stem}.quorate.mp4"))
        }
    };
    std::path::absolute(&output).with_context(|| output.display().to_string())
}
