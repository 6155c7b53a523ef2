//! Proves that REST and gRPC mean the same, at a server and at a sidecar: each scenario and each bad
//! input runs over each.
#![allow(clippy::unwrap_used, reason = "a test")]

mod container;

use container::Container;
use container::door::{By, Door, text};
use container::events::Events;
use serde_json::json;
use std::time::Duration;

/// Long enough for any noise.
const TTL_MS: u64 = 20_000;
const WAIT_MS: u64 = 20_000;

async fn doors() -> (Vec<Container>, Vec<(String, Door)>) {
    let server = Container::start().await;
    let sidecar = server.sidecar(&[]).await;
    let mut doors = Vec::new();
    for (role, container) in [("server", &server), ("sidecar", &sidecar)] {
        for (protocol, door) in Door::both(container) {
            doors.push((format!("{protocol}-{role}"), door));
        }
    }
    (vec![server, sidecar], doors)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_is_elected_renews_resigns_and_is_followed() {
    let (_containers, doors) = doors().await;
    for (name, door) in &doors {
        let e = &format!("e-{name}");
        let one = door
            .campaign(e, "one", By::Ttl(TTL_MS), WAIT_MS)
            .await
            .unwrap();
        assert!(one.leads && one.valid_for_ms > 0, "{name}: {one:?}");
        assert!(one.valid_for_ms < TTL_MS, "{name}: {one:?}");
        let session = door.open(TTL_MS).await.unwrap();
        let by = By::Session(&session);
        let two = door.campaign(e, "two", by, 0).await.unwrap();
        assert!(
            !two.leads && two.valid_for_ms == 0 && two.session == session,
            "{name}: {two:?}"
        );
        assert_eq!(two.leader.as_deref(), Some("one"));
        let renewed = door.renew(e, "one", &one.session).await.unwrap();
        assert!(
            renewed.leads && renewed.token == one.token,
            "{name}: {renewed:?}"
        );
        let token = one.token.unwrap();
        assert!(door.check(e, token).await.unwrap());
        // Waiting is answered by leadership, with a validity that counts from before the request.
        let waiting = door.campaign(e, "two", by, WAIT_MS);
        let resigning = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            door.resign(e, "one", &one.session, token).await.unwrap()
        };
        let (two, ended) = tokio::join!(waiting, resigning);
        let two = two.unwrap();
        assert!(ended && two.leads, "{name}: {two:?}");
        assert!(two.token.unwrap() > token, "{name}");
        assert!(!door.check(e, token).await.unwrap());
        // A stale token is a no-op.
        assert!(!door.resign(e, "one", &one.session, token).await.unwrap());
        let seen = door.get(e).await.unwrap();
        assert_eq!(seen.leader.as_deref(), Some("two"), "{name}");
        assert_eq!(seen.candidates.len(), 2, "{name}");
        // Leaving passes leadership on; the end of a session takes the rest along.
        assert!(door.leave(e, "two", &session).await.unwrap());
        let back = door
            .campaign(e, "one", By::Session(&one.session), WAIT_MS)
            .await
            .unwrap();
        assert!(back.leads && back.token > two.token, "{name}: {back:?}");
        door.close(&one.session).await.unwrap();
        assert_eq!(
            door.get(e).await.unwrap_err(),
            "not_found",
            "{name}: it vanished with its last candidate"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_goes_to_whom_it_was_ordered_for() {
    let (_containers, doors) = doors().await;
    for (name, door) in &doors {
        let e = &format!("h-{name}");
        let one = door
            .campaign(e, "one", By::Ttl(TTL_MS), WAIT_MS)
            .await
            .unwrap();
        let token = one.token.unwrap();
        let two = door.campaign(e, "two", By::Ttl(TTL_MS), 0).await.unwrap();
        let three = door
            .campaign_with(e, "three", By::Ttl(TTL_MS), 0, 9, "x")
            .await
            .unwrap();
        door.transfer(e, "two", 60_000, Some(token)).await.unwrap();
        let draining = door.renew(e, "one", &one.session).await.unwrap();
        assert!(draining.leads, "{name}: it leads while it drains");
        assert!(door.resign(e, "one", &one.session, token).await.unwrap());
        let led = door.renew(e, "two", &two.session).await.unwrap();
        assert!(led.leads && led.token.unwrap() > token, "{name}: {led:?}");
        assert!(!door.renew(e, "three", &three.session).await.unwrap().leads);
        // By force, for whom the exclusion is void and the token is not.
        door.force(e, true, led.token).await.unwrap();
        let next = door.renew(e, "three", &three.session).await.unwrap();
        assert!(next.leads && next.token > led.token, "{name}: {next:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_gets_its_code_and_says_what_to_do() {
    let (_containers, doors) = doors().await;
    for (name, door) in &doors {
        let e = &format!("b-{name}");
        let one = door
            .campaign(e, "one", By::Ttl(TTL_MS), WAIT_MS)
            .await
            .unwrap();
        let two = door.campaign(e, "two", By::Ttl(TTL_MS), 0).await.unwrap();
        let token = one.token.unwrap();
        let gone = door.open(TTL_MS).await.unwrap();
        door.close(&gone).await.unwrap();
        let long = "x".repeat(1_025);
        let nobody = text(77);
        let (ttl, own) = (By::Ttl(TTL_MS), By::Session(&one.session));
        macro_rules! refused {
            ($code:literal: $($call:expr),* $(,)?) => {$(
                let answer = $call.await;
                assert_eq!(answer.as_ref().err().map(String::as_str), Some($code), "{name}: {}: {answer:?}", stringify!($call));
            )*};
        }
        refused!("not_found":
            door.get("nothing"),
            door.transfer("nothing", "one", 0, None),
            door.renew(e, "nobody", &one.session),
            door.leave(e, "nobody", &one.session),
        );
        assert!(!door.check("nothing", token).await.unwrap(), "{name}");
        refused!("session_expired":
            door.campaign(e, "three", By::Session(&gone), 0),
            door.campaign(e, "three", By::Session(&nobody), 0),
            door.renew(e, "one", &gone),
            door.close(&gone),
        );
        refused!("candidate_taken":
            door.campaign(e, "one", ttl, 0),
            door.campaign(e, "one", By::Session(&two.session), 0),
            door.leave(e, "one", &two.session),
        );
        refused!("not_a_candidate": door.transfer(e, "nobody", 0, None));
        refused!("stale_fencing_token":
            door.transfer(e, "two", 0, Some(token - 1)),
            door.force(e, true, Some(token - 1)),
        );
        refused!("too_large": door.campaign_with(e, "one", own, 0, 0, &long));
        refused!("invalid_argument":
            door.open(499),
            door.open(3_600_001),
            door.campaign(e, "three", By::Ttl(10), 0),
            door.campaign(e, "three", ttl, 60_001),
            door.campaign("No-Such-Name", "three", ttl, 0),
            door.campaign(e, "_three", ttl, 0),
            door.campaign_with(e, "one", own, 0, 1_001, ""),
            door.transfer(e, "two", 3_600_001, None),
            door.configure(e, 3_600_001),
            door.force(e, false, None),
        );
        // None of it has changed anything.
        let seen = door.get(e).await.unwrap();
        assert_eq!(seen.token, Some(token), "{name}");
        assert_eq!(seen.candidates, ["one", "two"], "{name}");
        assert!(
            door.renew(e, "one", &one.session).await.unwrap().leads,
            "{name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_rest_has() {
    // Proves: long-polls, events with Last-Event-ID, pages, unknown fields, and the flag of force-release.
    let server = Container::start().await;
    let http = server.http();
    let put = |id: &str| format!("/v1/elections/r/candidates/{id}");
    let one = http
        .put(
            &put("one"),
            &json!({"ttl_ms": TTL_MS, "wait_ms": 9_000, "metadata": "a:1"}),
        )
        .await
        .ok();
    assert_eq!(one["state"], "held");
    assert_eq!(one["leader"], json!({"id": "one", "metadata": "a:1"}));
    assert_eq!(one["self"], "leader");
    let observer = http.get("/v1/elections/r").await.ok();
    assert_eq!(observer["self"], "unknown");
    assert_eq!(
        http.get("/v1/elections/r?candidate=x").await.ok()["self"],
        "observer"
    );
    assert_eq!(
        http.get("/v1/elections/r?candidate=one").await.ok()["self"],
        "leader"
    );
    // The long-poll ends with the change, and carries no validity.
    let path = format!(
        "/v1/elections/r?after_revision={}&wait_ms=30000",
        one["revision"]
    );
    let (polled, two) = tokio::join!(http.get(&path), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        http.put(&put("two"), &json!({"ttl_ms": TTL_MS})).await.ok()
    });
    let polled = polled.ok();
    assert_eq!(
        polled["candidates"].as_array().unwrap().len(),
        2,
        "{polled}"
    );
    assert!(polled.get("valid_for_ms").is_none(), "{polled}");
    assert!(polled["revision"].as_u64() > one["revision"].as_u64());
    // One that finds nothing answers when its time is up.
    let path = format!(
        "/v1/elections/r?after_revision={}&wait_ms=50",
        polled["revision"]
    );
    assert_eq!(http.get(&path).await.ok()["revision"], polled["revision"]);
    // A session on two candidacies.
    assert_eq!(two["self"], "follower");
    let shared = http
        .put(
            "/v1/elections/s/candidates/two",
            &json!({"session": two["session"], "wait_ms": 9_000}),
        )
        .await
        .ok();
    assert_eq!(
        (&shared["self"], &shared["session"]),
        (&json!("leader"), &two["session"])
    );
    let list = http.get("/v1/elections?page_size=1").await.ok();
    assert_eq!(list["items"][0]["election"], "r");
    let rest = http
        .get(&format!(
            "/v1/elections?page_token={}",
            list["next_page_token"].as_str().unwrap()
        ))
        .await
        .ok();
    assert_eq!(rest["items"][0]["election"], "s");
    assert_eq!(rest["next_page_token"], json!(null));
    // The same operation under the same key is done once, and its grant has a validity of its own renewal.
    let key = [
        ("content-type", "application/json"),
        ("idempotency-key", "k1"),
    ];
    let body = || {
        json!({"ttl_ms": TTL_MS, "wait_ms": 9_000})
            .to_string()
            .into()
    };
    let first = http
        .send("PUT", "/v1/elections/k/candidates/one", &key, body())
        .await
        .ok();
    let again = http
        .send("PUT", "/v1/elections/k/candidates/one", &key, body())
        .await
        .ok();
    assert_eq!(first["session"], again["session"]);
    assert_eq!(first["fencing_token"], again["fencing_token"]);
    assert_eq!(again["self"], "leader");
    // A token is given up in the name of the candidate that has it, and is void when its election is gone.
    let resign = json!({"session": first["session"], "fencing_token": first["fencing_token"]});
    let another = http
        .post("/v1/elections/k/candidates/nobody/resign", &resign)
        .await;
    assert_eq!(
        (another.status, another.json()["code"].clone()),
        (409, json!("not_a_candidate"))
    );
    let session = first["session"].as_str().unwrap();
    let closed = http
        .send("DELETE", &format!("/v1/sessions/{session}"), &[], "".into())
        .await;
    assert_eq!(closed.status, 204, "{closed:?}");
    assert_eq!(http.get("/v1/elections/k").await.status, 404);
    let token = json!({"fencing_token": first["fencing_token"]});
    let checked = http.post("/v1/elections/k/check", &token).await.ok();
    assert_eq!(checked["current"], false);
    let late = http
        .post("/v1/elections/k/candidates/one/resign", &resign)
        .await
        .ok();
    assert_eq!(late["ended"], false);
    // A key covers what stands behind the question mark too.
    let leave = |session: &str| format!("/v1/elections/s/candidates/two?session={session}");
    let key = [("idempotency-key", "k2")];
    let wrong = http
        .send("DELETE", &leave("s10000000000000999"), &key, "".into())
        .await;
    assert_eq!(wrong.status, 409, "{wrong:?}");
    let right = http
        .send(
            "DELETE",
            &leave(two["session"].as_str().unwrap()),
            &key,
            "".into(),
        )
        .await;
    assert_eq!(right.status, 422, "{right:?}");
    for (path, body, field) in [
        (
            "/v1/elections/r/candidates/x",
            json!({"ttl_ms": 2_000, "colour": 1}),
            "colour",
        ),
        (
            "/v1/elections/r/candidates/x",
            json!({"ttl_ms": 2_000, "session": "s10000000000000001"}),
            "session",
        ),
        (
            "/v1/elections/r/candidates/x",
            json!({"session": "nonsense"}),
            "session",
        ),
        ("/v1/elections/r/candidates/x", json!([2_000]), "object"),
    ] {
        let refused = http.put(path, &body).await;
        assert_eq!(refused.status, 400, "{refused:?}");
        assert!(refused.text().contains(field), "{refused:?}");
    }
    let openapi = http.get("/openapi.json").await.ok();
    for path in [
        "/v1/sessions",
        "/v1/elections/{election}/candidates/{id}",
        "/v1/elections/{election}/events",
    ] {
        assert!(openapi["paths"].get(path).is_some(), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_told_without_a_gap_across_reconnections() {
    let server = Container::start().await;
    let http = server.http();
    let one = http
        .put(
            "/v1/elections/v/candidates/one",
            &json!({"ttl_ms": TTL_MS, "wait_ms": 9_000}),
        )
        .await
        .ok();
    let mut stream = Events::open(server.address, "v", None).await;
    let (id, kind, state) = stream.next().await;
    let id = id.unwrap();
    assert_eq!(kind, "state");
    assert_eq!(state["leader"]["id"], "one");
    assert!(state.get("valid_for_ms").is_none());
    drop(stream);
    // What happens while nobody listens is told to whoever comes back with the last id.
    let resign = json!({"session": one["session"], "fencing_token": one["fencing_token"]});
    http.post("/v1/elections/v/candidates/one/resign", &resign)
        .await
        .ok();
    let two = http
        .put(
            "/v1/elections/v/candidates/two",
            &json!({"ttl_ms": TTL_MS, "wait_ms": 9_000}),
        )
        .await
        .ok();
    assert_eq!(two["self"], "leader", "{two}");
    let mut stream = Events::open(server.address, "v", Some(&id)).await;
    let mut told = Vec::new();
    let mut previous = None;
    loop {
        let (_, kind, change) = stream.next().await;
        assert_eq!(kind, "change");
        if let Some(previous) = previous {
            assert_eq!(change["previous"], previous, "a gap");
        }
        previous = Some(change["revision"].clone());
        told.push(change["what"].as_str().unwrap().to_owned());
        if change["what"] == "elected" {
            assert_eq!(change["fencing_token"], two["fencing_token"]);
            break;
        }
    }
    assert_eq!(told, ["ended", "joined", "elected"]);
    // A container that stops ends its streams.
    server.shutdown.order();
    tokio::time::timeout(Duration::from_secs(30), stream.end())
        .await
        .unwrap();
}
