//! Settings from all sources together.

use quorate_core::runtime::settings::{Environment, FlagValues, Origin};
use quorate_core::runtime::{Pattern, Settings};
use quorate_core::types::NodeId;
use std::io::Write as _;

fn load(variables: &[(&str, &str)], flags: &FlagValues) -> Result<Settings, Vec<String>> {
    Settings::load_from(
        Pattern::WorkQueue,
        flags,
        &Environment::of(variables.iter().copied()),
    )
    .map_err(|errors| errors.problems().to_vec())
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn the_strongest_source_wins_and_is_named() {
    // Proves: default < file < environment < flag, and the origin of each value.
    let file = file(
        "listen = '127.0.0.1:1'\ndata_dir = '/file'\nblobs = 'file:///file'\nshutdown_grace_ms = 5\n",
    );
    let path = file.path().to_str().unwrap();
    let variables = [
        ("QUORATE_CONFIG", path),
        ("QUORATE_DATA_DIR", "/env"),
        ("QUORATE_BLOBS", "file:///env"),
        ("QUORATE_TOKEN_FILE", ""),
    ];
    let flags = FlagValues::none().with("blobs", "file:///flag");
    let settings = load(&variables, &flags).unwrap();
    assert_eq!(settings.listen.to_string(), "127.0.0.1:1");
    assert_eq!(settings.shutdown_grace_ms.0, 5);
    assert_eq!(settings.data_dir.as_ref().unwrap().to_str(), Some("/env"));
    assert_eq!(settings.blobs.as_ref().unwrap().0, "file:///flag");
    assert_eq!(settings.token_file, None, "an empty variable is not set");
    let origin = |name: &str| settings.origin(name).unwrap().to_string();
    assert_eq!(origin("ops_listen"), "default");
    assert_eq!(origin("listen"), format!("file {path}"));
    assert_eq!(origin("data_dir"), "environment QUORATE_DATA_DIR");
    assert_eq!(origin("blobs"), "flag --blobs");
    let shown = settings.show();
    let blobs = shown.iter().find(|row| row.name == "blobs").unwrap();
    assert_eq!(blobs.value.as_deref(), Some("file:///flag"));
    assert_eq!(blobs.origin, Origin::Flag("blobs"));
}

#[test]
fn an_unknown_name_stops_the_start_and_the_nearest_is_told() {
    // Proves: unknown variables and keys are refused with the nearest known name, all at once and next
    // to bad values; service links of Kubernetes are nobody's settings.
    let file = file("lisen = 'x'\nlisten = 'nonsense'\n");
    let problems = load(
        &[
            ("QUORATE_CONFIG", file.path().to_str().unwrap()),
            ("QUORATE_LISTN", "127.0.0.1:1"),
            ("QUORATE_PEERS", "1=a"),
            ("QUORATE_TOKEN", "canary-secret"),
            ("QUORATE_SERVICE_HOST", "10.0.0.1"),
            ("QUORATE_WORK_QUEUE_SERVICE_PORT_API", "7072"),
            ("QUORATE_PORT", "tcp://10.0.0.1:7072"),
            ("QUORATE_PORT_7072_TCP_ADDR", "10.0.0.1"),
        ],
        &FlagValues::none(),
    )
    .unwrap_err();
    let text = problems.join("\n");
    assert_eq!(problems.len(), 5, "{text}");
    assert!(
        text.contains("QUORATE_LISTN is not known; did you mean QUORATE_LISTEN?"),
        "{text}"
    );
    assert!(text.contains("did you mean QUORATE_TOKEN_FILE?"), "{text}");
    assert!(
        text.contains("lisen is not known; did you mean listen?"),
        "{text}"
    );
    assert!(text.contains("listen (from file"), "{text}");
    assert!(
        text.contains("peers (from environment QUORATE_PEERS)"),
        "{text}"
    );
    assert!(!text.contains("canary-secret"), "{text}");
}

#[test]
fn every_documented_variable_is_accepted_by_every_pattern() {
    // Proves: one ConfigMap serves a whole deployment.
    let good = [
        ("QUORATE_LISTEN", "127.0.0.1:1"),
        ("QUORATE_OPS_LISTEN", "127.0.0.1:2"),
        ("QUORATE_PEER_LISTEN", "127.0.0.1:3"),
        ("QUORATE_NODE_ID", "2"),
        ("QUORATE_PEERS", "1=a:1,2=b:1,3=c:1"),
        ("QUORATE_DATA_DIR", "/data"),
        ("QUORATE_SERVERS", "http://a:1,b:2"),
        ("QUORATE_TOKEN_FILE", "/token"),
        ("QUORATE_TLS_CERT", "/cert"),
        ("QUORATE_TLS_KEY", "/key"),
        ("QUORATE_TLS_CA", "/ca"),
        ("QUORATE_SERVERS_TOKEN_FILE", "/token"),
        ("QUORATE_SERVERS_CA", "/ca"),
        ("QUORATE_SERVERS_CERT", "/cert"),
        ("QUORATE_SERVERS_KEY", "/key"),
        ("QUORATE_PEER_TLS_CERT", "/cert"),
        ("QUORATE_PEER_TLS_KEY", "/key"),
        ("QUORATE_PEER_TLS_CA", "/ca"),
        ("QUORATE_BLOBS", "s3://bucket/prefix"),
        ("QUORATE_LOG_FORMAT", "json"),
        ("RUST_LOG", "info"),
        ("QUORATE_SHUTDOWN_GRACE_MS", "1"),
        ("QUORATE_CANDIDATE_ID", "app-1"),
        ("QUORATE_APP_PID", "1"),
        ("QUORATE_APP_HEALTH_URL", "http://127.0.0.1:8080/"),
        ("QUORATE_FANOUTS_FILE", "/fanouts"),
        ("QUORATE_UPSTREAM", "http://127.0.0.1:8080"),
        ("QUORATE_ALLOWED_HOSTS", "queue.example"),
        ("QUORATE_INSECURE_PEERS", "1"),
    ];
    for pattern in [
        Pattern::LeaderElection,
        Pattern::WorkQueue,
        Pattern::ScatterGather,
    ] {
        Settings::load_from(pattern, &FlagValues::none(), &Environment::of(good)).unwrap();
    }
}

#[test]
fn a_file_that_cannot_be_read_or_parsed_is_told_with_its_name() {
    // Proves: no file, no TOML, and values of kinds that have no text form.
    let missing = load(&[("QUORATE_CONFIG", "/no/such.toml")], &FlagValues::none()).unwrap_err();
    assert!(missing[0].contains("/no/such.toml"), "{missing:?}");
    for (text, hint) in [
        ("listen = ", "not TOML"),
        ("listen = 1.5", "as a string"),
        ("config = 'x'", "not known"),
    ] {
        let file = file(text);
        let problems = load(
            &[("QUORATE_CONFIG", file.path().to_str().unwrap())],
            &FlagValues::none(),
        )
        .unwrap_err();
        assert!(problems[0].contains(hint), "{problems:?}");
    }
    let tables = file("servers = ['http://a:1', 'http://b:2']\n[peers]\n1 = 'a:1'\n2 = 'b:1'\n");
    let settings = load(
        &[("QUORATE_CONFIG", tables.path().to_str().unwrap())],
        &FlagValues::none(),
    )
    .unwrap();
    assert_eq!(settings.peers.unwrap().0.len(), 2);
    assert_eq!(settings.servers.0, ["http://a:1", "http://b:2"]);
}

#[test]
fn membership_is_checked_as_a_whole() {
    // Proves: a replica that cannot know who it is does not start; one that is alone needs nothing.
    let alone = load(&[], &FlagValues::none())
        .unwrap()
        .membership()
        .unwrap();
    assert_eq!(
        (alone.node, alone.peers.len(), alone.peer_listen),
        (NodeId(1), 1, None)
    );
    let three = ("QUORATE_PEERS", "1=127.0.0.1:1,2=127.0.0.1:2,3=127.0.0.1:3");
    let nameless = load(&[three], &FlagValues::none())
        .unwrap()
        .membership()
        .unwrap_err();
    assert!(nameless.to_string().contains("QUORATE_NODE_ID"));
    let stranger = load(&[three, ("QUORATE_NODE_ID", "4")], &FlagValues::none())
        .unwrap()
        .membership()
        .unwrap_err();
    assert!(stranger.to_string().contains("1, 2, 3"));
    let second = load(&[three, ("QUORATE_NODE_ID", "2")], &FlagValues::none())
        .unwrap()
        .membership()
        .unwrap();
    assert_eq!(second.peer_listen.unwrap().to_string(), "127.0.0.1:2");
    let given = [
        three,
        ("QUORATE_NODE_ID", "2"),
        ("QUORATE_PEER_LISTEN", "0.0.0.0:9"),
    ];
    let second = load(&given, &FlagValues::none())
        .unwrap()
        .membership()
        .unwrap();
    assert_eq!(second.peer_listen.unwrap().to_string(), "0.0.0.0:9");
    assert!(
        load(&[], &FlagValues::none())
            .unwrap()
            .require_data_dir()
            .is_err()
    );
}
