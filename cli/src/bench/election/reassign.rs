//! A session with many elections dies: its holder renews it no more, and another one that stands for all of
//! them follows.
//!
//! What is counted begins when the cluster decides that the session has expired: at the log time of that
//! entry, which its leader reads off the wall clock of this machine, in whole milliseconds. One entry ends
//! and grants all of the elections.

use super::load::led_by;
use super::*;
use futures::stream::SelectAll;
use quorate_core::types::LogTime;
use quorate_leader_election::machine::{Answer, EndCause, Query, What};
use quorate_leader_election::service::Observation;
use serde::Serialize;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Length of the session that dies.
const TTL: Duration = Duration::from_secs(2);
/// Renewals of it while it lives.
const RENEW_EVERY: Duration = Duration::from_millis(500);

/// How the elections of a session that died found other leaders.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Reassigned {
    pub(super) elections: u32,
    pub(super) ttl_ms: u64,
    /// From the decision that the session has expired until the cluster answers that the next one leads.
    pub(super) shown_ms: f64,
    /// From that decision until the next one, which observes all of the elections over one connection, was told of
    /// all its leaderships.
    pub(super) told_ms: f64,
    /// From the last renewal until then, less the length of the session.
    pub(super) past_ttl_ms: f64,
}

/// One session with many elections dies; another one stands for all of them.
pub(super) async fn reassign(servers: &str, count: u32) -> Outcome<Option<Reassigned>> {
    if count == 0 {
        return Ok(None);
    }
    let client = client(servers)?;
    let dies = Dying::open(&client).await?;
    let follows = open(&client, LONG_MS).await?;
    for (candidate, session) in [("dies", dies.session), ("follows", follows)] {
        let standing = (0..count).map(|number| campaign(number, candidate, session));
        execute_all(&client, standing).await?;
    }
    let mut told = observe_all(&client, count).await?;
    led_by(&client, count, "dies").await?;
    let renewed = dies.die().await?;
    let (shown, (decided, told)) = within("that all elections have another leader", async {
        tokio::try_join!(led_by_the_next(&client), told_of_all(&mut told, count))
    })
    .await??;
    led_by(&client, count, "follows").await?;
    let close = Command::CloseSession { session: follows };
    client.execute(&Caller::default(), close).await?;
    let decided = UNIX_EPOCH + Duration::from_millis(decided.0);
    Ok(Some(Reassigned {
        elections: count,
        ttl_ms: u64::try_from(TTL.as_millis()).unwrap_or(u64::MAX),
        shown_ms: ms(since(decided, shown)),
        told_ms: ms(since(decided, told)),
        past_ttl_ms: ms(since(renewed + TTL, told)),
    }))
}

/// Zero where the clock of whole milliseconds is ahead.
fn since(earlier: SystemTime, later: SystemTime) -> Duration {
    later.duration_since(earlier).unwrap_or_default()
}

/// A session that is renewed until its holder dies.
struct Dying {
    session: SessionId,
    stop: oneshot::Sender<()>,
    renewing: JoinHandle<Result<SystemTime, Error>>,
}

impl Dying {
    async fn open(client: &Client) -> Result<Self, Error> {
        let opened = SystemTime::now();
        let ttl_ms = u64::try_from(TTL.as_millis()).unwrap_or(u64::MAX);
        let session = open(client, ttl_ms).await?;
        let (stop, mut stopped) = oneshot::channel();
        let client = client.clone();
        let renewing = tokio::spawn(async move {
            let mut renewed = opened;
            let mut beat = tokio::time::interval(RENEW_EVERY);
            let caller = Caller {
                timeout: RENEW_EVERY,
                ..Caller::default()
            };
            loop {
                tokio::select! {
                    _ = &mut stopped => return Ok(renewed),
                    _ = beat.tick() => {}
                }
                let sent = SystemTime::now();
                let renewal = Renewal {
                    sessions: vec![session],
                    elections: Vec::new(),
                };
                match client.renew(&caller, renewal).await {
                    Ok(renewal) if renewal.live.is_empty() => {
                        return Err(Error::invalid("the session died before it was to"));
                    }
                    Ok(_) => renewed = sent,
                    // The next one may come in time; if not, that is seen.
                    Err(_) => {}
                }
            }
        });
        Ok(Self {
            session,
            stop,
            renewing,
        })
    }

    /// Renews it no more; gives when the last renewal was sent.
    async fn die(self) -> Outcome<SystemTime> {
        // It is gone if the session is; then that is answered.
        let _ = self.stop.send(());
        let renewed = self.renewing.await;
        let renewed = renewed.map_err(|panic| Failure::new(Exit::Refused, panic.to_string()))?;
        Ok(renewed?)
    }
}

/// Observes all elections from now on, as one that stands for them does.
async fn observe_all(client: &Client, count: u32) -> Outcome<SelectAll<Observation>> {
    let caller = Caller {
        timeout: PATIENCE,
        ..Caller::default()
    };
    let Answer::Position { revision, .. } = client.query(&caller, Query::Position).await? else {
        return Err(Failure::new(
            Exit::Refused,
            "another answer than a position",
        ));
    };
    let observing = futures::stream::iter(0..count).map(|number| {
        let caller = &caller;
        async move {
            let election = Name::new(&format!("bench-{number}"))?;
            client.observe(caller, election, Some(revision)).await
        }
    });
    let observing: Vec<Result<Observation, Error>> =
        observing.buffer_unordered(SETUP_IN_FLIGHT).collect().await;
    Ok(observing.into_iter().collect::<Result<_, Error>>()?)
}

/// Waits until the cluster answers that the next one leads.
async fn led_by_the_next(client: &Client) -> Result<SystemTime, Error> {
    let elections = Election::from_service(Arc::new(client.clone()));
    loop {
        let view = elections.get("bench-0").await?;
        let leader = view.leader.as_ref();
        if leader.is_some_and(|leader| leader.candidate.as_str() == "follows") {
            return Ok(SystemTime::now());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Waits until the next one was told of all its leaderships; gives when the session was decided to have
/// expired, and when the last was told.
async fn told_of_all(
    told: &mut SelectAll<Observation>,
    count: u32,
) -> Result<(LogTime, SystemTime), Error> {
    let (mut decided, mut left) = (None, count);
    while let Some(observed) = told.next().await {
        let Observed::Change(change) = observed? else {
            continue;
        };
        match &change.what {
            What::Ended {
                cause: EndCause::Expired,
                ..
            } => decided = decided.or(Some(change.time)),
            What::Elected => left -= 1,
            _ => {}
        }
        if left == 0 {
            break;
        }
    }
    let last = SystemTime::now();
    let decided = decided.filter(|_| left == 0);
    let decided = decided.ok_or_else(|| Error::invalid("the session did not expire"))?;
    Ok((decided, last))
}
