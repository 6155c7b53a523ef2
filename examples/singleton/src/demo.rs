//! The demonstration: a server of elections, four copies, faults, and what the table says afterwards.

use crate::journal;
use crate::proxy::Link;
use anyhow::{Context as _, Result, bail};
use quorate_core::runtime::settings::FlagValues;
use quorate_core::runtime::{Pattern, Settings, Shutdown, Spec, run as container};
use quorate_leader_election::election::Election;
use quorate_leader_election::server;
use rustix::process::{Pid, Signal, kill_process};
use std::fmt;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The leases of the copies last a second; stopped or cut off for so long they outlive theirs.
const OUTAGE: Duration = Duration::from_millis(2_500);
/// For anything that must happen.
const PATIENCE: Duration = Duration::from_secs(30);
/// Copies in Python.
const PYTHONS: usize = 3;

/// Says a line.
pub fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody listens any more: nothing to be done about it.
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Rows in the table.
    pub rows: usize,
    /// Leaders that wrote, one a token.
    pub leaders: usize,
    /// Copies that wrote.
    pub writers: usize,
    /// Writes under an older token after one under a newer: must be none.
    pub stale_writes: usize,
    /// Rows whose number does not follow the one before: must be none.
    pub gaps: usize,
    /// Attempts of a stale leader that the table refused.
    pub refused: usize,
    /// Faults: kills, stops, cuts.
    pub faults: [usize; 3],
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [kills, stops, cuts] = self.faults;
        write!(
            f,
            "{} rows by {} leaders on {} copies; {kills} kills, {stops} stops, {cuts} cuts\n\
             stale writes in the table  {}\nrows out of order          {}\nstale writes refused       {}",
            self.rows, self.leaders, self.writers, self.stale_writes, self.gaps, self.refused
        )
    }
}

impl Report {
    /// # Errors
    /// The table took a stale write, or was not written to by several leaders.
    pub fn verdict(&self) -> Result<()> {
        if self.stale_writes > 0 || self.gaps > 0 {
            bail!("the table took what it must refuse");
        }
        if self.leaders < 3 || self.writers < 2 {
            bail!("too little happened to show anything");
        }
        Ok(())
    }
}

/// One copy of the application.
struct Copy {
    id: String,
    link: Link,
    command: Box<dyn Fn() -> Command + Send>,
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
}

impl Copy {
    fn start(id: &str, link: Link, command: Box<dyn Fn() -> Command + Send>) -> Result<Self> {
        let said = Arc::default();
        let child = spawn(&command, &said)?;
        Ok(Self {
            id: id.to_owned(),
            link,
            command,
            child,
            said,
        })
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        Ok(kill_process(pid.context("a process id")?, signal)?)
    }

    fn restart(&mut self) -> Result<()> {
        self.child = spawn(&self.command, &self.said)?;
        Ok(())
    }

    fn refused(&self) -> usize {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.iter()
            .filter(|line| line.starts_with("stale "))
            .count()
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // Gone already, then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(command: &dyn Fn() -> Command, said: &Arc<Mutex<Vec<String>>>) -> Result<Child> {
    let mut command = command();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {:?}", command.get_program()))?;
    let out = BufReader::new(child.stdout.take().context("a pipe")?);
    let said = Arc::clone(said);
    std::thread::spawn(move || {
        for line in out.lines().map_while(Result::ok) {
            said.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(line);
        }
    });
    Ok(child)
}

/// Runs the demonstration for about so many seconds. `program` is this example's own.
///
/// # Errors
/// Something could not be started, or no leader came.
pub async fn run(program: PathBuf, seconds: u64) -> Result<Report> {
    let dir = tempfile::tempdir()?;
    let db = dir.path().join("journal.sqlite");
    journal::create(&db)?;
    let (server, shutdown) = elections().await?;
    let mut copies = Vec::new();
    for number in 1..=PYTHONS {
        let link = Link::to(server).await?;
        copies.push(python(&format!("python-{number}"), link, &db)?);
    }
    let link = Link::to(server).await?;
    copies.push(rust(program, "rust-4", link, &db)?);

    let watching = Election::connect(&server.to_string())?;
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut faults = [0; 3];
    while Instant::now() < end || faults.contains(&0) {
        let leader = leader(&watching, &copies).await?;
        // It has written when the fault comes.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let kind = faults.iter().sum::<usize>() % 3;
        faults[kind] += 1;
        let copy = &mut copies[leader];
        match kind {
            0 => {
                say(&format!("SIGKILL {}", copy.id));
                copy.child.kill()?;
                copy.child.wait()?;
            }
            1 => {
                say(&format!("SIGSTOP {}", copy.id));
                copy.signal(Signal::STOP)?;
            }
            _ => {
                say(&format!("cut off {}", copy.id));
                copy.link.cut();
            }
        }
        tokio::time::sleep(OUTAGE).await;
        match kind {
            0 => copy.restart()?,
            1 => copy.signal(Signal::CONT)?,
            _ => copy.link.mend(),
        }
    }
    // The last one to wake up gets the time to try its stale write.
    leader(&watching, &copies).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let refused = copies.iter().map(Copy::refused).sum();
    drop(copies);
    shutdown.order();
    report(&db, refused, faults)
}

fn report(db: &Path, refused: usize, faults: [usize; 3]) -> Result<Report> {
    let rows = journal::rows(db)?;
    let tokens: std::collections::BTreeSet<_> = rows.iter().map(|row| row.token).collect();
    let writers: std::collections::BTreeSet<_> = rows.iter().map(|row| &row.writer).collect();
    let pairs = || rows.iter().zip(rows.iter().skip(1));
    Ok(Report {
        rows: rows.len(),
        leaders: tokens.len(),
        writers: writers.len(),
        stale_writes: pairs().filter(|(a, b)| b.token < a.token).count(),
        gaps: pairs().filter(|(a, b)| b.seq != a.seq + 1).count(),
        refused,
        faults,
    })
}

/// A server of elections in this process, in memory.
async fn elections() -> Result<(SocketAddr, Shutdown)> {
    let settings = Settings::load(Pattern::LeaderElection, &FlagValues::none())
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    let api = TcpListener::bind("127.0.0.1:0")?;
    let address = api.local_addr()?;
    let spec = Spec {
        api: Some(api),
        ops: Some(TcpListener::bind("127.0.0.1:0")?),
        ..Spec::new(Pattern::LeaderElection, "dev", server::VERSION)
    };
    let shutdown = Shutdown::manual();
    tokio::spawn(container(
        spec,
        settings,
        shutdown.clone(),
        server::replica_in_memory,
    ));
    Ok((address, shutdown))
}

fn python(id: &str, link: Link, db: &Path) -> Result<Copy> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("app.py");
    let (api, db, name) = (
        format!("http://{}", link.address),
        db.to_owned(),
        id.to_owned(),
    );
    let command = move || {
        let mut command = Command::new("python3");
        command.arg(&script);
        command
            .args(["--api", &api, "--id", &name])
            .arg("--db")
            .arg(&db);
        command
    };
    Copy::start(id, link, Box::new(command))
}

fn rust(program: PathBuf, id: &str, link: Link, db: &Path) -> Result<Copy> {
    let (server, db, name) = (link.address.to_string(), db.to_owned(), id.to_owned());
    let command = move || {
        let mut command = Command::new(&program);
        command.args(["app", &server, &name]).arg(&db);
        command
    };
    Copy::start(id, link, Box::new(command))
}

/// Waits for a leader; the copy that leads.
async fn leader(election: &Election, copies: &[Copy]) -> Result<usize> {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if let Ok(view) = election.get("singleton").await
            && let Some(leader) = view.leader
            && let Some(index) = copies
                .iter()
                .position(|copy| copy.id == leader.candidate.as_str())
        {
            return Ok(index);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bail!("no copy leads after {PATIENCE:?}")
}
