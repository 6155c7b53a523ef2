//! The contract of the old Kubernetes leader-elector sidecar: `GET /` answers `{"name": …}`.

use crate::api::Api;
use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use quorate_core::runtime::front::Front;
use quorate_core::runtime::guard::Guard;
use quorate_core::runtime::serve::{Limits, Server};
use quorate_core::runtime::{Failure, Settings, listen};
use quorate_core::types::Name;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Where the old sidecar listened.
const PORT: u16 = 4040;
/// Applications that poll it.
const CONNECTIONS_MAX: usize = 64;

/// The route `/` for one election.
pub(super) fn router(api: &Api, election: &Name) -> Router {
    Router::new()
        .route("/", get(named))
        .with_state((api.clone(), election.clone()))
}

async fn named(State((api, election)): State<(Api, Name)>) -> Json<crate::api::rest::Named> {
    Json(api.named(election).await)
}

/// The same on 127.0.0.1:4040.
pub(super) async fn listen(
    settings: &Settings,
    api: &Api,
    election: &Name,
    drain: &CancellationToken,
) -> Result<(), Failure> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
    let listener = listen::bind("compat_4040", address)?;
    let listener = tokio::net::TcpListener::from_std(listener)
        .map_err(|error| Failure::unavailable(format!("compat_4040: {error}")))?;
    let guard = Guard::ops(address, settings);
    let front = Arc::new(Front::opened(guard, router(api, election)));
    let limits = Limits {
        connections: CONNECTIONS_MAX,
        ..Limits::default()
    };
    let server = Server::plain(front, limits, drain, "compat");
    tokio::spawn(server.run(listener));
    Ok(())
}
