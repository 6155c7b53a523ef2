//! The role `serve`: a root or an inner node.

use crate::api::Api;
use crate::api::grpc::SERVICE;
use crate::definition::load;
use crate::root::{Root, apply, watch};
use crate::server::upstream;
use quorate_core::runtime::{Failure, Service, Starting, Status};
use std::sync::Arc;
use tokio::sync::watch as channel;

/// A root with the definitions of `QUORATE_FANOUTS_FILE`, which it follows, and those of its API.
///
/// # Errors
/// A file that cannot be used.
pub async fn root(starting: Starting) -> Result<Service, Failure> {
    let settings = &starting.settings;
    let credential = upstream::credential(settings)?;
    let hosts = upstream::hosts(settings, None)?;
    let root = Root::over(hosts, credential);
    let (problem, mut problems) = channel::channel(String::new());
    if let Some(path) = settings.fanouts_file.clone() {
        let reading = path.clone();
        let loaded = tokio::task::spawn_blocking(move || load(&reading)).await;
        let loaded = loaded.map_err(|error| Failure::unavailable(error.to_string()))?;
        let loaded = loaded.map_err(|error| Failure::config(format!("fanouts_file {error}")))?;
        apply(&root, &loaded)
            .map_err(|why| Failure::config(format!("fanouts_file {}: {why}", path.display())))?;
        tracing::info!(path = %path.display(), fanouts = loaded.fanouts.len(), "definitions are in force");
        tokio::spawn(watch(Arc::clone(&root), path, loaded.text, problem));
    }
    let definable = settings.fanouts_api.0 || starting.api.ip().is_loopback();
    let api = Api::new(root, definable).router()?;
    let ready = |reason: String| Status {
        ready: true,
        reason,
        ..Status::default()
    };
    let (status, seen) = channel::channel(ready(String::new()));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    tokio::spawn(async move {
        let mut stopped = stopped;
        let mut following = true;
        loop {
            tokio::select! {
                _ = &mut stopped => return,
                changed = problems.changed(), if following => {
                    following = changed.is_ok();
                    let reason = problems.borrow_and_update().clone();
                    status.send_replace(ready(reason));
                }
            }
        }
    });
    Ok(Service {
        api,
        grpc_services: vec![SERVICE.to_owned()],
        status: seen,
        stop: Box::pin(async move { drop(stop) }),
    })
}
