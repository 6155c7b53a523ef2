//! The role `serve`: a root or an inner node.

use crate::api::Api;
use crate::api::grpc::SERVICE;
use crate::definition::load;
use crate::pool::{Admission, AdmissionCaps, Hosts};
use crate::root::{Root, apply, watch};
use http::HeaderValue;
use quorate_core::runtime::{Failure, Service, Starting, Status};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::watch as channel;

/// A root with the definitions of `QUORATE_FANOUTS_FILE`, which it follows, and those of its API.
///
/// # Errors
/// A file that cannot be used.
pub async fn root(starting: Starting) -> Result<Service, Failure> {
    let settings = &starting.settings;
    let credential = match &settings.servers_token_file {
        None => None,
        Some(path) => Some(credential(path).await?),
    };
    let admission = Admission::new(AdmissionCaps::default());
    let hosts = match settings.upstream() {
        None => Hosts::new(admission),
        Some(upstream) => Hosts::secured(admission, &upstream)
            .map_err(|error| Failure::config(error.to_string()))?,
    };
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

/// What leaves are shown: the token in the first line of a file.
async fn credential(path: &Path) -> Result<HeaderValue, Failure> {
    let unusable = |why: &dyn std::fmt::Display| {
        Failure::config(format!(
            "servers_token_file {} cannot be used: {why}",
            path.display()
        ))
    };
    let text = tokio::fs::read_to_string(path)
        .await
        .map_err(|error| unusable(&error))?;
    let token = text.lines().next().unwrap_or_default().trim();
    if token.is_empty() {
        return Err(unusable(&"it is empty; its first line is the token"));
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| unusable(&"the token has characters that no header has"))?;
    value.set_sensitive(true);
    Ok(value)
}
