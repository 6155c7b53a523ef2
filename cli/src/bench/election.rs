//! `quorate bench election`: how fast leadership changes hands, what a kill costs, what renewals cost.
//!
//! Clients are this process, over gRPC like any other; applications that die are processes of
//! `quorate election exec`, killed with SIGKILL.

use super::nodes::Nodes;
use crate::errors::{Exit, Failure, Outcome};
use crate::measure::{Latency, Server, Summary, TempDir, temp_dir};
use crate::output::{Output, Render};
use crate::table::Table;
use futures::StreamExt as _;
use quorate_core::error::Error;
use quorate_core::types::Name;
use quorate_leader_election::client::{Client, Config};
use quorate_leader_election::election::Election;
use quorate_leader_election::machine::{
    Campaign, Command, Liveness, Renewal, Reply, SessionId, Settings, limits,
};
use quorate_leader_election::service::{Caller, ElectionService as _, Observed};
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// For anything that must happen.
const PATIENCE: Duration = Duration::from_secs(60);
/// Sessions that nothing but the measurement ends.
const LONG_MS: u64 = 3_600_000;
/// Leases of the applications that are killed.
const DEATH_TTL: Duration = Duration::from_secs(2);
/// Leaderships that are held while the coordinator's leader is killed.
const HELD: usize = 20;
/// Commands under way at once while a measurement is set up.
const SETUP_IN_FLIGHT: usize = 64;
/// Renewals under way at once.
const RENEWALS_IN_FLIGHT: usize = 16;
/// Between two looks.
const POLL: Duration = Duration::from_millis(2);

/// What to measure.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) nodes: u32,
    pub(crate) hand_overs: u32,
    pub(crate) deaths: u32,
    pub(crate) kills: u32,
    pub(crate) sessions: u32,
    pub(crate) seconds: u32,
    pub(crate) reassign: u32,
    pub(crate) data_dir: Option<PathBuf>,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    nodes: u32,
    /// From the order to the successor's first covered renewal.
    hand_over: Summary,
    /// From SIGKILL of a leading process, TTL 2 s, to the next election.
    process_killed: Summary,
    /// From SIGKILL of the coordinator's leader to the next acknowledged write.
    coordinator_killed: Summary,
    /// Leaderships of applications that were lost by it.
    leaderships_lost: u64,
    sessions: u32,
    renewals_per_second: u64,
    elections: u32,
    /// One session ends, and all its elections go to another one.
    reassign_ms: f64,
}

impl Report {
    /// Killing a coordinator must cost no application its leadership.
    pub(crate) fn verdict(&self) -> Outcome {
        if self.leaderships_lost == 0 {
            return Ok(());
        }
        Err(Failure::new(
            Exit::Refused,
            format!(
                "{} applications lost their leadership while only coordinators were killed",
                self.leaderships_lost
            ),
        ))
    }
}

impl Render for Report {
    fn table(&self) -> Table {
        let mut table = Table::new(&["MEASURED", ">COUNT", ">P50 MS", ">P99 MS", ">MAX MS"]);
        for (what, summary) in [
            ("graceful hand-over", self.hand_over),
            ("leading process killed, TTL 2 s", self.process_killed),
            ("coordinator's leader killed", self.coordinator_killed),
        ] {
            table.row([
                &what,
                &summary.count,
                &format!("{:.1}", summary.p50_ms),
                &format!("{:.1}", summary.p99_ms),
                &format!("{:.1}", summary.max_ms),
            ]);
        }
        let mut rest = Table::fields();
        rest.field(
            "leaderships lost by kills of coordinators",
            &self.leaderships_lost,
        )
        .field(
            "renewals",
            &format!(
                "{}/s over {} sessions",
                self.renewals_per_second, self.sessions
            ),
        )
        .field(
            "reassigned",
            &format!("{} elections in {:.0} ms", self.elections, self.reassign_ms),
        );
        table.then(&rest);
        table
    }
}

/// Runs the plan.
pub(crate) async fn run(plan: &Plan, output: Output) -> Outcome<Report> {
    output.note(format!("starting {} node(s)", plan.nodes));
    let mut nodes = Nodes::start("leader-election", plan.nodes, plan.data_dir.as_deref()).await?;
    let servers = addresses(&nodes);
    output.note("graceful hand-overs");
    let hand_over = hand_overs(&servers, plan.hand_overs).await?;
    output.note("processes that lead are killed");
    let process_killed = deaths(&servers, plan).await?;
    output.note("renewals");
    let renewals_per_second = renewals(&servers, plan).await?;
    output.note("a session with many elections ends");
    let reassign_ms = reassign(&servers, plan.reassign).await?;
    output.note("the coordinator's leader is killed");
    let (coordinator_killed, leaderships_lost) = kills(&mut nodes, &servers, plan.kills).await?;
    Ok(Report {
        nodes: plan.nodes,
        hand_over,
        process_killed,
        coordinator_killed,
        leaderships_lost,
        sessions: plan.sessions,
        renewals_per_second,
        elections: plan.reassign,
        reassign_ms,
    })
}

fn addresses(nodes: &Nodes) -> String {
    let addresses: Vec<String> = nodes.addresses().iter().map(ToString::to_string).collect();
    addresses.join(",")
}

fn late(what: &str) -> Failure {
    Failure::new(
        Exit::Temporary,
        format!("{what} did not happen within {PATIENCE:?}"),
    )
}

async fn within<T>(what: &str, happens: impl Future<Output = T>) -> Outcome<T> {
    tokio::time::timeout(PATIENCE, happens)
        .await
        .map_err(|_| late(what))
}

/// Two candidates hand leadership to each other.
async fn hand_overs(servers: &str, count: u32) -> Outcome<Summary> {
    const ELECTION: &str = "bench-hand-over";
    let (led, mut leads) = mpsc::unbounded_channel();
    let mut candidates = Vec::new();
    for id in ["a", "b"] {
        let handle = Election::connect(servers)?
            .ttl(Duration::from_secs(30))
            .candidate(id)?;
        let led = led.clone();
        candidates.push(AbortOnDrop(tokio::spawn(async move {
            loop {
                let Ok(guard) = handle.campaign(ELECTION).await else {
                    continue;
                };
                if led.send((id, Instant::now())).is_err() {
                    return;
                }
                let _ = guard.run(|_| std::future::pending::<()>()).await;
            }
        })));
    }
    let driver = Election::connect(servers)?;
    let mut latency = Latency::default();
    let first = within("a first leader", leads.recv()).await?;
    let (mut leader, _) = first.ok_or_else(|| late("a first leader"))?;
    for _ in 0..count {
        let next = if leader == "a" { "b" } else { "a" };
        let (ordered, _) = within("a hand-over", async {
            loop {
                let ordered = Instant::now();
                // The one that handed over has to stand for election again first.
                match driver.transfer(ELECTION, next, PATIENCE).await {
                    Ok(transferring) => return (ordered, transferring),
                    Err(_) => tokio::time::sleep(POLL).await,
                }
            }
        })
        .await?;
        let told = within("a hand-over", leads.recv()).await?;
        let (new, at) = told.ok_or_else(|| late("a hand-over"))?;
        if new == next {
            latency.record(at.saturating_duration_since(ordered));
        }
        leader = new;
    }
    Ok(latency.summary())
}

/// A task that ends with its handle.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Processes that lead are killed, and the next one is waited for.
async fn deaths(servers: &str, plan: &Plan) -> Outcome<Summary> {
    const ELECTION: &str = "bench-death";
    let mut latency = Latency::default();
    if plan.deaths == 0 {
        return Ok(latency.summary());
    }
    let program = std::env::current_exe().map_err(|error| {
        Failure::new(
            Exit::Unavailable,
            format!("cannot find this program: {error}"),
        )
    })?;
    let dir = temp_dir(plan.data_dir.as_deref(), "quorate-bench-")
        .map_err(|error| Failure::new(Exit::Unavailable, format!("no directory: {error}")))?;
    let start = |id: &str, dir: &TempDir| {
        let ttl = format!("{}ms", DEATH_TTL.as_millis());
        let args = [
            "election",
            "exec",
            ELECTION,
            "--candidate",
            id,
            "--ttl",
            &ttl,
        ];
        let args = args
            .into_iter()
            .chain(["--kill-grace", "100ms", "--", "sleep", "3600"]);
        let env = vec![("QUORATE_SERVERS".to_owned(), servers.to_owned())];
        let args = args.map(ToOwned::to_owned).collect();
        Server::start(id, &program, args, env, dir.path().join(id))
            .map_err(|error| Failure::new(Exit::Unavailable, format!("cannot start: {error}")))
    };
    let mut processes = [start("a", &dir)?, start("b", &dir)?];
    let driver = Election::connect(servers)?;
    for _ in 0..plan.deaths {
        let leader = within("a leader with a candidate behind it", async {
            loop {
                if let Ok(view) = driver.get(ELECTION).await
                    && view.candidates.len() == 2
                    && let Some(leader) = view.leader
                {
                    return leader;
                }
                tokio::time::sleep(POLL).await;
            }
        })
        .await?;
        let mut told = driver.observe(ELECTION).await?;
        // A renewal falls anywhere within the lease.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let process = usize::from(leader.candidate.as_str() == "b");
        processes[process]
            .kill()
            .map_err(|error| Failure::new(Exit::Temporary, format!("cannot kill: {error}")))?;
        let killed = Instant::now();
        within("the next election", async {
            while let Some(observed) = told.next().await {
                if let Observed::Change(change) = observed?
                    && change
                        .leader
                        .as_ref()
                        .is_some_and(|new| new.token > leader.token)
                {
                    break;
                }
            }
            Ok::<_, Error>(())
        })
        .await??;
        latency.record(killed.elapsed());
        processes[process]
            .restart()
            .map_err(|error| Failure::new(Exit::Temporary, format!("cannot restart: {error}")))?;
    }
    Ok(latency.summary())
}

fn client(servers: &str) -> Outcome<Client> {
    Ok(Client::new(&Config::servers(servers))?)
}

async fn open(client: &Client, ttl_ms: u64) -> Result<SessionId, Error> {
    let command = Command::OpenSession {
        ttl_ms,
        label: "bench".into(),
    };
    match client.execute(&Caller::default(), command).await?.reply {
        Reply::Session(opened) => Ok(opened.session),
        _ => Err(Error::invalid("another answer than a session")),
    }
}

/// As many renewals as go, of as many sessions, in batches as a node or sidecar of many sends them.
async fn renewals(servers: &str, plan: &Plan) -> Outcome<u64> {
    let client = client(servers)?;
    let opening = futures::stream::iter(0..plan.sessions)
        .map(|_| open(&client, LONG_MS))
        .buffer_unordered(SETUP_IN_FLIGHT);
    let sessions: Vec<Result<SessionId, Error>> = opening.collect().await;
    let sessions: Vec<SessionId> = sessions.into_iter().collect::<Result<_, _>>()?;
    let renewed = Arc::new(AtomicU64::new(0));
    let batches: Vec<Vec<SessionId>> = sessions
        .chunks(limits::SESSIONS_PER_RENEWAL_MAX.min(250))
        .map(<[SessionId]>::to_vec)
        .collect();
    let begin = Instant::now();
    let end = begin + Duration::from_secs(u64::from(plan.seconds));
    let senders = (0..RENEWALS_IN_FLIGHT).map(|sender| {
        let (client, renewed, batches) = (client.clone(), Arc::clone(&renewed), &batches);
        async move {
            let mut turn = sender;
            while Instant::now() < end {
                let sessions = batches[turn % batches.len()].clone();
                turn += RENEWALS_IN_FLIGHT;
                let renewal = Renewal {
                    sessions,
                    elections: Vec::new(),
                };
                if let Ok(answer) = client.renew(&Caller::default(), renewal).await {
                    renewed.fetch_add(answer.live.len() as u64, Ordering::Relaxed);
                }
            }
        }
    });
    futures::future::join_all(senders).await;
    let seconds = begin.elapsed().as_secs_f64();
    let closing = futures::stream::iter(sessions)
        .map(|session| {
            let client = client.clone();
            async move {
                let command = Command::CloseSession { session };
                client.execute(&Caller::default(), command).await.map(drop)
            }
        })
        .buffer_unordered(SETUP_IN_FLIGHT);
    let closed: Vec<Result<(), Error>> = closing.collect().await;
    closed.into_iter().collect::<Result<(), Error>>()?;
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate, rounded down"
    )]
    let rate = (renewed.load(Ordering::Relaxed) as f64 / seconds) as u64;
    Ok(rate)
}

/// One session with many elections ends; another one stands for all of them.
async fn reassign(servers: &str, count: u32) -> Outcome<f64> {
    if count == 0 {
        return Ok(0.0);
    }
    let client = client(servers)?;
    let sessions = [open(&client, LONG_MS).await?, open(&client, LONG_MS).await?];
    for (candidate, session) in ["dies", "follows"].into_iter().zip(sessions) {
        let standing = futures::stream::iter(0..count)
            .map(|number| {
                let client = client.clone();
                async move {
                    let command = Command::Campaign(Campaign {
                        election: Name::new(&format!("bench-{number}"))?,
                        candidate: Name::new(candidate)?,
                        liveness: Liveness::Session(session),
                        priority: 0,
                        metadata: "".into(),
                    });
                    client.execute(&Caller::default(), command).await.map(drop)
                }
            })
            .buffer_unordered(SETUP_IN_FLIGHT);
        let stood: Vec<Result<(), Error>> = standing.collect().await;
        stood.into_iter().collect::<Result<(), Error>>()?;
    }
    let begin = Instant::now();
    let caller = Caller {
        timeout: PATIENCE,
        ..Caller::default()
    };
    let [dies, follows] = sessions;
    let ended = client
        .execute(&caller, Command::CloseSession { session: dies })
        .await?;
    let took = begin.elapsed();
    if ended.reply != Reply::Count(count) {
        return Err(Failure::new(
            Exit::Refused,
            format!("{:?} instead of {count} leaderships ended", ended.reply),
        ));
    }
    let close = Command::CloseSession { session: follows };
    client.execute(&caller, close).await?;
    Ok(took.as_secs_f64() * 1_000.0)
}

/// Kills the coordinator's leader while leaderships are held and writes go on.
async fn kills(nodes: &mut Nodes, servers: &str, kills: u32) -> Outcome<(Summary, u64)> {
    let mut latency = Latency::default();
    if kills == 0 {
        return Ok((latency.summary(), 0));
    }
    let application = Election::connect(servers)?.ttl(DEATH_TTL);
    let mut guards = Vec::new();
    for number in 0..HELD {
        let campaign = application.campaign(&format!("bench-held-{number}"));
        guards.push(
            within(
                "a leadership",
                std::future::IntoFuture::into_future(campaign),
            )
            .await??,
        );
    }
    for _ in 0..kills {
        nodes.wait_ready().await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let leader = nodes.leader().await?;
        nodes.kill(leader)?;
        let killed = Instant::now();
        let client = client(servers)?;
        within("an acknowledged write", async {
            loop {
                let command = Command::Configure {
                    election: Name::new("bench-probe")?,
                    settings: Some(Settings::default()),
                };
                let caller = Caller {
                    timeout: PATIENCE,
                    ..Caller::default()
                };
                if client.execute(&caller, command).await.is_ok() {
                    return Ok::<_, Error>(());
                }
            }
        })
        .await??;
        latency.record(killed.elapsed());
        tokio::time::sleep(DEATH_TTL).await;
        nodes.restart(leader)?;
    }
    let lost = guards.iter().filter(|guard| !guard.is_leader()).count();
    application.close().await;
    Ok((latency.summary(), lost as u64))
}
