//! The coordinator's leader killed, on etcd and on Quorate, alternating in one run on one machine: how long
//! until the first write is acknowledged again.
//!
//! The peer is Debian's `etcd-server` as three processes with its defaults (heartbeat 100 ms, election
//! 1000 ms), written to through its HTTP gateway at both survivors at once, the first success counting.

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use clap::Parser;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use quorate_cli::measure::{Latency, Server, Summary, TempDir, free_ports, temp_dir, told_to_stop};
use serde_json::{Value, json};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

const NODES: usize = 3;
/// For anything that must happen.
const PATIENCE: Duration = Duration::from_secs(30);
/// One try of a write; a server without a leader holds it for longer than that.
const TRY_MAX: Duration = Duration::from_millis(200);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(5);
/// After a restart, before the next kill.
const SETTLE: Duration = Duration::from_secs(1);

/// Kills of the leader of three etcd processes, and of Quorate's beside it.
#[derive(Debug, Parser)]
#[command(
    after_help = "Example:\n  bench_etcd --quorate target/release/quorate --kills 5 --rounds 2"
)]
struct Args {
    /// Also run this `quorate bench election` with as many kills.
    #[arg(long, value_name = "PROGRAM")]
    quorate: Option<PathBuf>,
    /// Kills of a round.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    kills: u32,
    /// Alternating rounds.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// The peer's server.
    #[arg(long, value_name = "PROGRAM", default_value = "etcd")]
    etcd: PathBuf,
    /// Where the servers keep their data; the system's directory for temporary files by default.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut rows = Vec::new();
    for round in 1..=args.rounds {
        eprintln!("round {round} of {}: etcd", args.rounds);
        let etcd = runtime.block_on(async {
            tokio::select! {
                latency = kills(&args) => latency,
                _ = told_to_stop() => bail!("interrupted"),
            }
        })?;
        rows.push(("etcd", etcd));
        if let Some(program) = &args.quorate {
            eprintln!("round {round} of {}: quorate", args.rounds);
            rows.push(("quorate", quorate(program, &args)?));
        }
    }
    let mut text = format!(
        "{:<28} {:>7} {:>9} {:>9} {:>9}\n",
        "leader killed, first write", "kills", "p50 ms", "p99 ms", "max ms"
    );
    for (system, summary) in rows {
        text += &format!(
            "{system:<28} {:>7} {:>9.1} {:>9.1} {:>9.1}\n",
            summary.count, summary.p50_ms, summary.p99_ms, summary.max_ms
        );
    }
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

/// The same kills by `quorate bench election`, which does nothing else here.
fn quorate(program: &Path, args: &Args) -> Result<Summary> {
    let mut command = std::process::Command::new(program);
    command.args(["bench", "election", "-o", "json", "--kills"]);
    command.arg(args.kills.to_string());
    for none in [
        "--hand-overs",
        "--exits",
        "--deaths",
        "--sessions",
        "--reassign",
        "--watchers",
        "--carried-sessions",
    ] {
        command.args([none, "0"]);
    }
    if let Some(dir) = &args.data_dir {
        command.arg("--data-dir").arg(dir);
    }
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {}", program.display()))?;
    if !output.status.success() {
        bail!("{command:?} ended with {}", output.status);
    }
    let report: Value = serde_json::from_slice(&output.stdout)?;
    serde_json::from_value(report["coordinator_killed"].clone())
        .context("its report is not one of this version")
}

/// Three etcd processes; dropped, they and their data are gone.
struct Cluster {
    // Fields drop in this order: the processes end before their directory goes.
    servers: Vec<Server>,
    clients: Vec<SocketAddr>,
    _data: TempDir,
}

impl Cluster {
    fn start(program: &Path, base: Option<&Path>) -> Result<Self> {
        let data = temp_dir(base, "bench-etcd-")?;
        let ports = free_ports(2 * NODES)?;
        let (clients, peers) = ports.split_at(NODES);
        let name = |node: usize| format!("etcd-{}", node + 1);
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let all: Vec<String> = (0..NODES)
            .map(|node| format!("{}={}", name(node), url(peers[node])))
            .collect();
        let mut servers = Vec::new();
        for node in 0..NODES {
            let name = name(node);
            let args = [
                ("--name", name.clone()),
                (
                    "--data-dir",
                    data.path().join(&name).to_string_lossy().into_owned(),
                ),
                ("--listen-client-urls", url(clients[node])),
                ("--advertise-client-urls", url(clients[node])),
                ("--listen-peer-urls", url(peers[node])),
                ("--initial-advertise-peer-urls", url(peers[node])),
                ("--initial-cluster", all.join(",")),
                ("--initial-cluster-state", "new".to_owned()),
            ];
            let args = args
                .into_iter()
                .flat_map(|(flag, value)| [flag.to_owned(), value]);
            let log = data.path().join(format!("{name}.log"));
            servers.push(Server::start(&name, program, args.collect(), vec![], log)?);
        }
        let local = |port: &u16| SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
        Ok(Self {
            servers,
            clients: clients.iter().map(local).collect(),
            _data: data,
        })
    }

    /// The index of the leader, by its own word.
    async fn leader(&mut self) -> Result<usize> {
        let nothing = json!({});
        let end = Instant::now() + PATIENCE;
        loop {
            for (index, address) in self.clients.iter().enumerate() {
                let asked = post(*address, "/v3/maintenance/status", &nothing);
                if let Ok(Ok(status)) = tokio::time::timeout(TRY_MAX, asked).await
                    && status["leader"].is_string()
                    && status["leader"] == status["header"]["member_id"]
                {
                    return Ok(index);
                }
            }
            for server in &mut self.servers {
                server.check()?;
            }
            if Instant::now() > end {
                bail!("no leader of etcd:\n{}", self.servers[0].log_tail());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn kills(args: &Args) -> Result<Summary> {
    let mut cluster = Cluster::start(&args.etcd, args.data_dir.as_deref())
        .context("etcd is in Debian's package etcd-server: apt-get install etcd-server")?;
    let mut latency = Latency::default();
    for _ in 0..args.kills {
        cluster.leader().await?;
        // Everyone is there, and has been for a while.
        for address in cluster.clients.clone() {
            written(address).await?;
        }
        tokio::time::sleep(SETTLE).await;
        let leader = cluster.leader().await?;
        cluster.servers[leader].kill()?;
        let killed = Instant::now();
        let mut survivors = cluster.clients.clone();
        survivors.remove(leader);
        tokio::select! {
            done = written(survivors[0]) => done?,
            done = written(survivors[1]) => done?,
        }
        latency.record(killed.elapsed());
        cluster.servers[leader].restart()?;
    }
    Ok(latency.summary())
}

/// Writes until it is acknowledged.
async fn written(address: SocketAddr) -> Result<()> {
    let probe = json!({"key": "cHJvYmU=", "value": "eA=="});
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        let put = post(address, "/v3/kv/put", &probe);
        if let Ok(Ok(answer)) = tokio::time::timeout(TRY_MAX, put).await
            && answer["header"]["revision"].is_string()
        {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
    bail!("no write at {address} within {PATIENCE:?}")
}

async fn post(address: SocketAddr, path: &str, body: &Value) -> Result<Value> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = hyper::Request::post(path)
        .header("host", address.to_string())
        .body(Full::new(Bytes::from(body.to_string())))?;
    let response = sender.send_request(request).await?;
    let bytes = response.into_body().collect().await?.to_bytes();
    connection.abort();
    Ok(serde_json::from_slice(&bytes)?)
}
