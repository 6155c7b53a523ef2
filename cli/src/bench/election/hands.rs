//! Leadership that changes hands: in good order, when an application exits, when a node is lost.

use super::*;
use crate::measure::{Server, free_ports};
use quorate_core::types::FencingToken;
use quorate_leader_election::machine::Leadership;
use quorate_leader_election::service::Observation;
use std::path::Path;
use std::process::{Child, Stdio};

/// Leases of the applications that are killed.
const DEATH_TTL: Duration = Duration::from_secs(2);
/// Leases of applications whose sidecars see them exit: nothing of it is explained by a lease that runs out.
const EXIT_TTL: Duration = Duration::from_secs(30);

/// A hand-over that nobody was told of by then was called off; it takes some milliseconds otherwise.
const CALLED_OFF_AFTER: Duration = Duration::from_secs(2);

/// Two candidates hand leadership to each other.
pub(super) async fn hand_overs(servers: &str, count: u32) -> Outcome<Summary> {
    const ELECTION: &str = "bench-hand-over";
    let mut latency = Latency::default();
    if count == 0 {
        return Ok(latency.summary());
    }
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
    let first = within("a first leader", leads.recv()).await?;
    let (mut leader, _) = first.ok_or_else(|| late("a first leader"))?;
    for _ in 0..count {
        let next = if leader == "a" { "b" } else { "a" };
        let mut refused = None;
        let handed_over = within("a hand-over", async {
            loop {
                let ordered = Instant::now();
                // The one that handed over before leaves, and stands for election again. Until it does the order is
                // refused; and if it leaves only now, the hand-over to it is called off.
                let patience = match driver.transfer(ELECTION, next, PATIENCE).await {
                    Ok(_) => CALLED_OFF_AFTER,
                    Err(error) => {
                        refused = Some(error);
                        POLL
                    }
                };
                // An order whose outcome is not known may have been carried out.
                if let Ok(told) = tokio::time::timeout(patience, leads.recv()).await {
                    return (ordered, told);
                }
            }
        })
        .await;
        let (ordered, told) = handed_over.map_err(|late| match refused {
            Some(refused) => refused.into(),
            None => late,
        })?;
        let (new, at) = told.ok_or_else(|| late("a hand-over"))?;
        if new == next {
            latency.record(at.saturating_duration_since(ordered));
        }
        leader = new;
    }
    Ok(latency.summary())
}

/// Processes that lead are killed, and the next one is waited for.
pub(super) async fn deaths(servers: &str, plan: &Plan) -> Outcome<Summary> {
    const ELECTION: &str = "bench-death";
    let mut latency = Latency::default();
    if plan.deaths == 0 {
        return Ok(latency.summary());
    }
    let program = std::env::current_exe().map_err(unavailable("cannot find this program"))?;
    let dir = temp_dir(plan.data_dir.as_deref(), "quorate-bench-")
        .map_err(unavailable("no directory for logs"))?;
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
            .map_err(unavailable("cannot start a process that leads"))
    };
    let mut processes = [start("a", &dir)?, start("b", &dir)?];
    let driver = Election::connect(servers)?;
    for _ in 0..plan.deaths {
        let leader = led_and_followed(&driver, ELECTION).await?;
        let mut told = driver.observe(ELECTION).await?;
        // A renewal falls anywhere within the lease.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let process = usize::from(leader.candidate.as_str() == "b");
        processes[process]
            .kill()
            .map_err(unavailable("cannot kill a process"))?;
        let killed = Instant::now();
        next_election(&mut told, leader.token).await?;
        latency.record(killed.elapsed());
        processes[process]
            .restart()
            .map_err(unavailable("cannot start a process again"))?;
    }
    Ok(latency.summary())
}

/// Waits until one of two candidates leads.
async fn led_and_followed(driver: &Election, election: &str) -> Outcome<Leadership> {
    within("a leader with a candidate behind it", async {
        loop {
            if let Ok(view) = driver.get(election).await
                && view.candidates.len() == 2
                && let Some(leader) = view.leader
            {
                return (*leader).clone();
            }
            tokio::time::sleep(POLL).await;
        }
    })
    .await
}

/// Waits for a leader with a higher token.
async fn next_election(told: &mut Observation, token: FencingToken) -> Outcome {
    within("the next election", async {
        while let Some(observed) = told.next().await {
            if let Observed::Change(change) = observed?
                && let Some(new) = &change.leader
                && new.token > token
            {
                break;
            }
        }
        Ok::<_, Error>(())
    })
    .await??;
    Ok(())
}

/// An application that does nothing but live, and the sidecar that watches it.
struct Beside {
    application: Child,
    _sidecar: Server,
}

impl Beside {
    fn start(program: &Path, dir: &Path, servers: &str, election: &str, id: &str) -> Outcome<Self> {
        let application = std::process::Command::new("sleep")
            .arg("3600")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(unavailable("cannot start an application"))?;
        let ports = free_ports(2).map_err(unavailable("no free ports"))?;
        let local = |port: &u16| format!("127.0.0.1:{port}");
        let env = [
            ("QUORATE_SERVERS", servers.to_owned()),
            ("QUORATE_LISTEN", local(&ports[0])),
            ("QUORATE_OPS_LISTEN", local(&ports[1])),
            ("QUORATE_ELECTION", election.to_owned()),
            ("QUORATE_CANDIDATE_ID", id.to_owned()),
            ("QUORATE_APP_PID", application.id().to_string()),
            ("QUORATE_SESSION_TTL_MS", EXIT_TTL.as_millis().to_string()),
            ("RUST_LOG", "warn".to_owned()),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value)).into();
        let args = ["sidecar", "leader-election"].map(ToOwned::to_owned).into();
        let log = dir.join(format!("sidecar-{id}.log"));
        let sidecar = Server::start(id, program, args, env, log)
            .map_err(unavailable("cannot start a sidecar"))?;
        Ok(Self {
            application,
            _sidecar: sidecar,
        })
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // It is gone already where it was killed.
        let _ = self.application.kill();
        let _ = self.application.wait();
    }
}

/// Applications that lead are killed; their sidecars see it and give up for them.
pub(super) async fn exits(servers: &str, plan: &Plan) -> Outcome<Summary> {
    const ELECTION: &str = "bench-exit";
    let mut latency = Latency::default();
    if plan.exits == 0 {
        return Ok(latency.summary());
    }
    let program = std::env::current_exe().map_err(unavailable("cannot find this program"))?;
    let dir = temp_dir(plan.data_dir.as_deref(), "quorate-bench-")
        .map_err(unavailable("no directory for logs"))?;
    let start = |id: &str| Beside::start(&program, dir.path(), servers, ELECTION, id);
    let names = ["a", "b"];
    let mut beside = [start(names[0])?, start(names[1])?];
    let driver = Election::connect(servers)?;
    for _ in 0..plan.exits {
        let leader = led_and_followed(&driver, ELECTION).await?;
        let mut told = driver.observe(ELECTION).await?;
        let index = usize::from(leader.candidate.as_str() == names[1]);
        // What it does first after it was elected shall not be in the figure.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let exited = Instant::now();
        beside[index]
            .application
            .kill()
            .map_err(unavailable("cannot kill an application"))?;
        next_election(&mut told, leader.token).await?;
        latency.record(exited.elapsed());
        beside[index] = start(names[index])?;
    }
    Ok(latency.summary())
}
