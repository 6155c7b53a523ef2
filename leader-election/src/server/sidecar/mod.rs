//! The role `sidecar`: the ambassador of a remote cluster beside one application.
//!
//! The application sees one server on localhost; finding the leader, keeping connections and retrying is
//! this container's business. It also speaks for the application: it renews the sessions opened through
//! it while it has [`proof`] that the application lives, ends them at once when it sees the application's
//! process exit, has leaderships revoked when the application's health check fails, and asks it to
//! [drain](hook) before leadership is handed over. With `--election` it stands for that election itself.

mod ambassador;
mod compat;
mod held;
mod hook;
mod http;
mod own;
mod proof;
#[cfg(test)]
mod tests;

use super::{VERSION, candidate, started};
use crate::api::Api;
use crate::client::Client;
use crate::service::ElectionService;
use ambassador::Ambassador;
use hook::Hook;
use own::Own;
use proof::Watch;
use quorate_core::error::Error;
use quorate_core::runtime::{Failure, Service, Settings, Starting, remote};
use quorate_core::types::Name;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// An ambassador of the servers in the settings.
///
/// # Errors
/// No or unusable server addresses, a token file that cannot be read, an application that is not there.
pub async fn sidecar(starting: Starting) -> Result<Service, Failure> {
    let settings = &starting.settings;
    let client = Client::new(&settings.cluster()?);
    let client = client.map_err(|error| Failure::config(error.detail))?;
    let candidate = candidate(&starting)?;
    let election = election(settings)?;
    let asked = client.clone();
    let cluster = move || {
        let client = asked.clone();
        async move { client.cluster().await }
    };
    let status = remote::status(cluster, starting.drain.clone());

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
    Ok(started(router, status, stop))
}

fn election(settings: &Settings) -> Result<Option<Name>, Failure> {
    let name = settings.election.as_deref();
    let named = name
        .map(|name| Name::new(name).map_err(Error::from))
        .transpose();
    named.map_err(|error| Failure::config(format!("election: {}", error.detail)))
}
