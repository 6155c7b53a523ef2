//! Proves the worker agent's contract with commands, with real commands: files in, files out, exit
//! codes, progress, checkpoints, and that no process outlives its lease.
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use bytes::Bytes;
use quorate_work_queue::agent::{Blobs, Config, Display, Helper, StartError, Task, run};
use quorate_work_queue::machine::{BatchId, Blob, ChildView, JobId, Settlement, State};
use quorate_work_queue::worker::Report;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use support::{FakeJob, FakeQueue};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

struct Bench {
    dir: TempDir,
    fake: FakeQueue,
    stop: CancellationToken,
    config: Config,
}

impl Bench {
    /// An agent whose command is this shell script.
    fn new(lease_ms: u64, script: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("command.sh");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let task = Task::Command(vec![path.into_os_string()]);
        Self::with(lease_ms, task, dir)
    }

    fn with(lease_ms: u64, task: Task, dir: TempDir) -> Self {
        let mut config = Config::new("q", task);
        config.work_dir = dir.path().join("work");
        config.blobs = Some(format!("file://{}", dir.path().join("blobs").display()));
        config.display = Display::Off;
        config.drain = Duration::from_millis(500);
        config.grace = Duration::from_millis(500);
        config.helper = Some(Helper {
            program: PathBuf::from(env!("CARGO_BIN_EXE_quorate-exec")),
            args: Vec::new(),
        });
        Self {
            dir,
            fake: FakeQueue::new(lease_ms),
            stop: CancellationToken::new(),
            config,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn start(&self) -> JoinHandle<Result<Report, StartError>> {
        let (queue, config, stop) = (self.fake.queue(), self.config.clone(), self.stop.clone());
        tokio::spawn(async move { run(&queue, config, stop).await })
    }

    async fn finish(&self, agent: JoinHandle<Result<Report, StartError>>) -> Report {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(20), agent)
            .await
            .expect("the agent stops")
            .unwrap()
            .unwrap()
    }

    /// The outcome of one job.
    async fn one(&self, job: FakeJob) -> Settlement {
        let agent = self.start();
        let job = self.fake.push_job(job);
        let settlement = self.fake.outcome(job).await;
        self.fake.lock().ready.clear();
        self.finish(agent).await;
        settlement
    }
}

fn job(payload: &str) -> FakeJob {
    FakeJob {
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        ..FakeJob::default()
    }
}

fn blob(uri: &str) -> Blob {
    Blob {
        uri: Arc::from(uri),
        sha256: Arc::from(""),
        size: 0,
    }
}

async fn file(path: &Path) -> String {
    let read = async {
        loop {
            match std::fs::read_to_string(path) {
                Ok(text) if text.ends_with('\n') => return text.trim().to_owned(),
                _ => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), read)
        .await
        .expect("the command writes the file")
}

fn is_alive(pid: &str) -> bool {
    // A zombie that init has not reaped yet runs no code.
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(") ").next().unwrap_or("Z").starts_with('Z'))
}

async fn gone(pid: &str) {
    for _ in 0..1_000 {
        if !is_alive(pid) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("process {pid} still runs");
}

struct Failure {
    error: String,
    retry: bool,
    exit_code: Option<i32>,
    signal: Option<i32>,
    log_tail: String,
}

fn failure(settlement: Settlement) -> Failure {
    match settlement {
        Settlement::Fail {
            error,
            retry,
            exit_code,
            signal,
            log_tail,
            ..
        } => Failure {
            error: error.to_string(),
            retry,
            exit_code,
            signal,
            log_tail: log_tail.to_string(),
        },
        other => panic!("{other:?} is no failure"),
    }
}

/// Proves the whole contract in one job: every variable, inputs as files, outputs under the prefix of
/// (job, token), result.json as the result, and that nothing is left in the work directory.
#[tokio::test]
async fn a_command_gets_its_files_and_what_it_leaves_is_stored_under_its_token() {
    let bench = Bench::new(
        10_000,
        r#"set -e
        cat "$WORK_ITEM_FILE" "$WORK_INPUT_DIR/in.txt" > "$WORK_OUTPUT_DIR/both.txt"
        printf '{"job":"%s","attempt":%s,"token":%s,"queue":"%s"}' \
            "$WORK_JOB_ID" "$WORK_ATTEMPT" "$WORK_FENCING_TOKEN" "$WORK_QUEUE" > "$WORK_OUTPUT_DIR/result.json"
        test "$PWD" = "$(dirname "$WORK_ITEM_FILE")"
        test -z "${WORK_MANIFEST_FILE:-}"
        test -d "$WORK_CHECKPOINT_DIR""#,
    );
    let blobs = Blobs::open(bench.config.blobs.as_deref().unwrap()).unwrap();
    let input = blobs.put("x/in.txt", Bytes::from("world")).await.unwrap();
    let settlement = bench
        .one(FakeJob {
            inputs: vec![input],
            ..job("hello ")
        })
        .await;
    let Settlement::Complete {
        result,
        result_is_json,
        outputs,
    } = settlement
    else {
        panic!("{settlement:?}");
    };
    let result: serde_json::Value = serde_json::from_slice(&result).unwrap();
    let (id, token) = (result["job"].as_str().unwrap(), &result["token"]);
    assert!(result_is_json && result["attempt"] == 1 && result["queue"] == "q");
    assert!(id.parse::<JobId>().is_ok());
    assert_eq!(outputs.len(), 1);
    assert_eq!(
        *outputs[0].uri,
        blobs.uri(&format!("jobs/{id}/{token}/both.txt"))
    );
    assert_eq!(
        &blobs.get(&outputs[0], 100).await.unwrap()[..],
        b"hello world"
    );
    let left: Vec<_> = std::fs::read_dir(bench.path("work")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Proves what each exit code and a signal mean, and that the last output is reported.
#[tokio::test]
async fn exit_codes_decide_and_the_log_tail_tells_why() {
    let bench = Bench::new(
        10_000,
        "echo to-stdout; echo to-stderr >&2; . \"$WORK_ITEM_FILE\"",
    );
    let agent = bench.start();
    let mut ends = Vec::new();
    for script in [
        "exit 0",
        "exit 75",
        "exit 65",
        "exit 3",
        "kill -9 $$",
        "yes | head -c 9000; exit 1",
    ] {
        let id = bench.fake.push(script);
        ends.push(bench.fake.outcome(id).await);
        bench.fake.lock().ready.clear();
    }
    bench.finish(agent).await;
    assert!(matches!(ends.remove(0), Settlement::Complete { outputs, .. } if outputs.is_empty()));
    let ends: Vec<Failure> = ends.into_iter().map(failure).collect();
    let codes: Vec<_> = ends
        .iter()
        .map(|f| (f.retry, f.exit_code, f.signal))
        .collect();
    assert_eq!(
        codes,
        [
            (true, Some(75), None),
            (false, Some(65), None),
            (true, Some(3), None),
            (true, None, Some(9)),
            (true, Some(1), None),
        ]
    );
    assert!(ends[2].error.contains("code 3"), "{}", ends[2].error);
    assert!(ends[2].log_tail.contains("to-stdout") && ends[2].log_tail.contains("to-stderr"));
    assert_eq!(ends[4].log_tail.len(), 4096);
}

/// Proves that a job whose files cannot be had is retried or dead as makes sense, with the reason, and
/// that the command is not run.
#[tokio::test]
async fn inputs_that_cannot_be_fetched_fail_the_attempt_before_the_command_runs() {
    let bench = Bench::new(10_000, "echo ran > \"$(dirname \"$0\")/ran\"");
    let store = bench.config.blobs.clone().unwrap();
    let agent = bench.start();
    let mut ends = Vec::new();
    for input in [
        blob(&format!("{store}/none")),
        blob("file:///etc/passwd"),
        Blob {
            sha256: Arc::from("0".repeat(64)),
            ..blob(&format!("{store}/there"))
        },
    ] {
        std::fs::create_dir_all(bench.path("blobs")).unwrap();
        std::fs::write(bench.path("blobs/there"), "x").unwrap();
        let id = bench.fake.push_job(FakeJob {
            inputs: vec![input],
            ..FakeJob::default()
        });
        ends.push(failure(bench.fake.outcome(id).await));
        bench.fake.lock().ready.clear();
    }
    bench.finish(agent).await;
    assert!(
        ends[0].retry && ends[0].error.contains("not in the blob store"),
        "{}",
        ends[0].error
    );
    assert!(
        !ends[1].retry && ends[1].error.contains("copy it there"),
        "{}",
        ends[1].error
    );
    assert!(
        ends[2].retry && ends[2].error.contains("SHA-256"),
        "{}",
        ends[2].error
    );
    assert!(!bench.path("ran").exists());
}

/// Proves that the whole group ends when the job is cancelled: the command hears SIGTERM, what ignores
/// it is killed, children included.
#[tokio::test]
async fn a_cancelled_job_loses_its_whole_process_group() {
    let mut bench = Bench::new(
        8_000,
        r#"dir=$(dirname "$0")
        trap 'echo told > "$dir/told"' TERM
        (trap '' TERM; exec sleep 600) &
        echo $! > "$dir/child"
        echo $$ > "$dir/self"
        while :; do sleep 0.05; done"#,
    );
    // Enough for the command to hear of its end before it comes.
    bench.config.grace = Duration::from_millis(1_500);
    let agent = bench.start();
    let id = bench.fake.push("");
    let (own, child) = (
        file(&bench.path("self")).await,
        file(&bench.path("child")).await,
    );
    assert!(is_alive(&own) && is_alive(&child));
    let lease = *bench.fake.lock().leased.keys().next().unwrap();
    bench.fake.lock().cancel.insert(lease);
    assert_eq!(bench.fake.outcome(id).await, Settlement::Release);
    assert!(
        !is_alive(&own) && !is_alive(&child),
        "dead before the job is given back"
    );
    assert_eq!(file(&bench.path("told")).await, "told");
    bench.fake.lock().ready.clear();
    bench.finish(agent).await;
}

/// Proves that the group is dead when the lease's trust ends, though the queue is not reachable.
#[tokio::test]
async fn an_unreachable_queue_ends_the_process_group() {
    let bench = Bench::new(
        3_000,
        r#"trap '' TERM; echo $$ > "$(dirname "$0")/self"; while :; do sleep 0.05; done"#,
    );
    let agent = bench.start();
    bench.fake.push("");
    let own = file(&bench.path("self")).await;
    bench.fake.lock().mute = true;
    gone(&own).await;
    bench.fake.lock().mute = false;
    bench.fake.lock().ready.clear();
    bench.finish(agent).await;
}

/// Proves that what a command leaves running in its group ends with it, and its job completes.
#[tokio::test]
async fn children_left_behind_end_with_their_command() {
    let bench = Bench::new(
        10_000,
        "sleep 600 & echo $! > \"$(dirname \"$0\")/child\"; exit 0",
    );
    let settlement = bench.one(job("")).await;
    assert!(matches!(settlement, Settlement::Complete { .. }));
    gone(&file(&bench.path("child")).await).await;
}

/// Proves that nothing outlives an agent that is killed: the supervisor sees its pipe close.
#[tokio::test]
async fn the_supervisor_kills_the_group_when_the_agent_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let (own, child) = (dir.path().join("self"), dir.path().join("child"));
    let script = format!(
        "trap '' TERM; sleep 600 & echo $! > {}; echo $$ > {}; wait; wait",
        child.display(),
        own.display()
    );
    let mut supervisor = tokio::process::Command::new(env!("CARGO_BIN_EXE_quorate-exec"))
        .args(["--", "/bin/sh", "-c", &script])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let (own, child) = (file(&own).await, file(&child).await);
    // What the kernel does with the pipe of a process that is killed.
    drop(supervisor.stdin.take());
    gone(&own).await;
    gone(&child).await;
    assert!(supervisor.wait().await.unwrap().success());
}

/// Proves the drain: the command hears SIGTERM after the grace, its checkpoint is saved, the job goes
/// back uncharged, and the next attempt finds the checkpoint.
#[tokio::test]
async fn shutdown_saves_the_checkpoint_and_gives_the_job_back() {
    let script = r#"trap 'echo saved > "$WORK_CHECKPOINT_DIR/state"; exit 1' TERM
        if test -f "$WORK_CHECKPOINT_DIR/state"; then
            echo "\"$(cat "$WORK_CHECKPOINT_DIR/state")\"" > "$WORK_OUTPUT_DIR/result.json"; exit 0
        fi
        echo $$ > "$(dirname "$0")/self"
        while :; do sleep 0.05; done"#;
    let mut bench = Bench::new(10_000, script);
    // The command ends by itself, however long that takes it.
    bench.config.grace = Duration::from_secs(10);
    let agent = bench.start();
    let id = bench.fake.push("");
    file(&bench.path("self")).await;
    let report = bench.finish(agent).await;
    assert_eq!((report.released, report.failed, report.lost), (1, 0, 0));
    assert_eq!(bench.fake.lock().settled, [(id, Settlement::Release)]);

    bench.stop = CancellationToken::new();
    let agent = bench.start();
    let result = bench
        .fake
        .until(|state| {
            state
                .settled
                .iter()
                .find_map(|(_, settlement)| match settlement {
                    Settlement::Complete { result, .. } => Some(result.clone()),
                    _ => None,
                })
        })
        .await;
    assert_eq!(&result[..], b"\"saved\"");
    bench.finish(agent).await;
}

/// Proves that a running command's progress reaches the queue, in ffmpeg's form with the total from
/// the payload.
#[tokio::test]
async fn progress_of_a_running_command_arrives() {
    let mut bench = Bench::new(
        10_000,
        r#"printf 'frame=12\nspeed=2x\nprogress=continue\n' > "$WORK_PROGRESS_FILE"
        while ! test -f "$(dirname "$0")/go"; do sleep 0.02; done"#,
    );
    bench.config.progress_total = Some("/video/frames".to_owned());
    let agent = bench.start();
    let id = bench.fake.push(r#"{"video":{"frames":48}}"#);
    let progress = bench
        .fake
        .until(|state| state.progress.first().cloned())
        .await
        .1;
    assert_eq!(
        (progress.done, progress.total, &*progress.unit),
        (12.0, 48.0, "frames")
    );
    std::fs::write(bench.path("go"), "").unwrap();
    bench.fake.outcome(id).await;
    bench.finish(agent).await;
}

/// Proves that a join finds one line for each child by index, and the children's files.
#[tokio::test]
async fn a_join_reads_the_manifest_and_the_files_of_its_children() {
    let bench = Bench::new(
        10_000,
        r#"cp "$WORK_MANIFEST_FILE" "$WORK_OUTPUT_DIR/manifest"
        cat "$WORK_INPUT_DIR"/* > "$WORK_OUTPUT_DIR/film""#,
    );
    let blobs = Blobs::open(bench.config.blobs.as_deref().unwrap()).unwrap();
    let mut children = Vec::new();
    for index in 0..5 {
        let output = blobs
            .put(&format!("c/{index}/part"), Bytes::from(index.to_string()))
            .await;
        children.push(ChildView {
            index,
            job: JobId(u64::from(index) + 1),
            state: State::Completed,
            attempts: 1,
            result: Some(Bytes::from(if index == 3 { "raw" } else { "{\"n\":1}" })),
            result_is_json: index != 3,
            outputs: vec![output.unwrap()],
        });
    }
    bench.fake.lock().children = children;
    let settlement = bench
        .one(FakeJob {
            joins: Some(BatchId(9)),
            ..FakeJob::default()
        })
        .await;
    let Settlement::Complete { outputs, .. } = settlement else {
        panic!("{settlement:?}");
    };
    assert_eq!(&blobs.get(&outputs[0], 100).await.unwrap()[..], b"01234");
    let manifest = blobs.get(&outputs[1], 10_000).await.unwrap();
    let lines: Vec<serde_json::Value> = manifest
        .split(|b| *b == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 5);
    for (index, line) in lines.iter().enumerate() {
        assert_eq!(
            (line["index"].as_u64(), &line["state"]),
            (Some(index as u64), &"completed".into())
        );
        assert_eq!(line["outputs"][0]["size"], 1);
        assert!(Path::new(line["outputs"][0]["path"].as_str().unwrap()).is_absolute());
    }
    assert_eq!(lines[0]["result"]["n"], 1);
    assert_eq!(lines[3]["result_base64"], "cmF3");
    assert_eq!(lines[2]["job_id"], JobId(3).to_string());
}

/// Proves that what is wrong with the configuration is said before anything is leased.
#[tokio::test]
async fn a_bad_configuration_stops_the_start_with_a_reason() {
    let check = async |change: fn(&mut Config), says: &str| {
        let mut bench = Bench::new(10_000, "exit 0");
        change(&mut bench.config);
        bench.fake.push("");
        let error = run(
            &bench.fake.queue(),
            bench.config.clone(),
            bench.stop.clone(),
        )
        .await
        .expect_err("it does not start");
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!(bench.fake.lock().ready.len(), 1);
    };
    check(
        |c| c.task = Task::Command(vec!["no-such-thing".into()]),
        "was not found",
    )
    .await;
    check(|c| c.task = Task::Command(Vec::new()), "after --").await;
    check(
        |c| c.task = Task::Command(vec!["/etc/passwd".into()]),
        "chmod +x",
    )
    .await;
    check(
        |c| c.task = Task::Http("http://example.com/".into()),
        "not on this host",
    )
    .await;
    check(
        |c| c.blobs = Some("s3://bucket".into()),
        "file:///absolute/path",
    )
    .await;
    check(
        |c| c.blobs = Some("file:///proc/nothing".into()),
        "/proc/nothing",
    )
    .await;
    check(|c| c.work_dir = "/proc/nothing".into(), "/proc/nothing").await;
    check(|c| c.queue = "No".into(), "not valid").await;
    check(|c| c.slots = 0, "slots").await;
}

/// An application next to the agent, which answers with the status that the payload names.
async fn application() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/job", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut request = Vec::new();
                let payload = loop {
                    let mut chunk = [0; 1024];
                    let read = stream.read(&mut chunk).await.unwrap();
                    request.extend_from_slice(&chunk[..read]);
                    let text = String::from_utf8_lossy(&request).into_owned();
                    if let Some((head, body)) = text.split_once("\r\n\r\n")
                        && body.len() == 3
                    {
                        assert!(
                            head.to_lowercase().contains("work-fencing-token: "),
                            "{head}"
                        );
                        break body.to_owned();
                    }
                    assert_ne!(read, 0, "{text}");
                };
                let answer = format!(
                    "HTTP/1.1 {payload} X\r\nretry-after: 2\r\ncontent-type: application/json\r\n\
                     content-length: 7\r\nconnection: close\r\n\r\n{{\"a\":1}}"
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
            });
        }
    });
    url
}

/// Proves the endpoint mode: the status decides, the body is the result.
#[tokio::test]
async fn an_endpoint_of_this_host_does_jobs_and_its_status_decides() {
    let url = application().await;
    let bench = Bench::with(10_000, Task::Http(url), tempfile::tempdir().unwrap());
    let agent = bench.start();
    let mut ends = Vec::new();
    for status in ["200", "429", "503", "404", "500"] {
        let id = bench.fake.push(status);
        ends.push(bench.fake.outcome(id).await);
        bench.fake.lock().ready.clear();
    }
    bench.finish(agent).await;
    // Nobody listens there.
    let nowhere = Task::Http("http://127.0.0.1:1/job".to_owned());
    let bench = Bench::with(10_000, nowhere, tempfile::tempdir().unwrap());
    ends.push(bench.one(job("200")).await);
    let seen: Vec<_> = ends
        .iter()
        .map(|end| match end {
            Settlement::Complete { result, .. } => (&result[..] == b"{\"a\":1}", None),
            Settlement::Fail {
                retry, delay_ms, ..
            } => (*retry, *delay_ms),
            Settlement::Release => panic!("given back"),
        })
        .collect();
    assert_eq!(
        seen,
        [
            (true, None),
            (true, Some(2_000)),
            (true, Some(2_000)),
            (false, None),
            (true, None),
            (true, None),
        ]
    );
    assert!(
        failure(ends.remove(5))
            .error
            .contains("is the application running")
    );
}
