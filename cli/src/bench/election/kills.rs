//! What a kill of the coordinator's leader costs applications and callers.

use super::*;
use quorate_leader_election::machine::Settings;

/// Leaderships that are held meanwhile, and their leases.
const HELD: usize = 20;
const HELD_TTL: Duration = Duration::from_secs(2);

/// Kills the coordinator's leader while leaderships are held and writes go on.
pub(super) async fn kills(nodes: &mut Nodes, servers: &str, kills: u32) -> Outcome<(Summary, u64)> {
    let mut latency = Latency::default();
    if kills == 0 {
        return Ok((latency.summary(), 0));
    }
    let application = Election::connect(servers)?.ttl(HELD_TTL);
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
        tokio::time::sleep(HELD_TTL).await;
        nodes.restart(leader)?;
    }
    let lost = guards.iter().filter(|guard| !guard.is_leader()).count();
    application.close().await;
    Ok((latency.summary(), lost as u64))
}
