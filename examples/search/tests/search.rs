//! Proves that sharded search gives what one index gives, with a slow leaf, with a dead one, and with an
//! unmodified foreign server as a leaf; and that it says so when a shard is missing.
#![allow(clippy::unwrap_used, reason = "a test")]

use search::corpus::{self, Document, split};
use search::fleet::{Fleet, K, SHARDS, definition};
use search::index::Searchable;
use serde_json::json;
use std::time::Duration;

const QUESTIONS: [&str; 5] = ["the", "license", "permission notice", "log majority", "zzzznothing"];

fn whole(documents: &[Document]) -> Searchable {
    Searchable::build(documents).unwrap()
}

/// Proves that answers over shards equal those of a single index, whatever one replica does.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_as_one_index() {
    for documents in [corpus::own(), corpus::load()] {
        let single = whole(&documents);
        let mut fleet = Fleet::start(&documents, "all".into()).await.unwrap();
        let check = async |fleet: &Fleet| {
            for words in QUESTIONS {
                let (found, answer) = fleet.search(words).await.unwrap();
                assert!(answer.complete, "{answer:?}");
                assert_eq!(found, single.search(words, K).unwrap(), "{words}");
            }
        };
        check(&fleet).await;
        fleet.leaves[0][0].as_ref().unwrap().slow_down(Duration::from_secs(5));
        check(&fleet).await;
        fleet.kill(1, 1);
        check(&fleet).await;
    }
}

/// Proves that without a shard the answer is what the others have, and is called partial.
#[tokio::test(flavor = "multi_thread")]
async fn truthful_without_a_shard() {
    let documents = corpus::load();
    let mut fleet = Fleet::start(&documents, "deadline".into()).await.unwrap();
    fleet.kill(2, 0);
    fleet.kill(2, 1);
    let parts = split(&documents, SHARDS);
    let rest = whole(&[parts[0].clone(), parts[1].clone()].concat());
    for words in QUESTIONS {
        let (found, answer) = fleet.search(words).await.unwrap();
        assert!(!answer.complete);
        assert_eq!(answer.shards[2].outcome, "failed", "{answer:?}");
        assert_eq!((answer.counts.planned, answer.counts.merged), (3, 2));
        assert_eq!(found, rest.search(words, K).unwrap(), "{words}");
    }
}

/// Proves that a plain file server, as Python's http.server is one, can be a shard beside the others.
#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_leaf() {
    use quorate_core::types::Name;
    use quorate_scatter_gather::root::{Origin, Question, Root};
    let documents = corpus::own();
    let fleet = Fleet::start(&documents, "all".into()).await.unwrap();
    let single = whole(&documents);
    let file = r#"{"hits":[{"id":"foreign","score":99.0}],"facets":{"MIT":1},"total":1}"#;
    let server = plain_server(file.to_owned());
    let mut definition = definition(&fleet.leaves, "all".into());
    let foreign = json!({"id": "foreign", "replicas": [format!("http://{server}/found.json")]});
    definition["shards"].as_array_mut().unwrap().push(foreign);
    let root = Root::new(Default::default());
    let spec = serde_json::from_value(definition).unwrap();
    let fanout = root.put(&Name::new("mixed").unwrap(), spec, Origin::Api).unwrap();
    let question = Question::query(json!({"q": "majority", "k": K}).to_string().into());
    let answer = root.ask(&fanout, question).await.unwrap();
    assert!(answer.complete, "{answer:?}");
    let found: search::index::Found = serde_json::from_slice(&answer.merged.body).unwrap();
    let without = single.search("majority", K).unwrap();
    assert_eq!(found.total, without.total + 1);
    assert_eq!(found.hits[0].id, "foreign");
    assert_eq!(found.hits[1..], without.hits[..]);
}

/// One thread, HTTP/1.0, a connection a request, as Python's http.server speaks by default.
fn plain_server(file: String) -> std::net::SocketAddr {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut seen = [0; 4096];
            let n = stream.read(&mut seen).unwrap_or(0);
            let known = seen[..n].starts_with(b"POST") || seen[..n].starts_with(b"GET");
            let status = if known { "200 OK" } else { "505 HTTP Version Not Supported" };
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
