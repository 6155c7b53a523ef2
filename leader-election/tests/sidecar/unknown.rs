//! Proves that whoever only listens is told so when what it was told last may not stand any longer, over
//! every door of a sidecar and in the Rust library, and how it stands once that is known again: no sooner
//! than everything was told that happened meanwhile.

use super::container::Container;
use super::container::events::Events;
use super::container::link::Link;
use super::{App, LONG_MS, PATIENCE, leader, leads, second, until};
use futures::{FutureExt as _, StreamExt as _};
use pb::observed::What as Told;
use pb::watch_response::What as Said;
use quorate_core::types::Name;
use quorate_leader_election::client::{Client, Config};
use quorate_leader_election::election::Election;
use quorate_leader_election::machine::{EndCause, What};
use quorate_leader_election::service::{Caller, ElectionService as _, Observation, Observed};
use quorate_proto::election as pb;
use serde_json::{Value, json};
use std::future::IntoFuture as _;
use std::time::Duration;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

/// While the link is cut nothing follows the doubt; before, a process that stood still may have been in doubt
/// and not any more.
const QUIET: Duration = Duration::from_millis(100);

/// A server, and a sidecar that stands for `app-1` by leases of a second and can be cut off.
struct Standing {
    server: Container,
    link: Link,
    sidecar: Container,
    _app: App,
}

impl Standing {
    async fn start() -> Self {
        let server = Container::start().await;
        let link = Link::to(server.address).await;
        let app = App::start();
        let pid = app.pid();
        let sidecar = Container::sidecar_of(
            link.address,
            &[
                ("QUORATE_ELECTION", "e"),
                ("QUORATE_CANDIDATE_ID", "app-1"),
                ("QUORATE_APP_PID", &pid),
                ("QUORATE_SESSION_TTL_MS", "1000"),
            ],
        )
        .await;
        until("it leads", || leads(&sidecar)).await;
        Self {
            server,
            link,
            sidecar,
            _app: app,
        }
    }

    async fn its_lease_is_over(&self) {
        until("its lease is over", || async {
            !leads(&self.sidecar).await
        })
        .await;
    }

    async fn another_one_leads(&self) {
        second(&self.server).await;
        until("the other one leads", || async {
            leader(&self.server).await == "two"
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_say_unknown_past_the_deadline_and_the_state_when_it_is_known_again() {
    // Proves: an application that only listens does not take itself, or anybody else, for the leader for
    // ever when its sidecar is cut off; and nobody tells it so before anything is in doubt.
    let standing = Standing::start().await;
    let mut stream = Events::open(standing.sidecar.address, "e", None).await;
    let (mut id, mut kind, mut state) = stream.next().await;
    while kind == "unknown" {
        (id, kind, state) = stream.next().await;
    }
    assert_eq!(
        (kind.as_str(), &state["leader"]["id"]),
        ("state", &json!("app-1"))
    );
    assert!(id.is_some());
    standing.link.cut(true);
    let mut previous = state["revision"].as_u64().unwrap();
    let (mut id, mut kind, mut unknown) = stream.next().await;
    loop {
        let next = if kind == "unknown" {
            tokio::time::timeout(QUIET, stream.next()).await
        } else {
            previous = unknown["revision"].as_u64().unwrap();
            Ok(stream.next().await)
        };
        let Ok(next) = next else { break };
        (id, kind, unknown) = next;
    }
    assert_eq!((id, kind.as_str()), (None, "unknown"));
    assert_eq!(unknown["state"], "unknown");
    assert_eq!(
        (&unknown["leader"], &unknown["self"]),
        (&Value::Null, &json!("unknown"))
    );
    standing.its_lease_is_over().await;
    standing.another_one_leads().await;
    standing.link.cut(false);
    // What happened meanwhile comes first, without a gap.
    let mut whats = Vec::new();
    loop {
        let (id, kind, told) = stream.next().await;
        let revision = told["revision"].as_u64().unwrap();
        assert_eq!(id, Some(revision.to_string()));
        if kind == "state" {
            assert_eq!(told["leader"]["id"], "two", "{told}");
            assert!(revision >= previous, "it goes back: {told}");
            break;
        }
        assert_eq!(kind, "change", "{told}");
        assert!(
            told["previous"].as_u64().unwrap() <= previous && revision > previous,
            "a gap: {told}"
        );
        previous = revision;
        whats.push(told["what"].as_str().unwrap().to_owned());
    }
    assert!(whats.contains(&"elected".to_owned()), "{whats:?}");
}

/// What is told next on a stream of Observe, or of one watch.
enum Door {
    Observe(Streaming<pb::Observed>),
    Watch(Streaming<pb::WatchResponse>),
}

#[derive(Debug)]
enum Word {
    Unknown,
    State(pb::Election),
    Change(pb::Change),
}

impl Door {
    async fn next(&mut self) -> Word {
        tokio::time::timeout(PATIENCE, self.word()).await.unwrap()
    }

    /// The first that is known; then the stream is still at it.
    async fn known(&mut self) -> Word {
        loop {
            match self.next().await {
                Word::Unknown => {}
                word => return word,
            }
        }
    }

    /// Waits for the doubt that lasts while the link is cut; gives the last revision before it.
    async fn doubt(&mut self, mut last: u64) -> u64 {
        let mut word = self.next().await;
        loop {
            let next = match &word {
                Word::Unknown => tokio::time::timeout(QUIET, self.word()).await,
                Word::State(pb::Election { revision, .. })
                | Word::Change(pb::Change { revision, .. }) => {
                    last = *revision;
                    Ok(self.next().await)
                }
            };
            let Ok(next) = next else { return last };
            word = next;
        }
    }

    async fn word(&mut self) -> Word {
        let told = match self {
            Self::Observe(stream) => stream.message().await.unwrap().unwrap(),
            Self::Watch(stream) => match stream.message().await.unwrap().unwrap().what {
                Some(Said::Told(observed)) => {
                    // Builds before it refuse an Observed with something that they do not know.
                    assert!(!matches!(observed.what, Some(Told::Unknown(_))));
                    observed
                }
                Some(Said::Unknown(pb::Unknown {})) => return Word::Unknown,
                said => panic!("{said:?}"),
            },
        };
        match told.what.unwrap() {
            Told::State(state) => Word::State(state),
            Told::Change(change) => Word::Change(change),
            Told::Unknown(pb::Unknown {}) => Word::Unknown,
        }
    }
}

fn id(leader: Option<&pb::Leadership>) -> Option<&str> {
    leader.map(|leader| leader.candidate.as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn observe_and_watch_say_unknown_past_the_deadline_and_the_state_when_it_is_known_again() {
    let standing = Standing::start().await;
    let mut grpc = standing.sidecar.grpc();
    let request = || pb::ObserveRequest {
        election: "e".to_owned(),
        after: None,
    };
    let observed = grpc.observe(request()).await.unwrap().into_inner();
    let (up, requests) = tokio::sync::mpsc::channel(1);
    let begin = pb::WatchRequest {
        watch: 7,
        what: Some(pb::watch_request::What::Begin(request())),
    };
    up.send(begin).await.unwrap();
    let watched = grpc.watch(ReceiverStream::new(requests)).await.unwrap();
    let mut watched = watched.into_inner();
    let begun = watched.message().await.unwrap().unwrap();
    assert!(matches!(begun.what, Some(Said::Begun(_))), "{begun:?}");
    let mut doors = [Door::Observe(observed), Door::Watch(watched)];
    let mut known = Vec::new();
    for door in &mut doors {
        let Word::State(state) = door.known().await else {
            panic!("the state comes first");
        };
        assert_eq!(id(state.leader.as_ref()), Some("app-1"));
        known.push(state.revision);
    }
    standing.link.cut(true);
    for (door, last) in doors.iter_mut().zip(&mut known) {
        *last = door.doubt(*last).await;
    }
    standing.its_lease_is_over().await;
    standing.another_one_leads().await;
    standing.link.cut(false);
    for (door, mut last) in doors.iter_mut().zip(known) {
        let mut elected = None;
        loop {
            match door.next().await {
                Word::Change(change) => {
                    assert!(
                        change.previous <= last && last < change.revision,
                        "{change:?}"
                    );
                    last = change.revision;
                    elected = id(change.leader.as_ref()).map(ToOwned::to_owned);
                }
                Word::State(state) => {
                    assert_eq!(id(state.leader.as_ref()), Some("two"));
                    assert!(state.changed <= last && last <= state.revision, "{state:?}");
                    break;
                }
                Word::Unknown => panic!("it was said before"),
            }
        }
        assert_eq!(elected.as_deref(), Some("two"), "what happened meanwhile");
    }
}

async fn next(observation: &mut Observation) -> Observed {
    let observed = tokio::time::timeout(PATIENCE, observation.next()).await;
    observed.unwrap().unwrap().unwrap()
}

/// The first that is known.
async fn known(observation: &mut Observation) -> Observed {
    loop {
        match next(observation).await {
            Observed::Unknown => {}
            observed => return observed,
        }
    }
}

/// Waits for the doubt that lasts while the link is cut.
async fn doubt(observation: &mut Observation) {
    let mut observed = next(observation).await;
    loop {
        let after = if observed == Observed::Unknown {
            tokio::time::timeout(QUIET, observation.next()).await
        } else {
            Ok(Some(Ok(next(observation).await)))
        };
        let Ok(after) = after else { return };
        observed = after.unwrap().unwrap();
    }
}

/// Waits for the state, and gives what came before it.
async fn known_again(observation: &mut Observation) -> (Vec<What>, Option<String>) {
    let mut whats = Vec::new();
    let mut last = 0;
    loop {
        let observed = next(observation).await;
        let revision = observed.revision().expect("doubt was told before");
        assert!(revision >= last, "it goes back: {observed:?}");
        last = revision;
        match observed {
            Observed::State(state) => {
                let leader = state.leader.map(|leader| leader.candidate.to_string());
                return (whats, leader);
            }
            Observed::Change(change) => whats.push(change.what.clone()),
            Observed::Unknown => unreachable!("it has a revision"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_library_says_unknown_when_it_is_cut_off_itself_or_its_sidecar_is() {
    // Proves: whichever way a process reaches the cluster, it is told; and an election that is gone when the
    // way is open again is known again too.
    let server = Container::start().await;
    let link = Link::to(server.address).await;
    let sidecar = Container::sidecar_of(link.address, &[]).await;
    let one = Election::connect(&server.address.to_string())
        .unwrap()
        .candidate("one")
        .unwrap();
    let guard = one.campaign("e").await.unwrap();
    let direct = Election::connect(&link.address.to_string()).unwrap();
    let behind = Election::connect(&sidecar.address.to_string()).unwrap();
    let mut observations = [
        direct.observe("e").await.unwrap(),
        behind.observe("e").await.unwrap(),
    ];
    for observation in &mut observations {
        let observed = known(observation).await;
        assert_eq!(observed.leader().unwrap().candidate.as_str(), "one");
    }
    link.cut(true);
    for observation in &mut observations {
        doubt(observation).await;
    }
    let two = Election::connect(&server.address.to_string())
        .unwrap()
        .candidate("two")
        .unwrap();
    let (resigned, led) = tokio::join!(guard.resign(), two.campaign("e").into_future());
    resigned.unwrap();
    let led = led.unwrap();
    link.cut(false);
    for observation in &mut observations {
        let (whats, leader) = known_again(observation).await;
        assert_eq!(leader.as_deref(), Some("two"));
        let ended = |what: &What| {
            matches!(
                what,
                What::Ended {
                    cause: EndCause::Resigned | EndCause::Left,
                    ..
                }
            )
        };
        assert!(whats.iter().any(ended), "{whats:?}");
    }
    // The next time nobody is left.
    link.cut(true);
    for observation in &mut observations {
        doubt(observation).await;
    }
    led.resign().await.unwrap();
    one.close().await;
    two.close().await;
    until("the election is gone", || async {
        server.http().get("/v1/elections/e").await.status == 404
    })
    .await;
    link.cut(false);
    for observation in &mut observations {
        let (whats, leader) = known_again(observation).await;
        assert_eq!((whats.last(), leader), (Some(&What::Removed), None));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_process_leads_itself_stands_for_its_lease() {
    // Proves: not shorter, when the cluster is away for a moment, and not longer, when the lease is short.
    let server = Container::start().await;
    let link = Link::to(server.address).await;
    let handle = |id: &str, ttl| {
        Election::connect(&link.address.to_string())
            .unwrap()
            .candidate(id)
            .unwrap()
            .ttl(ttl)
    };
    let long = handle("long", Duration::from_millis(LONG_MS.parse().unwrap()));
    let short = handle("short", Duration::from_millis(500));
    let led = long.campaign("long").await.unwrap();
    let soon_over = short.campaign("short").await.unwrap();
    let mut of_long = long.observe("long").await.unwrap();
    let mut of_short = short.observe("short").await.unwrap();
    // Somebody else's leaderships, by the same handles.
    let mut beside = [
        long.observe("short").await.unwrap(),
        short.observe("long").await.unwrap(),
    ];
    for observation in beside.iter_mut().chain([&mut of_long, &mut of_short]) {
        assert!(matches!(known(observation).await, Observed::State(_)));
    }
    link.cut(true);
    let [first, second] = &mut beside;
    tokio::select! {
        biased;
        () = doubt(&mut of_short) => {}
        observed = next(first) => panic!("the lease is over before the silence is long: {observed:?}"),
        observed = next(second) => panic!("the lease is over before the silence is long: {observed:?}"),
    }
    until("its lease is over", || async { !soon_over.is_leader() }).await;
    for observation in &mut beside {
        doubt(observation).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(of_long.next().now_or_never().is_none(), "its lease stands");
    assert!(led.is_leader());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_goes_on_elsewhere_when_who_was_in_doubt_is_gone() {
    // Proves: the doubt of a sidecar ends with it, although the next one never had any.
    let standing = Standing::start().await;
    let way = Link::to(standing.sidecar.address).await;
    let other = standing.server.sidecar(&[]).await;
    let servers = format!("{},{}", way.address, other.address);
    let client = Client::new(&Config::servers(&servers)).unwrap();
    let caller = Caller::default();
    let election = Name::new("e").unwrap();
    let mut observation = client.observe(&caller, election, None).await.unwrap();
    assert!(matches!(known(&mut observation).await, Observed::State(_)));
    standing.link.cut(true);
    doubt(&mut observation).await;
    standing.another_one_leads().await;
    way.cut(true);
    let observed = known(&mut observation).await;
    assert!(matches!(observed, Observed::State(_)), "{observed:?}");
    assert_eq!(observed.leader().unwrap().candidate.as_str(), "two");
}
