//! Starting and stopping a node: the data directory, the peer listener, forming the cluster, the
//! threads and tasks.

use super::config::{Config, OnFatal, StartError};
use super::disk::{self, SharedSnapshots, SnapshotStore};
use super::driver::{Driver, Letter};
use super::forming;
use super::handle::{Node, Owner, REQUESTS_MAX, Shared};
use super::incoming;
use super::mailbox::Mailbox;
use super::peers::{self, Links, Outgoing, OutgoingEnds, PeerServer, Peers, Standing};
use super::requests::Waiters;
use super::status::{NodeState, NodeStatus};
use crate::clock;
use crate::log::{self, Disk, Identity, Log, RealDisk, SimDisk};
use crate::machine::Machine;
use crate::replica::{Boot, Input, Member, Replica};
use crate::tls::peer::PeerTls;
use crate::types::{ClusterId, DiskId, GroupId, NodeId};
use quorate_proto::peer::peer_server;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Items that wait for the driver: all requests, and as many messages of peers.
const MAILBOX_MAX: usize = 2 * REQUESTS_MAX;

/// Events a slow observer may be behind before it misses some.
const EVENTS_MAX: usize = 4096;

/// How long a node that led goes on answering: at least until its peers know the new leader, at most so
/// long.
const LAST_ANSWERS_MIN: Duration = Duration::from_millis(100);
const LAST_ANSWERS_MAX: Duration = Duration::from_secs(1);

/// How long a graceful stop tries to hand leadership over.
const HANDOVER_MAX: Duration = Duration::from_millis(500);

/// How long a stop waits for the tasks of the network. They end at once unless the machine is out of breath.
const TASKS_MAX: Duration = Duration::from_secs(2);

impl<M: Machine> Node<M> {
    /// Starts a node on the current tokio runtime. Returns once its data directory is verified and its
    /// peer port is bound; how it gets on is in [`Node::status`].
    ///
    /// # Errors
    /// A configuration that contradicts itself, a port in use, a data directory that was refused.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        config.check()?;
        match config.data_dir.clone() {
            Some(dir) => {
                let disk = tokio::task::spawn_blocking(move || RealDisk::open(&dir))
                    .await
                    .map_err(|error| StartError::Thread(std::io::Error::other(error)))??;
                start_on(config, disk).await
            }
            None => start_on(config, SimDisk::new()).await,
        }
    }

    /// Stops the node: hands leadership over, answers nothing more, closes the log in order.
    pub async fn shutdown(&self) {
        self.hand_over().await;
        let shared = Arc::clone(&self.shared);
        shared.stop();
        let threads = {
            let mut threads = shared
                .threads
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            std::mem::take(&mut *threads)
        };
        // The driver ends first and closes the mailboxes of the others.
        let _ = tokio::task::spawn_blocking(move || {
            for thread in threads {
                let _ = thread.join();
            }
        })
        .await;
        // The directory and the peer port are free for the next start.
        shared.tasks.close();
        if tokio::time::timeout(TASKS_MAX, shared.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("connections of peers are still open");
        }
        shared.status.send_modify(|status| {
            status.state = NodeState::Stopped;
            status.ready = false;
            status.leader = None;
            status.reason = "stopped".to_owned();
        });
    }

    async fn hand_over(&self) {
        let mut status = self.status();
        let (leads, node) = {
            let now = status.borrow();
            (now.leader == Some(now.node), now.node)
        };
        let Some(to) = self
            .shared
            .peers
            .others()
            .find(|other| *other != node)
            .filter(|_| leads)
        else {
            return;
        };
        self.shared.mailbox.push(Letter::Input(Input::Transfer(to)));
        let _ = tokio::time::timeout(
            HANDOVER_MAX,
            status.wait_for(|status| status.leader != Some(node)),
        )
        .await;
        self.finish_requests().await;
    }

    /// Those whose operations are under way hear the outcome once the new leader has settled it, and
    /// peers that still take this node for the leader hear that it is not, and ask the new one.
    async fn finish_requests(&self) {
        let began = tokio::time::Instant::now();
        let idle = || self.shared.permits.available_permits() == REQUESTS_MAX;
        while began.elapsed() < LAST_ANSWERS_MIN || (!idle() && began.elapsed() < LAST_ANSWERS_MAX)
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn start_on<M: Machine, D: Disk>(config: Config, disk: D) -> Result<Node<M>, StartError> {
    let node = config.node;
    let (identity, log, recovered) = {
        let disk = disk.clone();
        blocking(move || open(&disk, node)).await?
    };
    let tls = match &config.peer_tls {
        Some(files) if config.peers.len() > 1 => {
            let opened = PeerTls::open(files, node);
            Some(Arc::new(
                opened.map_err(|error| StartError::Config(error.to_string()))?,
            ))
        }
        _ => None,
    };
    let links = Links::new(tls.clone());
    let listener = match config.peer_listen {
        Some(address) if config.peers.len() > 1 => Some(
            TcpListener::bind(address)
                .await
                .map_err(|error| StartError::Listen { address, error })?,
        ),
        _ => None,
    };

    let (standing, standing_seen) = watch::channel(Standing {
        cluster: identity.cluster,
        me: Member {
            node,
            disk: identity.disk,
        },
        members: identity.members.clone(),
        initial_peers: config.peers.keys().copied().collect(),
    });
    let others: BTreeMap<NodeId, String> = config
        .peers
        .iter()
        .filter(|(peer, _)| **peer != node)
        .map(|(peer, at)| (*peer, at.clone()))
        .collect();
    let (peers, lines) = Peers::new(&others, &links, &standing_seen).map_err(StartError::Config)?;
    let shared = Arc::new(Shared {
        node,
        mailbox: Arc::new(Mailbox::new(MAILBOX_MAX)),
        peers,
        status: watch::channel(NodeStatus::forming(node)).0,
        events: broadcast::channel(EVENTS_MAX).0,
        permits: Semaphore::new(REQUESTS_MAX),
        request_last: AtomicU64::new(0),
        stopping: CancellationToken::new(),
        threads: std::sync::Mutex::default(),
        tasks: TaskTracker::new(),
    });
    // Stops what was started when starting fails.
    let owner = Arc::new(Owner(Arc::clone(&shared)));
    for line in lines {
        shared.spawn(line.run());
    }
    let handle = Node {
        shared: Arc::clone(&shared),
        owner: None,
    };
    let snapshots: SharedSnapshots = Arc::new(SnapshotStore(disk.clone()));
    if let Some(listener) = listener {
        serve_peers(
            &handle,
            listener,
            tls,
            standing_seen.clone(),
            Arc::clone(&snapshots),
        );
    }

    let opened = Opened {
        config,
        disk,
        identity,
        log,
        recovered,
        others,
        links,
        snapshots,
    };
    if opened.identity.cluster.is_some() {
        run(&handle, opened, &standing).await?;
    } else if opened.others.is_empty() {
        let formed = forming::Formed {
            cluster: ClusterId(rand::random()),
            members: vec![standing.borrow().me],
        };
        let opened = adopt(opened, &standing, formed).await?;
        run(&handle, opened, &standing).await?;
    } else {
        let forming = handle.clone();
        shared.spawn(async move {
            if let Err(reason) = form_and_run(&forming, opened, standing).await {
                fail(&forming.shared, &reason);
            }
        });
    }
    Ok(Node {
        shared,
        owner: Some(owner),
    })
}

/// What a node has in hand before its replica runs.
struct Opened<D: Disk> {
    config: Config,
    disk: D,
    identity: Identity,
    log: Log<D>,
    recovered: log::Recovered,
    others: BTreeMap<NodeId, String>,
    links: Links,
    snapshots: SharedSnapshots,
}

fn open<D: Disk>(disk: &D, node: NodeId) -> Result<(Identity, Log<D>, log::Recovered), StartError> {
    let identity = match Identity::load(disk, node)? {
        Some(identity) => identity,
        None => Identity::format(disk, node, DiskId(rand::random()))?,
    };
    let (log, recovered) = Log::open(disk.clone(), &identity, log::Options::default())?;
    match recovered.tail {
        log::Tail::Closed | log::Tail::Open => {}
        log::Tail::Cut { bytes } => tracing::warn!(
            bytes,
            "cut a torn write off the end of the log, as an interrupted write leaves it"
        ),
        log::Tail::Damaged { bytes } => tracing::error!(
            bytes,
            "cut a damaged write off the end of the log: no interrupted write looks so. Check this disk"
        ),
    }
    if recovered.doubt {
        tracing::warn!(
            "acknowledged entries may be missing at the end of the log: this node votes only with all others \
             heard, until it has caught up with a leader"
        );
    }
    Ok((identity, log, recovered))
}

async fn form_and_run<M: Machine, D: Disk>(
    node: &Node<M>,
    opened: Opened<D>,
    standing: watch::Sender<Standing>,
) -> Result<(), String> {
    let status = &node.shared.status;
    let formed = forming::form(
        &standing.subscribe(),
        &opened.others,
        &opened.links,
        |reason| {
            status.send_modify(|status| status.reason = reason.to_owned());
        },
    )
    .await?;
    tracing::info!(cluster = %formed.cluster, members = formed.members.len(), "the cluster is formed");
    let opened = adopt(opened, &standing, formed)
        .await
        .map_err(|error| error.to_string())?;
    run(node, opened, &standing)
        .await
        .map_err(|error| error.to_string())
}

/// Makes the first configuration durable on this node, then known to its peers.
async fn adopt<D: Disk>(
    mut opened: Opened<D>,
    standing: &watch::Sender<Standing>,
    formed: forming::Formed,
) -> Result<Opened<D>, StartError> {
    let (cluster, members) = (formed.cluster, formed.members.clone());
    let opened = blocking(move || {
        opened
            .identity
            .set_cluster(&opened.disk, cluster, members)?;
        Ok(opened)
    })
    .await?;
    standing.send_modify(|standing| {
        standing.cluster = Some(formed.cluster);
        standing.members = formed.members;
    });
    Ok(opened)
}

/// Starts the replica and everything that carries for it.
async fn run<M: Machine, D: Disk>(
    node: &Node<M>,
    opened: Opened<D>,
    standing: &watch::Sender<Standing>,
) -> Result<(), StartError> {
    let Opened {
        config,
        disk,
        identity,
        log,
        recovered,
        others,
        links,
        snapshots,
    } = opened;
    let shared = &node.shared;
    let cluster = identity.cluster.unwrap_or(ClusterId(0));
    shared.status.send_modify(|status| {
        status.cluster = identity.cluster;
        status.state = NodeState::Running;
        "looking for a leader".clone_into(&mut status.reason);
    });

    let replica_config = crate::replica::Config {
        tick: config.tick,
        ..crate::replica::Config::new(
            config.node,
            GroupId(0),
            cluster,
            rand::random(),
            rand::random(),
        )
    };
    let replica = {
        let disk = disk.clone();
        let members = identity.members.clone();
        blocking(move || {
            let slices = match &recovered.snapshot {
                Some(meta) => disk::read_all(&disk, meta)?,
                None => Vec::new(),
            };
            let boot = Boot {
                voters: members,
                learners: Vec::new(),
                hard_state: recovered.hard_state,
                entries: recovered.entries,
                snapshot: recovered.snapshot,
                slices,
                doubt: recovered.doubt,
            };
            Replica::<M>::new(replica_config, boot, clock::now())
                .map_err(|error| StartError::Config(error.to_string()))
        })
        .await?
    };

    let (outgoing, ends) = Outgoing::new(others.keys().copied());
    let ways = Ways {
        others: &others,
        links: &links,
    };
    spawn_senders(node, ends, &ways, standing, Arc::clone(&snapshots));
    let (completions, mut completed) =
        mpsc::unbounded_channel::<Vec<super::requests::Completion<M>>>();
    tokio::spawn(async move {
        while let Some(batch) = completed.recv().await {
            for completion in batch {
                completion.deliver();
            }
        }
    });

    let log_jobs = Arc::new(Mailbox::new(usize::MAX));
    let snapshot_jobs = Arc::new(Mailbox::new(usize::MAX));
    let driver = Driver {
        replica,
        mailbox: Arc::clone(&shared.mailbox),
        disk: Arc::clone(&log_jobs),
        snapshots: Arc::clone(&snapshot_jobs),
        outgoing,
        completions,
        events: shared.events.clone(),
        status: shared.status.clone(),
        tick: config.tick,
        waiters: Waiters::default(),
        on_fatal: on_fatal(shared, config.on_fatal),
    };
    let mut threads = shared
        .threads
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let (jobs, to_close, mailbox) = (
        Arc::clone(&log_jobs),
        Arc::clone(&snapshot_jobs),
        Arc::clone(&shared.mailbox),
    );
    threads.push(disk::spawn("quorate-driver", move || {
        driver.run();
        mailbox.close();
        jobs.close();
        to_close.close();
    })?);
    let mailbox = Arc::clone(&shared.mailbox);
    threads.push(disk::spawn("quorate-log", move || {
        disk::run_log(log, &log_jobs, &mailbox);
    })?);
    let mailbox = Arc::clone(&shared.mailbox);
    threads.push(disk::spawn("quorate-snapshots", move || {
        disk::run_snapshots(&disk, &snapshot_jobs, &mailbox);
    })?);
    Ok(())
}

/// The way to every other node.
struct Ways<'a> {
    others: &'a BTreeMap<NodeId, String>,
    links: &'a Links,
}

fn spawn_senders<M: Machine>(
    node: &Node<M>,
    ends: OutgoingEnds,
    ways: &Ways<'_>,
    standing: &watch::Sender<Standing>,
    snapshots: SharedSnapshots,
) {
    let (queues, orders) = ends;
    for (peer, queue) in queues {
        let Some(address) = ways.others.get(&peer).cloned() else {
            continue;
        };
        let mailbox = Arc::clone(&node.shared.mailbox);
        let sender = peers::send_messages(
            peer,
            address,
            ways.links.clone(),
            queue,
            standing.subscribe(),
            move || {
                // Full: the next failure says it again.
                let _ = mailbox.offer(Letter::Input(Input::Unreachable(peer)));
            },
        );
        node.shared.spawn(sender);
    }
    let mailbox = Arc::clone(&node.shared.mailbox);
    let sender = peers::send_snapshots(
        ways.others.clone(),
        ways.links.clone(),
        orders,
        standing.subscribe(),
        snapshots,
        move |to, ok| {
            mailbox.push(Letter::Input(Input::SnapshotSent { to, ok }));
        },
    );
    node.shared.spawn(sender);
}

fn serve_peers<M: Machine>(
    node: &Node<M>,
    listener: TcpListener,
    tls: Option<Arc<PeerTls>>,
    standing: watch::Receiver<Standing>,
    snapshots: SharedSnapshots,
) {
    let service = peer_server::PeerServer::new(PeerServer::new(node.clone(), standing, snapshots))
        .max_decoding_message_size(peers::MESSAGE_BYTES_MAX)
        .max_encoding_message_size(peers::MESSAGE_BYTES_MAX);
    let stopping = node.shared.stopping.clone();
    let server = tonic::transport::Server::builder()
        .initial_stream_window_size(peers::WINDOW_BYTES)
        .initial_connection_window_size(peers::WINDOW_BYTES)
        .max_concurrent_streams(peers::STREAMS_MAX)
        .http2_keepalive_interval(Some(Duration::from_secs(5)))
        .serve_with_incoming_shutdown(
            service,
            incoming::connections(listener, tls, &node.shared.tasks),
            stopping.cancelled_owned(),
        );
    node.shared.tasks.spawn(async move {
        if let Err(error) = server.await {
            tracing::error!(%error, "the peer listener ended");
        }
    });
}

fn fail<M: Machine>(shared: &Shared<M>, reason: &str) {
    tracing::error!(reason, "this node cannot go on");
    shared.status.send_modify(|status| {
        status.state = NodeState::Failed;
        status.ready = false;
        status.leader = None;
        reason.clone_into(&mut status.reason);
    });
}

/// What the driver does when it must not go on.
fn on_fatal<M: Machine>(shared: &Arc<Shared<M>>, action: OnFatal) -> Box<dyn Fn(&str) + Send> {
    // Weak, because the driver must not keep the node alive that owns its thread.
    let shared = Arc::downgrade(shared);
    Box::new(move |reason| {
        if let Some(shared) = shared.upgrade() {
            fail(&shared, reason);
        }
        if action == OnFatal::Abort {
            // Logs may be buffered or off; the reason must be seen.
            use std::io::Write as _;
            let _ = writeln!(
                std::io::stderr(),
                "quorate: this node must not go on: {reason}"
            );
            std::process::abort();
        }
    })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StartError> + Send + 'static,
) -> Result<T, StartError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| StartError::Thread(std::io::Error::other(error)))?
}
