//! A film over a queue: a replica in this process, worker agents that run `transcode item`, and the
//! client that a user runs. Skipped without ffmpeg.

#![allow(clippy::unwrap_used, reason = "a test")]

use quorate_core::node::Config as NodeConfig;
use quorate_core::types::Name;
use quorate_work_queue::agent::{self, Blobs, Display, Helper, Task, supervisor};
use quorate_work_queue::node::QueueNode;
use quorate_work_queue::queue::Queue;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use transcode::demo::Verdict;
use transcode::ffmpeg::Tools;
use transcode::film::settings::Settings;
use transcode::film::test_film;
use transcode::job::remote::Remote;
use transcode::job::{history, prepared};
use transcode::run::{self, Options};

const BINARY: &str = env!("CARGO_BIN_EXE_transcode");
const QUEUE: &str = "films";

/// A queue with two workers, and a film of three chunks.
struct Place {
    tools: Tools,
    remote: Remote,
    dir: tempfile::TempDir,
    workers: CancellationToken,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.workers.cancel();
    }
}

impl Place {
    async fn new() -> Option<Self> {
        let tools = Tools::find();
        if let Err(reason) = &tools {
            eprintln!("skipped: {reason}");
        }
        let tools = tools.ok()?;
        let dir = tempfile::tempdir().unwrap();
        test_film::make(&tools, 3, &dir.path().join("film.mp4")).unwrap();
        let node = QueueNode::start(NodeConfig::in_memory()).await.unwrap();
        let queue = Queue::from_service(Arc::new(node));
        let workers = CancellationToken::new();
        for number in 1..=2 {
            tokio::spawn(work(
                queue.clone(),
                dir.path().to_owned(),
                number,
                workers.clone(),
            ));
        }
        Some(Self {
            tools,
            remote: Remote::new(queue.service()),
            dir,
            workers,
        })
    }

    fn options(&self) -> Options {
        Options {
            film: Some(self.dir.path().join("film.mp4")),
            output: Some(self.dir.path().join("out.mp4")),
            servers: String::new(),
            blobs: blobs(self.dir.path()),
            queue: QUEUE.to_owned(),
            again: false,
            no_compare: true,
            patience: 300,
            settings: Settings {
                preset: "ultrafast".to_owned(),
                ..Settings::default()
            },
        }
    }
}

fn blobs(dir: &Path) -> String {
    format!("file://{}", dir.join("blobs").display())
}

async fn work(queue: Queue, dir: std::path::PathBuf, number: u32, stop: CancellationToken) {
    let command = [BINARY, "item"].map(OsString::from).to_vec();
    let mut config = agent::Config::new(QUEUE, Task::Command(command));
    config.worker = format!("worker-{number}");
    config.work_dir = dir.join("work");
    config.blobs = Some(blobs(&dir));
    config.progress_total = Some("/frames".to_owned());
    config.display = Display::Off;
    config.helper = Some(Helper {
        program: BINARY.into(),
        args: vec![supervisor::SUBCOMMAND.into()],
    });
    agent::run(&queue, config, stop).await.unwrap();
}

/// The film comes out whole; started again it attaches to the same batch and repeats no job; asked for
/// again, it is a new batch.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_start_attaches_and_repeats_nothing() {
    let Some(place) = Place::new().await else {
        return;
    };
    let first = run::transcode(&place.tools, &place.options(), &place.remote)
        .await
        .unwrap();
    assert_eq!(first.verdict, Verdict::Passed);
    assert_eq!(first.submitted.attached, None);
    assert_eq!(first.jobs.len(), 5, "three chunks, the sound, the join");
    std::fs::remove_file(&first.film).unwrap();

    let second = run::transcode(&place.tools, &place.options(), &place.remote)
        .await
        .unwrap();
    assert_eq!(second.verdict, Verdict::Passed);
    assert_eq!(second.submitted.id, first.submitted.id);
    assert_eq!(second.submitted.attached, Some(4));
    assert_eq!(second.jobs, first.jobs);
    assert!(second.jobs.iter().all(|job| history::completions(job) == 1));
    assert!(second.film.is_file(), "the film is fetched again");

    let again = Options {
        again: true,
        ..place.options()
    };
    let third = run::transcode(&place.tools, &again, &place.remote)
        .await
        .unwrap();
    assert_ne!(third.submitted.id, first.submitted.id);
}

/// A chunk that ffmpeg cannot read ends the work with ffmpeg's own words, after a single attempt; the
/// same command again tries that chunk again and no other.
#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_nobody_can_read_is_a_dead_letter_with_its_reason() {
    let Some(place) = Place::new().await else {
        return;
    };
    let options = place.options();
    let (film, output) = (
        options.film.clone().unwrap(),
        options.output.clone().unwrap(),
    );
    let store = Blobs::open(&options.blobs).unwrap();
    let key = prepared::key(
        &film.canonicalize().unwrap(),
        &output,
        &options.settings,
        "",
    )
    .unwrap();
    let scratch = place.dir.path().join("scratch");
    let settings = &options.settings;
    let mut ready = prepared::prepare(
        &place.tools,
        &store,
        &film,
        &key,
        settings,
        &scratch,
        |_| {},
    )
    .await
    .unwrap();
    prepared::spoil(&store, &mut ready, 1).await.unwrap();
    let queue = Name::new(QUEUE).unwrap();
    for start in 1..=2 {
        let refused = run::transcode(&place.tools, &options, &place.remote).await;
        let said = format!("{:#}", refused.unwrap_err());
        assert!(
            said.contains("chunk 1") && said.contains("Invalid data"),
            "{start}: {said}"
        );
        let dead = history::dead(&place.remote, &queue, &key).await.unwrap();
        assert_eq!(dead.len(), 1, "{start}: {dead:?}");
        let view = history::job(&place.remote, dead[0].id).await.unwrap();
        assert_eq!(view.attempts.len(), start, "one attempt a start: {view:?}");
        assert_eq!(view.attempts.last().unwrap().exit_code, Some(65));
    }
}
