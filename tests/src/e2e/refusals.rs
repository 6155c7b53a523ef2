//! Strangers on the peer port.

use super::Images;
use super::cluster::{Cluster, Options};
use super::docker::{docker, logs};
use crate::load::Load;
use anyhow::{Context as _, ensure};
use quorate_core::tls::certs::{Authority, Issued};
use quorate_core::types::{Name, NodeId};
use std::path::Path;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// The node that is played by strangers.
const PLAYED: u64 = 3;

pub(super) async fn strangers(images: Images) -> anyhow::Result<String> {
    let cluster =
        Cluster::start("quorate-e2e-peers", images.work_queue(), Options::default()).await?;
    let load = Load::start(cluster.queue()?, 4)?;
    docker(&["rm", "--force", &cluster.container(PLAYED)])?;
    let name = |text: &str| Name::new(text).map_err(|error| anyhow::anyhow!(error));

    let other = Authority::create(&name("other")?)?;
    let issued = other.peer_of(&name("e2e")?, NodeId(PLAYED), 2)?;
    // It trusts the cluster's authority, so that the cluster is the one who refuses.
    let ca = cluster.authority().issued().cert;
    refused(&cluster, "wrong-ca", Some((&issued, &ca)), "UnknownIssuer").await?;

    let issued = cluster
        .authority()
        .peer_of(&name("orders")?, NodeId(PLAYED), 2)?;
    let ca = cluster.authority().issued().cert;
    refused(
        &cluster,
        "wrong-cluster",
        Some((&issued, &ca)),
        "belongs to the cluster e2e",
    )
    .await?;

    refused(&cluster, "plain-text", None, "no TLS").await?;
    let outcome = load.finish(PATIENCE, 3).await?;
    ensure!(outcome.is_good(), "{outcome}");
    Ok(outcome.to_string())
}

/// Plays node 3 with these certificates and an empty volume, until another node has said why it refuses.
async fn refused(
    cluster: &Cluster,
    what: &str,
    tls: Option<(&Issued, &str)>,
    reason: &str,
) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    cluster.run().volume(what, None)?;
    let secrets = tempfile::tempdir()?;
    std::fs::set_permissions(secrets.path(), std::fs::Permissions::from_mode(0o755))?;
    let file = |name: &str| format!("/run/quorate/tls/{name}");
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let mut env = vec![
        pair("QUORATE_NODE_ID", &PLAYED.to_string()),
        pair("QUORATE_PEERS", "1=node-1:7272,2=node-2:7272,3=node-3:7272"),
        pair("QUORATE_PEER_LISTEN", "0.0.0.0:7272"),
    ];
    match tls {
        None => env.push(pair("QUORATE_INSECURE_PEERS", "1")),
        Some((issued, ca)) => {
            write(secrets.path(), "node.crt", &issued.cert)?;
            write(secrets.path(), "node.key", &issued.key)?;
            write(secrets.path(), "ca.crt", ca)?;
            env.push(pair("QUORATE_PEER_TLS_CERT", &file("node.crt")));
            env.push(pair("QUORATE_PEER_TLS_KEY", &file("node.key")));
            env.push(pair("QUORATE_PEER_TLS_CA", &file("ca.crt")));
        }
    }
    let since = told(cluster)?.map(|log| log.lines().count());
    cluster.create_with(PLAYED, &env, what, secrets.path())?;
    let end = Instant::now() + PATIENCE;
    loop {
        let now = told(cluster)?;
        let said = now.iter().zip(since).any(|(log, since)| {
            log.lines().skip(since).any(|line| {
                line.contains("refused a connection on the peer port") && line.contains(reason)
            })
        });
        if said {
            break;
        }
        ensure!(
            Instant::now() < end,
            "{what}: no node says {reason:?}; the end of what they say: {}",
            now.iter()
                .flat_map(|log| log.lines().rev().take(5))
                .collect::<Vec<_>>()
                .join("\n")
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    ensure!(
        !cluster.is_ready(PLAYED).await,
        "{what}: the stranger got in"
    );
    let stranger = logs(&cluster.container(PLAYED))?;
    ensure!(
        !stranger.contains("the cluster is formed"),
        "{what}: the stranger takes itself for a member:\n{stranger}"
    );
    docker(&["rm", "--force", &cluster.container(PLAYED)]).context("removing the stranger")?;
    Ok(())
}

/// What the true nodes have logged.
fn told(cluster: &Cluster) -> anyhow::Result<[String; 2]> {
    Ok([logs(&cluster.container(1))?, logs(&cluster.container(2))?])
}

fn write(dir: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    Ok(std::fs::write(dir.join(name), text)?)
}
