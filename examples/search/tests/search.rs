//! Proves that sharded search gives what one index gives, with a slow leaf, with a dead one, and with an
//! unmodified foreign server as a leaf; and that it says so when a shard is missing.
#![allow(clippy::unwrap_used, reason = "a test")]

use quorate_scatter_gather::definition::PolicySpec;
use search::corpus::{self, Document, split};
use search::fleet::{Fleet, K, SHARDS};
use search::index::Searchable;
use std::io::BufRead as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const QUESTIONS: [&str; 5] = [
    "the",
    "license",
    "permission notice",
    "log majority",
    "zzzznothing",
];

fn whole(documents: &[Document]) -> Searchable {
    Searchable::build(documents).unwrap()
}

/// Proves that answers over shards equal those of a single index, whatever one replica does.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_as_one_index() {
    for documents in [corpus::own(), corpus::load()] {
        let single = whole(&documents);
        let mut fleet = Fleet::start(&documents, PolicySpec::All, &[])
            .await
            .unwrap();
        let check = async |fleet: &Fleet| {
            for words in QUESTIONS {
                let (found, answer) = fleet.search(words).await.unwrap();
                assert!(answer.complete, "{answer:?}");
                assert_eq!(found, single.search(words, K).unwrap(), "{words}");
            }
        };
        check(&fleet).await;
        let slow = fleet.leaves[0][0].as_ref().unwrap();
        slow.slow_down(Duration::from_secs(5));
        check(&fleet).await;
        fleet.kill(1, 1);
        check(&fleet).await;
    }
}

/// Proves that without a shard the answer is what the others have, and is called partial.
#[tokio::test(flavor = "multi_thread")]
async fn truthful_without_a_shard() {
    let documents = corpus::load();
    let mut fleet = Fleet::start(&documents, PolicySpec::Deadline, &[])
        .await
        .unwrap();
    fleet.kill(2, 0);
    fleet.kill(2, 1);
    let parts = split(&documents, SHARDS);
    let rest = whole(&[parts[0].clone(), parts[1].clone()].concat());
    for words in QUESTIONS {
        let (found, answer) = fleet.search(words).await.unwrap();
        assert!(!answer.complete);
        assert_eq!(&*answer.shards[2].outcome, "failed", "{answer:?}");
        assert_eq!((answer.counts.planned, answer.counts.merged), (3, 2));
        assert_eq!(found, rest.search(words, K).unwrap(), "{words}");
    }
}

/// Proves that a plain file server can be a shard beside the others: Python's own where there is one.
#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_leaf() {
    let documents = corpus::own();
    let file = r#"{"hits":[{"id":"foreign","score":99.0}],"facets":{"MIT":1},"total":1}"#;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("found.json"), file).unwrap();
    let python = python(dir.path());
    let url = match &python {
        Some(python) => format!("http://127.0.0.1:{}/found.json", python.port),
        None => format!("http://{}/found.json", plain_server(file.to_owned())),
    };
    let fleet = Fleet::start(&documents, PolicySpec::All, &[url])
        .await
        .unwrap();
    let (found, answer) = fleet.search("majority").await.unwrap();
    assert!(answer.complete, "{answer:?}");
    let without = whole(&documents).search("majority", K).unwrap();
    assert_eq!(found.total, without.total + 1);
    assert_eq!(found.hits[0].id, "foreign");
    assert_eq!(found.hits[1..], without.hits[..]);
    assert_eq!(found.facets["MIT"], without.facets["MIT"] + 1);
}

/// A server of files that ends with the test.
struct Python {
    child: Child,
    port: u16,
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn python(dir: &std::path::Path) -> Option<Python> {
    let mut child = Command::new("python3")
        .args(["-u", "-m", "http.server", "-b", "127.0.0.1", "0", "-d"])
        .arg(dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut line = String::new();
    let stdout = child.stdout.take().unwrap();
    std::io::BufReader::new(stdout)
        .read_line(&mut line)
        .unwrap();
    // "Serving HTTP on 127.0.0.1 port 40123 (http://127.0.0.1:40123/) ..."
    let port = line.split(' ').skip_while(|word| *word != "port").nth(1);
    let port = port.and_then(|port| port.parse().ok());
    Some(Python {
        port: port.unwrap_or_else(|| panic!("no port in {line:?}")),
        child,
    })
}

/// One thread, HTTP/1.0, a connection a request: as Python's http.server speaks.
fn plain_server(file: String) -> std::net::SocketAddr {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut seen = [0; 4096];
            let n = stream.read(&mut seen).unwrap_or(0);
            let status = if seen[..n].starts_with(b"GET ") {
                "200 OK"
            } else {
                "501 Unsupported method"
            };
            let _ = write!(
                stream,
                "HTTP/1.0 {status}\r\nServer: SimpleHTTP/0.6\r\nContent-type: application/json\r\n\
                 Content-Length: {}\r\n\r\n{file}",
                file.len()
            );
        }
    });
    address
}
