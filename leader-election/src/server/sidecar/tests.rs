//! Proves what becomes of the session of a sidecar that stands by itself when the cluster refuses something,
//! fails at it, or does not say, and of what was told by it.

use super::ambassador::Ambassador;
use super::held::Held;
use super::hook::Hook;
use super::own::Own;
use super::proof::{Life, Watch};
use crate::api::Local as _;
use crate::election::NodeConfig;
use crate::machine::{
    Answer, Campaign, Command, ElectionView, Leadership, Liveness, Phase, Query, Renewal, Renewed,
    Reply, SessionId,
};
use crate::node::ElectionNode;
use crate::service::{Caller, ClusterInfo, ElectionService, Executed, Observation};
use async_trait::async_trait;
use futures::StreamExt as _;
use quorate_core::clock;
use quorate_core::error::{Code, Error};
use quorate_core::lease::Terms;
use quorate_core::node::Node;
use quorate_core::runtime::settings::{Environment, FlagValues};
use quorate_core::runtime::{Pattern, Settings};
use quorate_core::types::{FencingToken, LogTime, Mono, Name};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(60);

fn name(name: &str) -> Name {
    Name::new(name).unwrap()
}

/// A cluster that fails as a test wants it to.
struct Cluster {
    node: ElectionNode,
    /// What the next campaigns are answered.
    failures: Mutex<VecDeque<Code>>,
    /// Every observation breaks when this changes.
    breaks: watch::Sender<()>,
    seen: Mutex<Seen>,
}

/// What it was asked.
#[derive(Default)]
struct Seen {
    opened: u32,
    campaigns: u32,
    closed: Vec<Mono>,
}

#[async_trait]
impl ElectionService for Cluster {
    async fn execute(&self, caller: &Caller, command: Command) -> Result<Executed, Error> {
        let failure = {
            let mut seen = self.seen.lock().unwrap();
            match &command {
                Command::OpenSession { .. } => seen.opened += 1,
                Command::CloseSession { .. } => seen.closed.push(clock::boottime()),
                Command::Campaign(_) => seen.campaigns += 1,
                _ => {}
            }
            let campaign = matches!(command, Command::Campaign(_));
            let mut failures = self.failures.lock().unwrap();
            campaign.then(|| failures.pop_front()).flatten()
        };
        match failure {
            Some(code) => Err(Error::new(code, "on purpose")),
            None => self.node.execute(caller, command).await,
        }
    }

    async fn query(&self, caller: &Caller, query: Query) -> Result<Answer, Error> {
        self.node.query(caller, query).await
    }

    async fn renew(&self, caller: &Caller, renewal: Renewal) -> Result<Renewed, Error> {
        self.node.renew(caller, renewal).await
    }

    async fn observe(
        &self,
        caller: &Caller,
        election: Name,
        after: Option<u64>,
    ) -> Result<Observation, Error> {
        let mut breaks = self.breaks.subscribe();
        let observed = self.node.observe(caller, election, after).await?;
        let broken = async move {
            let _ = breaks.changed().await;
        };
        let error = Error::new(Code::NoQuorum, "on purpose");
        let end = futures::stream::iter([Err(error)]);
        Ok(observed.take_until(Box::pin(broken)).chain(end).boxed())
    }

    async fn cluster(&self) -> Result<ClusterInfo, Error> {
        self.node.cluster().await
    }
}

/// A sidecar that stands for `e` as `one`, and leads.
struct Standing {
    cluster: Arc<Cluster>,
    ambassador: Arc<Ambassador>,
    proof: Arc<Watch>,
    stop: CancellationToken,
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Standing {
    async fn start(ttl_ms: u64) -> Self {
        let node = Node::start(NodeConfig::in_memory()).await.unwrap();
        let cluster = Arc::new(Cluster {
            node: ElectionNode::new(node),
            failures: Mutex::default(),
            breaks: watch::Sender::new(()),
            seen: Mutex::default(),
        });
        let none = (FlagValues::none(), Environment::of([]));
        let settings = Settings::load_from(Pattern::LeaderElection, &none.0, &none.1).unwrap();
        let proof = Watch::start(&settings).unwrap();
        proof.set(Life::Proven);
        let service = Arc::clone(&cluster) as Arc<dyn ElectionService>;
        let ambassador = Ambassador::new(service, Arc::clone(&proof));
        let own = Own {
            ambassador: Arc::clone(&ambassador),
            hook: Hook::new(&settings).unwrap(),
            election: name("e"),
            candidate: name("one"),
            ttl_ms,
        };
        let stop = CancellationToken::new();
        let keep = Arc::clone(&ambassador).keep();
        tokio::spawn(stop.clone().run_until_cancelled_owned(keep));
        tokio::spawn(own.stand(stop.clone()));
        let standing = Self {
            cluster,
            ambassador,
            proof,
            stop,
        };
        standing
            .until("it leads", || standing.told().is_some())
            .await;
        standing
    }

    async fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let waited = async {
            while !holds() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waited).await;
        waited.unwrap_or_else(|_| panic!("never: {what}"));
    }

    /// What the application is told: until when it may believe that it leads.
    fn told(&self) -> Option<Mono> {
        let asked = clock::boottime();
        let standing = self.ambassador.standing(&name("e"), &name("one"))?;
        Some(asked + standing.valid_for)
    }

    fn seen<T>(&self, look: impl Fn(&Seen) -> T) -> T {
        look(&self.cluster.seen.lock().unwrap())
    }

    /// Its health check fails until it is told that it leads no more, and the next campaigns fail so.
    async fn unwell(&self, failures: &[Code]) {
        self.cluster.failures.lock().unwrap().extend(failures);
        self.proof.set(Life::Failing);
        self.until("it leads no more", || self.told().is_none())
            .await;
        self.proof.set(Life::Proven);
        let failed = || self.cluster.failures.lock().unwrap().is_empty();
        self.until("the campaigns failed", failed).await;
    }
}

#[tokio::test]
async fn a_campaign_that_failed_is_tried_again_under_the_same_session() {
    // Proves: what is not certainly refused costs no session: it may lead, and what was told stands.
    let standing = Standing::start(60_000).await;
    let failures = [Code::OutcomeUnknown, Code::NoQuorum, Code::StorageFull];
    standing.unwell(&failures).await;
    let campaigns = || standing.seen(|seen| seen.campaigns) == 5;
    standing.until("it stands again", campaigns).await;
    assert_eq!(
        standing.seen(|seen| (seen.opened, seen.closed.len())),
        (1, 0)
    );
}

#[tokio::test]
async fn a_session_that_stands_for_nothing_is_closed_when_what_was_told_has_passed() {
    let standing = Standing::start(3_000).await;
    let told = standing.told().unwrap();
    standing.unwell(&[Code::CandidateTaken]).await;
    let closed = || standing.seen(|seen| !seen.closed.is_empty());
    standing.until("it is closed", closed).await;
    assert!(
        standing.seen(|seen| seen.closed[0]) >= told,
        "it was believed in"
    );
    // It stands again, by another session.
    standing
        .until("it leads again", || standing.told().is_some())
        .await;
    assert_eq!(
        standing.seen(|seen| (seen.opened, seen.closed.len())),
        (2, 1)
    );
}

#[tokio::test]
async fn an_observation_that_broke_is_taken_up_under_the_same_session() {
    // Proves: the session that leads is not left renewed and unheard while another one is opened.
    let standing = Standing::start(1_000).await;
    standing.cluster.breaks.send_replace(());
    let two = Campaign {
        election: name("e"),
        candidate: name("two"),
        liveness: Liveness::Ttl(3_600_000),
        priority: 0,
        metadata: "".into(),
    };
    let transfer = Command::Transfer {
        election: name("e"),
        to: name("two"),
        drain_ms: 3_600_000,
        token: None,
    };
    let (node, caller) = (&standing.cluster.node, Caller::default());
    node.execute(&caller, Command::Campaign(two)).await.unwrap();
    let ordered = node.execute(&caller, transfer).await.unwrap();
    assert!(matches!(ordered.reply, Reply::Transferring(_)));
    let mut observed = node.observe(&caller, name("e"), None).await.unwrap();
    let handed_over = async {
        loop {
            let told = observed.next().await.unwrap().unwrap();
            if told
                .leader()
                .is_some_and(|leader| leader.candidate == name("two"))
            {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, handed_over).await.unwrap();
    assert_eq!(
        standing.seen(|seen| (seen.opened, seen.closed.len())),
        (1, 0)
    );
}

const SESSION: SessionId = SessionId(7);

fn led(election: &Name, candidate: &Name, token: u64) -> ElectionView {
    ElectionView {
        leader: Some(Arc::new(Leadership {
            token: FencingToken(token),
            candidate: candidate.clone(),
            session: SESSION,
            metadata: "".into(),
            priority: 0,
            since: LogTime(0),
            phase: Phase::Leading,
        })),
        ..ElectionView::absent(election, 1, LogTime(0))
    }
}

/// A session with two candidates that lead and were told so, the second later.
fn held() -> (Held, [(Name, Name); 2]) {
    let keys = [(name("a"), name("one")), (name("b"), name("one"))];
    let mut held = Held::new(Terms::new(1_000));
    held.candidacies.extend(keys.clone());
    for (key, number) in keys.iter().zip(1..) {
        held.shown(SESSION, &led(&key.0, &key.1, number), Mono(number));
        assert!(held.tell(key, Mono(0)).is_some());
    }
    (held, keys)
}

#[test]
fn what_was_told_is_remembered_until_it_has_passed_or_was_stopped() {
    let (first, second) = (FencingToken(1), FencingToken(2));
    let (mut held, [a, b]) = held();
    let (of_first, of_second) = (held.told_of(first), held.told_of(second));
    assert!(Mono(0) < of_first && of_first < of_second);
    // It is given up here, and nothing more is told of it: the application does not know.
    held.release(&b.0, second);
    held.shown(SESSION, &led(&b.0, &b.1, 2), Mono(9));
    assert_eq!(held.tell(&b, Mono(0)), None);
    assert_eq!(held.told_until(), of_second);
    // Somebody else's word, or one of another leadership, is not its own.
    held.stopped(&a.0, second);
    held.left(b.0.clone(), name("two"));
    held.stopped(&b.0, FencingToken(9));
    assert_eq!(held.told_until(), of_second);
    held.stopped(&b.0, second);
    assert_eq!(held.told_until(), of_first);
    held.left(a.0, a.1);
    assert_eq!(held.told_until(), Mono(0));

    let (mut held, _) = self::held();
    held.passed(of_first);
    assert_eq!(
        (held.told_of(first), held.told_until()),
        (Mono(0), of_second)
    );
    // What it was told of the session stands beside it.
    held.tell_of_session(Mono(of_second.0 + 1));
    held.stopped(&b.0, second);
    assert_eq!(held.told_until(), Mono(of_second.0 + 1));
}

#[test]
fn a_late_word_of_an_earlier_leadership_gives_up_no_later_one() {
    let (mut held, [a, _]) = held();
    held.shown(SESSION, &led(&a.0, &a.1, 3), Mono(5));
    held.release(&a.0, FencingToken(1));
    assert!(held.tell(&a, Mono(0)).is_some());
    held.shown(SESSION, &led(&a.0, &a.1, 3), Mono(6));
    assert!(held.tell(&a, Mono(0)).is_some());
}
