//! Proves that a sidecar that is told to stop ends no leadership while its application may still believe in
//! it, however it was lost before, and waits for nothing that the application has stopped.

use super::container::Container;
use super::{App, Hooks, PATIENCE, leader, second, until};
use quorate_proto::election as pb;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Longer than anything here is told.
const GRACE: (&str, &str) = ("QUORATE_SHUTDOWN_GRACE_MS", "60000");

/// Until when an application believes that asked at `asked` and was answered this; `None` if it does not lead.
fn believed(asked: Instant, answer: &Value) -> Option<Instant> {
    let valid_for = Duration::from_millis(answer["valid_for_ms"].as_u64().unwrap_or(0));
    (answer["self"] == "leader" && !valid_for.is_zero()).then(|| asked + valid_for)
}

/// Asks until the answer is another one than `leader`; gives the end of what it was told up to there.
async fn believed_until(leading: bool, sidecar: &Container, path: &str) -> Instant {
    let end = Instant::now() + PATIENCE;
    let mut told = None;
    loop {
        let asked = Instant::now();
        assert!(asked < end, "it never leads, or for ever");
        let answer = sidecar.http().get(path).await;
        match believed(asked, &answer.json()) {
            Some(until) if leading => return until,
            Some(until) => told = told.max(Some(until)),
            None if leading => {}
            None => return told.unwrap_or(asked),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn leader_of(server: &Container, election: &str) -> Value {
    let path = format!("/v1/elections/{election}");
    server.http().get(&path).await.ok()["leader"]["id"].clone()
}

#[derive(Clone, Copy)]
enum Lost {
    Unwell,
    Revoked,
    HandedOver,
}

/// The application was told that it leads; then it is lost; then the container is told to stop.
async fn lost_and_stopped(how: Lost) {
    let server = Container::start().await;
    let hooks = Hooks::default();
    let url = hooks.serve().await;
    hooks.well.store(true, Ordering::SeqCst);
    let sidecar = server
        .sidecar(&[
            ("QUORATE_ELECTION", "e"),
            ("QUORATE_CANDIDATE_ID", "app-1"),
            ("QUORATE_APP_HEALTH_URL", &url),
            ("QUORATE_SESSION_TTL_MS", "6000"),
            GRACE,
        ])
        .await;
    believed_until(true, &sidecar, "/v1/elections/e").await;
    second(&server).await;
    let told = believed_until(true, &sidecar, "/v1/elections/e").await;
    let http = server.http();
    match how {
        Lost::Unwell => hooks.well.store(false, Ordering::SeqCst),
        Lost::Revoked => {
            let revoke = json!({"reason": "test"});
            http.post("/v1/elections/e/revoke", &revoke).await.ok();
        }
        Lost::HandedOver => {
            let transfer = json!({"to": "two", "drain_ms": 3_600_000});
            http.post("/v1/elections/e/transfer", &transfer).await.ok();
        }
    }
    let told = told.max(believed_until(false, &sidecar, "/v1/elections/e").await);
    sidecar.shutdown.order();
    until("the other one leads", || async {
        leader(&server).await == "two"
    })
    .await;
    assert!(
        Instant::now() >= told,
        "it leads while the application still believes that it leads itself"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_told_passes_after_a_failed_health_check() {
    lost_and_stopped(Lost::Unwell).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_told_passes_after_a_revocation() {
    lost_and_stopped(Lost::Revoked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_told_passes_in_a_hand_over_without_a_drain_hook() {
    lost_and_stopped(Lost::HandedOver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_leadership_that_the_application_stopped_does_not_speak_for_another() {
    // Proves: of two leaderships of a session, the one that drained is followed at once, and the one that was
    // lost and not stopped when what was told of it has passed.
    let server = Container::start().await;
    let app = App::start();
    let hooks = Hooks {
        hung: Some("lost"),
        ..Hooks::default()
    };
    let (pid, url) = (app.pid(), hooks.serve().await);
    let sidecar = server
        .sidecar(&[
            ("QUORATE_APP_PID", &pid),
            ("QUORATE_APP_DRAIN_URL", &url),
            GRACE,
        ])
        .await;
    let (http, asked) = (sidecar.http(), Instant::now());
    let opened = http.post("/v1/sessions", &json!({"ttl_ms": 4_000})).await;
    let opened = opened.ok();
    let mut session_told = asked;
    for election in ["lost", "kept"] {
        let path = |id: &str| format!("/v1/elections/{election}/candidates/{id}");
        let one = json!({"session": opened["session"]});
        http.put(&path("one"), &one).await.ok();
        let two = json!({"ttl_ms": 3_600_000});
        server.http().put(&path("two"), &two).await.ok();
        session_told = Instant::now() + Duration::from_secs(4);
    }
    // What the application was told of the session as a whole has passed.
    tokio::time::sleep_until(session_told.into()).await;
    let lost = "/v1/elections/lost?candidate=one";
    believed_until(true, &sidecar, "/v1/elections/kept?candidate=one").await;
    let told = believed_until(true, &sidecar, lost).await;
    let revoke = json!({"reason": "test"});
    let orders = server.http();
    let revoked = orders.post("/v1/elections/lost/revoke", &revoke).await;
    revoked.ok();
    let told = told.max(believed_until(false, &sidecar, lost).await);
    sidecar.shutdown.order();
    until("what was drained is followed", || async {
        leader_of(&server, "kept").await == "two"
    })
    .await;
    until("what was lost is followed", || async {
        leader_of(&server, "lost").await == "two"
    })
    .await;
    assert!(
        Instant::now() >= told,
        "it is followed while the application still believes that it leads"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_application_was_told_of_its_session_passes_before_it_is_closed() {
    // Proves: who opened a session may believe for its length in what it leads by it, whether this container
    // knows of that or not.
    let server = Container::start().await;
    let sidecar = server.sidecar(&[GRACE]).await;
    let mut grpc = sidecar.grpc();
    let (ttl_ms, asked) = (5_000, Instant::now());
    let opened = grpc
        .open_session(pb::OpenSessionRequest {
            ttl_ms,
            label: String::new(),
        })
        .await;
    let session = opened.unwrap().into_inner().session;
    let told = asked + Duration::from_millis(ttl_ms) * 99 / 100;
    let campaigned = grpc
        .campaign(pb::CampaignRequest {
            election: "e".to_owned(),
            candidate: "one".to_owned(),
            liveness: Some(pb::campaign_request::Liveness::Session(session)),
            ..pb::CampaignRequest::default()
        })
        .await;
    assert!(campaigned.unwrap().into_inner().token.is_some());
    second(&server).await;
    drop(grpc);
    sidecar.shutdown.order();
    until("the other one leads", || async {
        leader(&server).await == "two"
    })
    .await;
    assert!(
        Instant::now() >= told,
        "it leads while the application still believes that it leads itself"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_closed_its_session_is_not_waited_for() {
    let server = Container::start().await;
    let sidecar = server.sidecar(&[GRACE]).await;
    let http = sidecar.http();
    let body = json!({"ttl_ms": 3_600_000, "wait_ms": 9_000});
    let led = http.put("/v1/elections/e/candidates/one", &body).await.ok();
    assert_eq!(led["self"], "leader");
    let session = led["session"].as_str().unwrap();
    let closed = http.delete(&format!("/v1/sessions/{session}")).await;
    assert_eq!(closed.status, 204);
    sidecar.shutdown.order();
    // The grace is as long as the patience: it ends of itself, or not within half of it.
    tokio::time::timeout(PATIENCE / 2, sidecar.ended)
        .await
        .unwrap()
        .unwrap();
}
