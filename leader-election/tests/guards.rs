//! Proves that each guard refuses what an old leader writes, also when its write was on the way while
//! the new leader sealed, against the real thing: threads, files, SQLite, HTTP.
#![allow(clippy::unwrap_used, reason = "a test")]

use quorate_core::types::FencingToken;
use quorate_leader_election::guard::{FileError, Register, SharedFile};
use std::sync::Arc;

const OLD: FencingToken = FencingToken(1_000);
const NEW: FencingToken = FencingToken(1_001);

/// Many leaders, each with its own token, write lists of their own token while the next one seals.
/// Gives what each read at its seal, in the order of tokens.
fn race(
    seal: impl Fn(FencingToken) -> Option<Vec<u64>> + Send + Sync,
    append: impl Fn(FencingToken) -> bool + Send + Sync,
) {
    const LEADERS: u64 = 12;
    std::thread::scope(|threads| {
        let leaders: Vec<_> = (1..=LEADERS)
            .map(|token| {
                let (seal, append) = (&seal, &append);
                threads.spawn(move || {
                    let token = FencingToken(token);
                    let seen = seal(token)?;
                    let mut written = 0;
                    while written < 10 && append(token) {
                        written += 1;
                    }
                    Some((token.0, seen, written))
                })
            })
            .collect();
        let mut told: Vec<_> = leaders
            .into_iter()
            .filter_map(|leader| leader.join().unwrap())
            .collect();
        told.sort();
        assert!(!told.is_empty(), "the newest token is never refused");
        let last = seal(FencingToken(LEADERS + 1)).unwrap();
        assert!(
            last.is_sorted(),
            "an older token wrote after a newer one: {last:?}"
        );
        for (token, seen, written) in told {
            let before: Vec<u64> = last.iter().copied().filter(|t| *t < token).collect();
            assert_eq!(
                seen, before,
                "what {token} read at its seal was not the last word"
            );
            let own = last.iter().filter(|t| **t == token).count();
            assert_eq!(own, written, "token {token}");
        }
    });
}

#[test]
fn a_register_takes_nothing_older_than_what_it_has_seen() {
    let register = Register::new(Vec::new());
    race(
        |token| register.seal(token, Clone::clone).ok(),
        |token| {
            register
                .write(token, |list: &mut Vec<u64>| list.push(token.0))
                .is_ok()
        },
    );
    assert!(register.write(FencingToken(1), Vec::clear).is_err());
}

fn numbers(content: Option<Vec<u8>>) -> Vec<u64> {
    let text = String::from_utf8(content.unwrap_or_default()).unwrap();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

#[test]
fn a_shared_file_takes_nothing_older_than_what_it_has_seen() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plan");
    // Every thread opens the file for itself, as processes do: the lock is between descriptors.
    race(
        |token| SharedFile::new(&path).seal(token).ok().map(numbers),
        |token| {
            let file = SharedFile::new(&path);
            let mut list = numbers(file.read().unwrap());
            list.retain(|t| *t <= token.0);
            list.push(token.0);
            let text: String = list.iter().map(|t| format!("{t}\n")).collect();
            file.write(token, text.as_bytes()).is_ok()
        },
    );
}

#[test]
fn a_shared_file_remembers_its_token_and_survives_what_a_crash_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plan");
    let file = SharedFile::new(&path);
    assert_eq!(file.seal(OLD).unwrap(), None);
    file.write(OLD, b"first").unwrap();
    // A process died between its temporary file and the rename, with its lock.
    std::fs::write(dir.path().join("plan.new"), b"half a").unwrap();
    std::fs::write(dir.path().join("plan.token.new"), b"99").unwrap();
    let again = SharedFile::new(&path);
    assert_eq!(again.highest().unwrap(), OLD);
    assert_eq!(again.seal(NEW).unwrap().unwrap(), b"first");
    match again.write(OLD, b"late") {
        Err(FileError::Stale(stale)) => assert_eq!((stale.token, stale.highest), (OLD, NEW)),
        other => panic!("{other:?}"),
    }
    again.write(NEW, b"second").unwrap();
    assert_eq!(file.read().unwrap().unwrap(), b"second");
    // A token file that makes no sense stops everything instead of letting everything in.
    std::fs::write(dir.path().join("plan.token"), b"?").unwrap();
    assert!(matches!(
        file.write(NEW, b"x"),
        Err(FileError::Damaged { .. })
    ));
    assert_eq!(file.read().unwrap().unwrap(), b"second");
}

#[cfg(feature = "guard-sql")]
mod sql {
    use super::*;
    use quorate_leader_election::guard::sql::{Fence, SqlError};
    use rusqlite::Connection;
    use std::time::Duration;

    fn open(path: &std::path::Path) -> Connection {
        let connection = Connection::open(path).unwrap();
        connection.busy_timeout(Duration::from_secs(60)).unwrap();
        connection
    }

    #[test]
    fn a_fenced_table_takes_nothing_older_than_what_it_has_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let connection = open(&path);
        connection
            .execute_batch("PRAGMA synchronous = OFF; CREATE TABLE list (id INTEGER PRIMARY KEY, token INTEGER)")
            .unwrap();
        let fence = Fence::install(&connection, "list").unwrap();
        race(
            |token| {
                let mut connection = open(&path);
                fence.seal(&mut connection, token).ok()?;
                let mut rows = connection
                    .prepare("SELECT token FROM list ORDER BY id")
                    .unwrap();
                let rows = rows.query_map([], |row| row.get::<_, i64>(0)).unwrap();
                Some(
                    rows.map(|token| token.unwrap().try_into().unwrap())
                        .collect(),
                )
            },
            |token| {
                let mut connection = open(&path);
                let insert = fence.transaction(&mut connection, token, |transaction| {
                    transaction.execute(
                        "INSERT INTO list (token) VALUES (?1)",
                        [token.0.cast_signed()],
                    )
                });
                insert.is_ok()
            },
        );
    }

    #[test]
    fn a_transaction_that_began_before_a_seal_holds_the_seal_back_and_one_after_it_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let mut old = open(&path);
        let fence = Fence::install(&old, "t").unwrap();
        old.execute_batch("CREATE TABLE t (x INTEGER)").unwrap();
        let mut new = open(&path);
        new.busy_timeout(Duration::ZERO).unwrap();
        fence
            .transaction(&mut old, OLD, |transaction| {
                transaction.execute("INSERT INTO t VALUES (1)", [])?;
                let sealed = fence.seal(&mut new, NEW);
                assert!(matches!(sealed, Err(SqlError::Sqlite(_))), "{sealed:?}");
                Ok(())
            })
            .unwrap();
        fence.seal(&mut new, NEW).unwrap();
        let late = fence.transaction(&mut old, OLD, |transaction| {
            transaction.execute("DELETE FROM t", [])
        });
        match late {
            Err(SqlError::Stale(stale)) => assert_eq!((stale.token, stale.highest), (OLD, NEW)),
            other => panic!("{other:?}"),
        }
        let rows: i64 = new
            .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
            .unwrap();
        assert_eq!(rows, 1);
        // Another resource has its own fence; a failing transaction keeps nothing, not even its token.
        let other = Fence::install(&new, "u").unwrap();
        let broken = other.transaction(&mut new, OLD, |transaction| {
            transaction.execute("INSERT INTO nowhere VALUES (1)", [])
        });
        assert!(matches!(broken, Err(SqlError::Sqlite(_))));
        assert_eq!(other.highest(&new).unwrap(), FencingToken(0));
    }
}

#[cfg(feature = "guard-http")]
mod http {
    use super::*;
    use ::http::{Request, Response, StatusCode};
    use quorate_leader_election::guard::http::{FenceLayer, HEADER};
    use std::convert::Infallible;
    use std::sync::Mutex;
    use std::time::Duration;
    use tokio::sync::Notify;
    use tower::{Layer as _, Service, ServiceExt as _, service_fn};

    fn request(method: &str, token: Option<&str>) -> Request<String> {
        let mut request = Request::builder().method(method).uri("/");
        if let Some(token) = token {
            request = request.header(HEADER, token);
        }
        request.body(String::new()).unwrap()
    }

    async fn send<S>(service: &S, method: &str, token: Option<&str>) -> Response<String>
    where
        S: Service<Request<String>, Response = Response<String>, Error = Infallible> + Clone,
    {
        service
            .clone()
            .oneshot(request(method, token))
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn stale_missing_and_senseless_tokens_are_refused_and_the_highest_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let kept = dir.path().join("fence");
        let echo = service_fn(|_: Request<String>| async {
            Ok::<_, Infallible>(Response::new("done".to_owned()))
        });
        let service = FenceLayer::persistent(&kept).unwrap().layer(echo);
        assert_eq!(send(&service, "GET", None).await.status(), StatusCode::OK);
        for bad in [None, Some(""), Some("x"), Some("-1"), Some("1.5")] {
            let answer = send(&service, "POST", bad).await;
            assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{bad:?}");
        }
        assert_eq!(send(&service, "POST", Some("1000")).await.body(), "done");
        // A read with a newer token seals.
        assert_eq!(
            send(&service, "GET", Some("1001")).await.status(),
            StatusCode::OK
        );
        for method in ["POST", "GET"] {
            let answer = send(&service, method, Some("1000")).await;
            assert_eq!(answer.status(), StatusCode::CONFLICT);
            let body: serde_json::Value = serde_json::from_str(answer.body()).unwrap();
            assert_eq!(body["code"], "stale_fencing_token");
            assert!(body["detail"].as_str().unwrap().contains("1001"), "{body}");
        }
        // After a restart the old token is as old as before.
        let service = FenceLayer::persistent(&kept).unwrap().layer(echo);
        let answer = send(&service, "POST", Some("1000")).await;
        assert_eq!(answer.status(), StatusCode::CONFLICT);
    }

    #[tokio::test]
    async fn a_newer_token_waits_for_an_older_request_in_flight() {
        // Proves: a request that passed the comparison and is slow writes before the newer leader reads,
        // never after.
        let written = Arc::new(Mutex::new(Vec::new()));
        let (entered, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let handler = {
            let (written, entered, go) = (written.clone(), entered.clone(), go.clone());
            service_fn(move |request: Request<String>| {
                let (written, entered, go) = (written.clone(), entered.clone(), go.clone());
                async move {
                    let token = request.headers()[HEADER].to_str().unwrap().to_owned();
                    if token == "1000" {
                        entered.notify_one();
                        go.notified().await;
                    }
                    written.lock().unwrap().push(token);
                    Ok::<_, Infallible>(Response::new(String::new()))
                }
            })
        };
        let layer = FenceLayer::in_memory();
        let impatient = layer
            .clone()
            .patience(Duration::from_millis(20))
            .layer(handler.clone());
        let service = layer.layer(handler);
        let slow = {
            let service = service.clone();
            tokio::spawn(async move { send(&service, "POST", Some("1000")).await.status() })
        };
        entered.notified().await;
        let answer = send(&impatient, "POST", Some("1001")).await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(written.lock().unwrap().is_empty());
        let newer = {
            let service = service.clone();
            tokio::spawn(async move { send(&service, "POST", Some("1001")).await.status() })
        };
        tokio::task::yield_now().await;
        go.notify_one();
        assert_eq!(slow.await.unwrap(), StatusCode::OK);
        assert_eq!(newer.await.unwrap(), StatusCode::OK);
        assert_eq!(*written.lock().unwrap(), ["1000", "1001"]);
        assert_eq!(
            send(&service, "POST", Some("1000")).await.status(),
            StatusCode::CONFLICT
        );
    }
}
