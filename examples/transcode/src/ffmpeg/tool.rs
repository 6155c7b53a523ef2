//! Runs ffmpeg and ffprobe and tells apart what went wrong.
//!
//! The one distinction that matters to a queue is who is to blame. If the input is, no other worker
//! will fare better and the job belongs with the dead letters; if this machine is (disk full, no
//! ffmpeg, killed), another attempt makes sense.

use super::tether;
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;

/// Lines of ffmpeg's own words that are kept for an error message.
const STDERR_LINES_MAX: usize = 12;
/// Bytes of one such line that are kept.
const STDERR_LINE_BYTES_MAX: usize = 300;
/// The oldest release with every option used here (`-fps_mode`).
const OLDEST: (u32, u32) = (5, 1);

/// Why an ffmpeg or ffprobe run did not give what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The input is at fault: no attempt anywhere can succeed.
    #[error("{0}")]
    Unreadable(String),
    /// This machine is at fault: another attempt, here or elsewhere, may succeed.
    #[error("{0}")]
    Machine(String),
}

impl Failure {
    /// The input is at fault.
    pub fn unreadable(reason: impl Into<String>) -> Self {
        Self::Unreadable(reason.into())
    }

    /// This machine is at fault.
    pub fn machine(reason: impl Into<String>) -> Self {
        Self::Machine(reason.into())
    }
}

/// Where the tools are.
#[derive(Clone, Debug)]
pub struct Tools {
    ffmpeg: PathBuf,
    ffprobe: PathBuf,
    tether: Option<PathBuf>,
}

impl Tools {
    /// Finds ffmpeg and ffprobe on the `PATH` and checks that they are new enough.
    pub fn find() -> Result<Self, Failure> {
        let tools = Self {
            ffmpeg: on_path("ffmpeg")?,
            ffprobe: on_path("ffprobe")?,
            tether: None,
        };
        tools.version()?;
        Ok(tools)
    }

    /// The same tools, tied to this process through the `transcode` binary at this path.
    #[must_use]
    pub fn tethered(mut self, transcode: PathBuf) -> Self {
        self.tether = Some(transcode);
        self
    }

    /// The version as ffmpeg prints it, for example `5.1.9-0+deb12u1`.
    pub fn version(&self) -> Result<String, Failure> {
        let out = Command::new(&self.ffmpeg)
            .arg("-version")
            .stdin(Stdio::null())
            .output()
            .map_err(|e| Failure::machine(format!("cannot run {}: {e}", self.ffmpeg.display())))?;
        let text = String::from_utf8_lossy(&out.stdout);
        let version = text
            .split_whitespace()
            .nth(2)
            .unwrap_or("unknown")
            .to_owned();
        match release(&version) {
            Some(found) if found < OLDEST => Err(Failure::machine(format!(
                "{} is version {version}; install {}.{} or newer",
                self.ffmpeg.display(),
                OLDEST.0,
                OLDEST.1
            ))),
            // A build from a snapshot carries no number; it is newer than any release of ours.
            _ => Ok(version),
        }
    }

    /// An ffmpeg command that never reads the terminal and prints only errors.
    pub fn ffmpeg(&self) -> Command {
        let mut command = self.command(&self.ffmpeg);
        command.args(["-hide_banner", "-nostdin", "-y", "-v", "error"]);
        command
    }

    /// An ffprobe command that prints only errors and `key=value|key=value` lines.
    pub fn ffprobe(&self) -> Command {
        let mut command = self.command(&self.ffprobe);
        command.args(["-hide_banner", "-v", "error", "-of", "compact=p=0:nk=0"]);
        command
    }

    fn command(&self, program: &Path) -> Command {
        match &self.tether {
            Some(transcode) => tether::command(transcode.as_os_str(), program),
            None => Command::new(program),
        }
    }
}

fn on_path(name: &str) -> Result<PathBuf, Failure> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
        .ok_or_else(|| {
            Failure::machine(format!(
                "{name} is not installed; on Debian and Ubuntu: apt-get install ffmpeg"
            ))
        })
}

/// `(5, 1)` of `5.1.9-0+deb12u1` and of `n5.1`.
fn release(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version
        .trim_start_matches('n')
        .split(|c: char| !c.is_ascii_digit());
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next().and_then(|n| n.parse().ok()).unwrap_or(0);
    Some((major, minor))
}

/// Runs to the end; the standard output is dropped.
pub fn run(mut command: Command) -> Result<(), Failure> {
    command.stdout(Stdio::null());
    stream(command, |_| Ok(()))
}

/// Runs and hands each line of standard output to `line`.
pub fn lines(mut command: Command, mut line: impl FnMut(&str)) -> Result<(), Failure> {
    command.stdout(Stdio::piped());
    stream(command, |out| {
        let mut reader = BufReader::new(out);
        let mut text = String::new();
        while reader.read_line(&mut text)? > 0 {
            line(text.trim_end());
            text.clear();
        }
        Ok(())
    })
}

/// Runs and hands standard output, `size` bytes at a time, to `block`; a rest shorter than that is dropped.
pub fn blocks(
    mut command: Command,
    size: usize,
    mut block: impl FnMut(&[u8]),
) -> Result<(), Failure> {
    command.stdout(Stdio::piped());
    stream(command, |out| {
        let mut reader = BufReader::with_capacity(1 << 16, out);
        let mut buffer = vec![0; size];
        loop {
            match reader.read_exact(&mut buffer) {
                Ok(()) => block(&buffer),
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    })
}

/// Runs to the end and also refuses a run that succeeded but complained.
pub fn run_without_complaint(mut command: Command) -> Result<(), Failure> {
    command.stdout(Stdio::null());
    let ended = drive(command, |_| Ok(()))?;
    ended.check()?;
    match ended.complaints.is_empty() {
        true => Ok(()),
        false => Err(Failure::unreadable(ended.complaints.join("; "))),
    }
}

fn stream(
    command: Command,
    read: impl FnOnce(ChildStdout) -> std::io::Result<()>,
) -> Result<(), Failure> {
    drive(command, read)?.check()
}

struct Ended {
    program: OsString,
    status: ExitStatus,
    complaints: Vec<String>,
}

impl Ended {
    fn check(&self) -> Result<(), Failure> {
        use std::os::unix::process::ExitStatusExt as _;
        if self.status.success() {
            return Ok(());
        }
        let said = match self.complaints.is_empty() {
            true => "it said nothing".to_owned(),
            false => self.complaints.join("; "),
        };
        let name = Path::new(&self.program).file_name().unwrap_or_default();
        let name = name.to_string_lossy();
        if let Some(signal) = self.status.signal() {
            return Err(Failure::machine(format!(
                "{name} was ended by signal {signal}: {said}"
            )));
        }
        let code = self.status.code().unwrap_or(-1);
        let text = format!("{name} failed with code {code}: {said}");
        match blames_machine(&said) {
            true => Err(Failure::Machine(text)),
            false => Err(Failure::Unreadable(text)),
        }
    }
}

/// Whether ffmpeg's words are about this machine and not about the input.
fn blames_machine(said: &str) -> bool {
    [
        "No space left on device",
        "Cannot allocate memory",
        "Input/output error",
        "Permission denied",
        "Read-only file system",
        "Too many open files",
        "Disk quota exceeded",
        "Resource temporarily unavailable",
        "cannot start",
        "the process that asked for this one is gone",
    ]
    .iter()
    .any(|words| said.contains(words))
}

fn drive(
    mut command: Command,
    read: impl FnOnce(ChildStdout) -> std::io::Result<()>,
) -> Result<Ended, Failure> {
    let program = tether::program(&command).to_owned();
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    let mut child = Reaped(command.spawn().map_err(|error| {
        Failure::machine(format!(
            "cannot run {}: {error}",
            Path::new(&program).display()
        ))
    })?);
    let complaints = collect(child.0.stderr.take());
    let result = match child.0.stdout.take() {
        Some(out) => read(out),
        None => Ok(()),
    };
    let status = child.0.wait();
    let complaints = complaints.map_or_else(Vec::new, |thread| thread.join().unwrap_or_default());
    result.map_err(|e| Failure::machine(format!("cannot read from ffmpeg: {e}")))?;
    let status = status.map_err(|e| Failure::machine(format!("cannot wait for ffmpeg: {e}")))?;
    Ok(Ended {
        program,
        status,
        complaints,
    })
}

/// Keeps the first lines of the child's complaints: the first names the cause, the rest follow from it.
fn collect(stderr: Option<impl Read + Send + 'static>) -> Option<JoinHandle<Vec<String>>> {
    let stderr = stderr?;
    Some(std::thread::spawn(move || {
        let mut kept: Vec<String> = Vec::new();
        let mut reader = BufReader::new(stderr);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            let text = String::from_utf8_lossy(&line);
            let text = text.trim();
            if !text.is_empty() && kept.len() < STDERR_LINES_MAX {
                kept.push(text.chars().take(STDERR_LINE_BYTES_MAX).collect());
            }
            line.clear();
        }
        kept
    }))
}

/// Kills its child rather than leaving it behind.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            // Failing means that it ended by itself just now.
            let _gone = self.0.kill();
            let _reaped = self.0.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_release_of_distribution_builds_and_of_snapshots() {
        assert_eq!(release("5.1.9-0+deb12u1"), Some((5, 1)));
        assert_eq!(release("n7.0"), Some((7, 0)));
        assert_eq!(release("8"), Some((8, 0)));
        assert_eq!(release("N-109542-g1bf1146297"), None);
    }

    #[test]
    fn tells_a_full_disk_from_a_broken_input() {
        assert!(blames_machine(
            "av_interleaved_write_frame(): No space left on device"
        ));
        assert!(!blames_machine("Invalid data found when processing input"));
    }
}
