//! The role `sidecar`: the ambassador of a remote cluster beside one application.
//!
//! The application sees one server on localhost; finding the leader, keeping connections and retrying is
//! this container's business. It also speaks for the application: it renews the sessions opened through
//! it while it has [`proof`] that the application lives, ends them at once when it sees the application's
//! process exit, has leaderships revoked when the application's health check fails, and asks it to
//! [drain](hook) before leadership is handed over. With `--election` it stands for that election itself.

mod ambassador;
mod compat;
mod hook;
mod http;
mod own;
mod proof;

use super::{VERSION, candidate, started};
use crate::api::Api;
use crate::client::{Client, Config};
use crate::service::{Caller, ElectionService};
use ambassador::Ambassador;
use hook::Hook;
use own::Own;
use proof::Watch;
use quorate_core::error::Error;
use quorate_core::runtime::{Failure, Service, Settings, Starting, Status};
use quorate_core::types::{ClusterId, Name, NodeId};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often the cluster is asked how it is.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// An ambassador of the servers in the settings.
///
/// # Errors
/// No or unusable server addresses, a token file that cannot be read, an application that is not there.
pub async fn sidecar(starting: Starting) -> Result<Service, Failure> {
    let settings = &starting.settings;
    if settings.servers.0.is_empty() {
        return Err(Failure::config(
            "servers is required: set QUORATE_SERVERS (--servers) to the API addresses of the cluster, host:port,host:port",
        ));
    }
    let token = match &settings.servers_token_file {
        None => None,
        Some(path) => Some(read_token(path).await?),
    };
    let config = Config {
        servers: settings.servers.0.iter().map(ToString::to_string).collect(),
        token,
        tls: settings.upstream(),
    };
    let client = Client::new(&config).map_err(|error| Failure::config(error.detail))?;
    let candidate = candidate(&starting)?;
    let election = election(settings)?;
    let (status, seen) = watch::channel(Status::default());
    let watching = client.clone();
    let drain = starting.drain.clone();
    // The status outlives the drain: the container takes a dropped sender for a dead service.
    tokio::spawn(async move { look(&watching, &status, &drain).await });

    let proof = Watch::start(settings)?;
    let ambassador = Ambassador::new(Arc::new(client), proof);
    let hook = Hook::new(settings)?;
    let api = Api::new(
        Arc::clone(&ambassador) as Arc<dyn ElectionService>,
        "sidecar",
        VERSION,
        starting.drain.clone(),
    )
    .with_local(Arc::clone(&ambassador) as Arc<dyn crate::api::Local>)
    .with_candidate(candidate.clone());
    // The drain ends the standing for election; the ambassador's own end comes after it.
    let background = CancellationToken::new();
    tokio::spawn(
        background
            .clone()
            .run_until_cancelled_owned(Arc::clone(&ambassador).keep()),
    );
    tokio::spawn(
        background
            .clone()
            .run_until_cancelled_owned(Arc::clone(&ambassador).listen()),
    );
    let mut router = api.router()?;
    if let Some(election) = election {
        let Some(candidate) = candidate else {
            return Err(Failure::config(
                "candidate_id is required with election: set QUORATE_CANDIDATE_ID (--candidate-id) to the application's name",
            ));
        };
        router = router.merge(compat::router(&api, &election));
        if settings.compat_4040.0 {
            compat::listen(settings, &api, &election, &starting.drain).await?;
        }
        let own = Own {
            ambassador: Arc::clone(&ambassador),
            hook: hook.clone(),
            election,
            candidate,
            ttl_ms: settings.session_ttl_ms.0,
        };
        tokio::spawn(own.stand(starting.drain.clone()));
    } else if settings.compat_4040.0 {
        return Err(Failure::config(
            "compat_4040 answers for one election: set QUORATE_ELECTION (--election) to its name",
        ));
    }
    let stop = Box::pin(async move {
        ambassador.stop(&hook).await;
        background.cancel();
    });
    Ok(started(router, seen, stop))
}

fn election(settings: &Settings) -> Result<Option<Name>, Failure> {
    let name = settings.election.as_deref();
    let named = name
        .map(|name| Name::new(name).map_err(Error::from))
        .transpose();
    named.map_err(|error| Failure::config(format!("election: {}", error.detail)))
}

async fn read_token(path: &std::path::Path) -> Result<String, Failure> {
    let unreadable = |why: &dyn std::fmt::Display| {
        Failure::config(format!(
            "servers_token_file {} cannot be used: {why}",
            path.display()
        ))
    };
    let text = tokio::fs::read_to_string(path)
        .await
        .map_err(|error| unreadable(&error))?;
    let token = text
        .lines()
        .next()
        .map(str::trim)
        .filter(|token| !token.is_empty());
    token
        .map(str::to_owned)
        .ok_or_else(|| unreadable(&"it is empty; its first line is the token"))
}

/// Readiness of an ambassador is that of its cluster: it never depends on the application.
async fn look(client: &Client, status: &watch::Sender<Status>, drain: &CancellationToken) {
    let caller = Caller {
        timeout: Duration::from_secs(2),
        ..Caller::default()
    };
    while !status.is_closed() {
        let next = match client.cluster().await {
            Ok(info) => Status {
                ready: info.ready,
                reason: info.reason,
                cluster_id: u128::from_str_radix(&info.cluster_id, 16)
                    .ok()
                    .map(ClusterId),
                node_id: None,
                leader: info.leader.map(NodeId),
            },
            Err(error) => Status {
                ready: false,
                reason: error.to_string(),
                ..Status::default()
            },
        };
        status.send_if_modified(|now| {
            let changed = *now != next;
            if changed {
                *now = next;
            }
            changed
        });
        tokio::time::sleep(if drain.is_cancelled() {
            caller.timeout
        } else {
            LOOK_EVERY
        })
        .await;
    }
}
