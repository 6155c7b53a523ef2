//! `transcode item` as a worker agent runs it: files and environment in, files and an exit code out.
//! And `transcode tether`: nothing outlives what started it. Films are skipped without ffmpeg.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use transcode::ffmpeg::Tools;
use transcode::film::encode::Picture;
use transcode::film::plan::Plan;
use transcode::film::settings::Settings;
use transcode::film::{split, test_film, verify};
use transcode::item::{Item, Made};
use transcode::job::prepared::plan_film;

const BINARY: &str = env!("CARGO_BIN_EXE_transcode");

/// A film split into chunks, and the directories of an attempt.
struct Attempt {
    tools: Tools,
    dir: tempfile::TempDir,
    source: PathBuf,
    plan: Plan,
    settings: Settings,
    pieces: split::Pieces,
}

impl Attempt {
    fn new(seconds: u32) -> Option<Self> {
        let tools = Tools::find();
        if let Err(reason) = &tools {
            eprintln!("skipped: {reason}");
        }
        let tools = tools.ok()?;
        let dir = tempfile::tempdir().unwrap();
        for name in ["in", "out"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let source = dir.path().join("source.mp4");
        test_film::make(&tools, seconds, &source).unwrap();
        let settings = Settings {
            preset: "ultrafast".to_owned(),
            ..Settings::default()
        };
        let plan = plan_film(&tools, &source, settings.chunk_seconds).unwrap();
        let pieces = split::split(&tools, &source, &plan, &dir.path().join("in")).unwrap();
        Some(Self {
            tools,
            dir,
            source,
            plan,
            settings,
            pieces,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, item: &[u8]) -> Output {
        fs::write(self.path("item"), item).unwrap();
        Command::new(BINARY)
            .arg("item")
            .env("WORK_ITEM_FILE", self.path("item"))
            .env("WORK_INPUT_DIR", self.path("in"))
            .env("WORK_OUTPUT_DIR", self.path("out"))
            .env("WORK_PROGRESS_FILE", self.path("progress"))
            .env("WORK_MANIFEST_FILE", self.path("manifest"))
            .output()
            .unwrap()
    }

    fn chunk(&self, index: usize) -> Vec<u8> {
        let item = Item::Chunk {
            frames: self.plan.chunks[index].frames,
            input: file_name(&self.pieces.chunks[index]),
            chunk: self.plan.chunks[index].clone(),
            picture: Box::new(Picture::new(&self.plan, &self.settings)),
        };
        serde_json::to_vec(&item).unwrap()
    }

    /// Runs the item and puts what it made aside as a line of the manifest.
    fn part(&self, index: usize, item: &[u8], file: &str) -> String {
        let output = self.run(item);
        assert!(output.status.success(), "{output:?}");
        let made: Made =
            serde_json::from_slice(&fs::read(self.path("out/result.json")).unwrap()).unwrap();
        assert!(made.bytes > 0);
        let part = self.path(&format!("in/{index:06}-{file}"));
        fs::rename(self.path("out").join(file), &part).unwrap();
        format!(
            r#"{{"index":{index},"job_id":"j","state":"completed","attempts":1,"outputs":[{{"uri":"u","sha256":"","size":1,"path":{}}}]}}"#,
            serde_json::to_string(part.to_str().unwrap()).unwrap()
        )
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

/// Chunks, sound and join, each by the command alone, make a film that passes every check; progress is
/// written meanwhile.
#[test]
fn chunks_sound_and_join_make_the_film() {
    let Some(attempt) = Attempt::new(3) else {
        return;
    };
    let chunks = attempt.plan.chunks.len();
    let mut manifest: Vec<String> = (0..chunks)
        .map(|index| attempt.part(index, &attempt.chunk(index), "part.mp4"))
        .collect();
    let progress = fs::read_to_string(attempt.path("progress")).unwrap();
    assert!(progress.contains("progress=end"), "{progress}");
    let audio = Item::Audio {
        frames: attempt.plan.frames,
        input: file_name(attempt.pieces.audio.as_ref().unwrap()),
        origin_us: attempt.plan.origin_us,
        settings: attempt.settings.clone(),
    };
    manifest.push(attempt.part(chunks, &serde_json::to_vec(&audio).unwrap(), "audio.m4a"));
    fs::write(attempt.path("manifest"), manifest.join("\n")).unwrap();
    let plan = serde_json::to_vec(&attempt.plan).unwrap();
    fs::write(attempt.path("in/plan.json"), plan).unwrap();
    let output = attempt.run(br#"{"kind":"join"}"#);
    assert!(output.status.success(), "{output:?}");
    let film = attempt.path("out/film.mp4");
    let checks = verify::verify(&attempt.tools, &attempt.plan, &attempt.source, &film).unwrap();
    assert!(verify::all_passed(&checks), "{checks:#?}");
}

/// What nobody can transcode ends with 65 and the reason in the last line, so that it becomes a dead
/// letter; what this machine lacks ends with 75.
#[test]
fn the_exit_code_says_whether_another_attempt_makes_sense() {
    let Some(attempt) = Attempt::new(2) else {
        return;
    };
    let reason = |output: &Output| {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        said.lines().last().unwrap_or_default().to_owned()
    };
    fs::write(&attempt.pieces.chunks[1], "this is no film").unwrap();
    let output = attempt.run(&attempt.chunk(1));
    assert_eq!(output.status.code(), Some(65), "{output:?}");
    assert!(reason(&output).contains("Invalid data"), "{output:?}");
    let output = attempt.run(b"no json");
    assert_eq!(output.status.code(), Some(65), "{output:?}");
    assert!(
        reason(&output).contains("not a job of `transcode`"),
        "{output:?}"
    );
    let output = Command::new(BINARY)
        .arg("item")
        .env_remove("WORK_ITEM_FILE")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(75), "{output:?}");
    assert!(reason(&output).contains("WORK_ITEM_FILE"), "{output:?}");
    let output = Command::new(BINARY)
        .arg("item")
        .env("PATH", "")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(75), "{output:?}");
    assert!(
        reason(&output).contains("apt-get install ffmpeg"),
        "{output:?}"
    );
}

/// A tethered program dies when the process that asked for it is killed with SIGKILL.
#[test]
fn a_tethered_program_dies_with_its_starter() {
    let script = format!("'{BINARY}' tether $$ -- sleep 600 & echo $!; wait");
    let mut starter = Command::new("sh")
        .args(["-c", &script])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(starter.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let program = PathBuf::from("/proc").join(line.trim()).join("cmdline");
    let is_sleeping = || fs::read(&program).is_ok_and(|text| text.starts_with(b"sleep"));
    wait_until("the program runs", is_sleeping);
    starter.kill().unwrap();
    starter.wait().unwrap();
    wait_until("the program is gone", || !is_sleeping());
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < end, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
