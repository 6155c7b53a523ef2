//! How much one cluster carries: renewals, sessions, elections.

use super::*;
use quorate_leader_election::machine::limits;
use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering};

/// Renewals under way at once.
const RENEWALS_IN_FLIGHT: usize = 16;
/// Sessions in one renewal, as a node or sidecar of many sends them.
const SESSIONS_PER_RENEWAL: usize = 250;

/// As many renewals as go, of as many sessions, in batches as a node or sidecar of many sends them.
pub(super) async fn renewals(servers: &str, plan: &Plan) -> Outcome<u64> {
    if plan.sessions == 0 {
        return Ok(0);
    }
    let client = client(servers)?;
    let sessions = open_all(&client, plan.sessions).await?;
    let renewed = Arc::new(AtomicU64::new(0));
    let batches: Vec<Vec<SessionId>> = sessions
        .chunks(SESSIONS_PER_RENEWAL.min(limits::SESSIONS_PER_RENEWAL_MAX))
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
    let took = begin.elapsed();
    close_all(&client, sessions).await?;
    Ok(per_second(renewed.load(Ordering::Relaxed), took))
}

async fn open_all(client: &Client, count: u32) -> Result<Vec<SessionId>, Error> {
    let opening = futures::stream::iter(0..count)
        .map(|_| open(client, LONG_MS))
        .buffer_unordered(SETUP_IN_FLIGHT);
    let opened: Vec<Result<SessionId, Error>> = opening.collect().await;
    opened.into_iter().collect()
}

async fn close_all(client: &Client, sessions: Vec<SessionId>) -> Result<(), Error> {
    let closing = sessions.into_iter();
    execute_all(
        client,
        closing.map(|session| Ok(Command::CloseSession { session })),
    )
    .await
}

/// Makes sure of who leads the first and the last of so many elections: one entry changes all of them.
pub(super) async fn led_by(client: &Client, count: u32, by: &str) -> Outcome {
    let elections = Election::from_service(Arc::new(client.clone()));
    for number in [0, count - 1] {
        let name = format!("bench-{number}");
        let view = elections.get(&name).await?;
        if view
            .leader
            .is_none_or(|leader| leader.candidate.as_str() != by)
        {
            let told = format!("{name} is not led by {by}");
            return Err(Failure::new(Exit::Refused, told));
        }
    }
    Ok(())
}

/// What one cluster carried at once.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Carried {
    pub(super) sessions: u32,
    pub(super) elections: u32,
    /// Commands a second while they came into being.
    pub(super) commands_per_second: u64,
    /// All sessions renewed once, one renewal after the other.
    pub(super) renewed_ms: f64,
    /// Memory of the node that held most.
    pub(super) rss_bytes: u64,
}

/// Sessions with elections, all held at once, each with a leader.
pub(super) async fn carry(nodes: &Nodes, servers: &str, plan: &Plan) -> Outcome<Option<Carried>> {
    let (sessions, elections) = (plan.carried_sessions, plan.carried_elections);
    if sessions == 0 || elections == 0 {
        return Ok(None);
    }
    let client = client(servers)?;
    let begin = Instant::now();
    let open = open_all(&client, sessions).await?;
    let each = open.iter().copied().cycle();
    let standing = (0..elections)
        .zip(each)
        .map(|(number, session)| campaign(number, "carried", session));
    execute_all(&client, standing).await?;
    let took = begin.elapsed();
    let begin = Instant::now();
    for some in open.chunks(SESSIONS_PER_RENEWAL) {
        let renewal = Renewal {
            sessions: some.to_vec(),
            elections: Vec::new(),
        };
        let renewed = client.renew(&Caller::default(), renewal).await?;
        if renewed.live.len() != some.len() {
            return Err(Failure::new(Exit::Refused, "a session was lost meanwhile"));
        }
    }
    let renewed = begin.elapsed();
    led_by(&client, elections, "carried").await?;
    let reports = nodes.reports().await;
    Ok(Some(Carried {
        sessions,
        elections,
        commands_per_second: per_second(u64::from(sessions) + u64::from(elections), took),
        renewed_ms: ms(renewed),
        rss_bytes: reports.iter().map(|node| node.rss_bytes).max().unwrap_or(0),
    }))
}
