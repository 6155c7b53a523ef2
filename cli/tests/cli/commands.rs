//! Every command against a server in memory.

use crate::support::{Dev, run, text};
use serde_json::json;
use std::io::Write;
use std::process::Stdio;

#[test]
fn a_job_goes_from_submit_to_its_result_and_every_view_shows_it() {
    let dev = Dev::start();
    let submitted = dev.json(&[
        "submit",
        "hello",
        r#"{"to":"world"}"#,
        "--label",
        "k=v",
        "--priority",
        "3",
    ]);
    let id = submitted["jobs"][0]["id"].as_str().unwrap();
    assert_eq!(submitted["jobs"][0]["duplicate"], json!(false));
    assert_eq!(
        dev.json(&["queue", "get", "hello"])["counts"]["ready"],
        json!(1)
    );

    let _worker = dev.worker(
        "hello",
        &[
            "hello",
            "--",
            "sh",
            "-c",
            r#"cp "$WORK_ITEM_FILE" "$WORK_OUTPUT_DIR/result.json""#,
        ],
    );
    dev.ends(0, &["jobs", "watch", id]);
    let job = dev.json(&["jobs", "get", id]);
    assert_eq!(job["state"], json!("completed"));
    assert_eq!(job["payload"], json!({"to": "world"}));
    assert_eq!(
        job["result"],
        json!({"to": "world"}),
        "the command's result.json"
    );
    assert_eq!(job["labels"], json!({"k": "v"}));
    assert_eq!(job["attempts"][0]["outcome"], json!("completed"));

    let listed = dev.json(&[
        "jobs",
        "list",
        "hello",
        "--state",
        "completed",
        "--label",
        "k=v",
    ]);
    assert_eq!(listed["items"][0]["id"], json!(id));
    let table = text(&dev.ends(0, &["jobs", "list", "hello"]).stdout);
    assert!(table.starts_with("JOB") && table.contains(id), "{table}");
    let yaml = text(&dev.ends(0, &["queue", "list", "-o", "yaml"]).stdout);
    assert!(
        yaml.contains("name: hello") && yaml.contains("completed: 1"),
        "{yaml}"
    );
}

#[test]
fn a_batch_of_files_is_joined_once_and_the_same_command_again_attaches_to_it() {
    let dev = Dev::start();
    let store = format!("file://{}", dev.path("blobs").display());
    std::fs::create_dir(dev.path("in")).unwrap();
    for name in ["a", "b", "c d"] {
        std::fs::write(
            dev.path("in").join(format!("{name}.txt")),
            format!("{name}\n"),
        )
        .unwrap();
    }
    let upper = r#"cat "$WORK_INPUT_DIR"/* | tr a-z A-Z > "$WORK_OUTPUT_DIR/upper.txt""#;
    let join = r#"cat "$WORK_INPUT_DIR"/* > "$WORK_OUTPUT_DIR/all.txt""#;
    let _workers = [
        dev.worker(
            "upper",
            &[
                "upper", "--slots", "2", "--blobs", &store, "--", "sh", "-c", upper,
            ],
        ),
        dev.worker("join", &["join", "--blobs", &store, "--", "sh", "-c", join]),
    ];
    let pattern = dev.path("in").join("*.txt").display().to_string();
    let submit = [
        "submit",
        "upper",
        "--glob",
        &pattern,
        "--blobs",
        &store,
        "--template",
        r#"{"file":"{stem}"}"#,
        "--batch",
        "--join",
        "join",
        "--key",
        "once",
        "--watch",
    ];
    dev.ends(0, &submit);
    let batches = dev.json(&["batch", "list"]);
    let batch = batches["items"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(batches["items"][0]["state"], json!("completed"));

    let results = dev.json(&["batch", "results", &batch]);
    let indexes: Vec<_> = results["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|child| &child["index"])
        .collect();
    assert_eq!(indexes, [&json!(0), &json!(1), &json!(2)]);
    let joined = dev.json(&["batch", "get", &batch])["join_job_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let uri = dev.json(&["jobs", "get", &joined])["outputs"][0]["uri"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = uri.strip_prefix("file://").unwrap();
    assert_eq!(std::fs::read_to_string(path).unwrap(), "A\nB\nC D\n");

    dev.ends(0, &submit);
    assert_eq!(
        dev.json(&["batch", "list"])["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        dev.json(&["queue", "get", "upper"])["counts"]["completed"],
        json!(3)
    );
}

#[test]
fn a_dead_child_holds_its_batch_until_somebody_skips_it() {
    let dev = Dev::start();
    dev.json(&["queue", "set", "q", "--max-attempts", "1"]);
    let submitted = dev.json(&["submit", "q", "x", "--batch"]);
    let batch = submitted["batch"].as_str().unwrap();
    let job = submitted["jobs"][0]["id"].as_str().unwrap();
    let _worker = dev.worker("fails", &["q", "--", "false"]);
    dev.ends(1, &["jobs", "watch", job]);
    assert_eq!(dev.json(&["batch", "get", batch])["state"], json!("held"));
    dev.ends(0, &["jobs", "skip", job]);
    dev.ends(0, &["batch", "watch", batch]);
}

#[test]
fn lines_of_stdin_become_jobs_that_the_same_lines_do_not_double() {
    let dev = Dev::start();
    let args = [
        "submit",
        "lines",
        "--lines",
        "--template",
        r#"{"n":"{item}"}"#,
        "--dedupe",
        "{item}",
    ];
    for (lines, fresh) in [("1\n2\n\n3\n", 3), ("2\n3\n4", 1)] {
        let mut child = dev
            .command(&args)
            .args(["-o", "json"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(lines.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        let submitted: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let jobs = submitted["jobs"].as_array().unwrap();
        assert_eq!(jobs.len(), 3);
        assert_eq!(
            jobs.iter()
                .filter(|job| job["duplicate"] == json!(false))
                .count(),
            fresh
        );
    }
    assert_eq!(
        dev.json(&["queue", "get", "lines"])["counts"]["ready"],
        json!(4)
    );
}

#[test]
fn an_operator_pauses_redrives_purges_and_deletes() {
    let dev = Dev::start();
    let set = dev.json(&[
        "queue",
        "set",
        "q",
        "--max-attempts",
        "1",
        "--lease",
        "5s",
        "--max-bytes",
        "1MiB",
    ]);
    assert_eq!(
        (&set["max_attempts"], &set["lease_ms"], &set["max_bytes"]),
        (&json!(1), &json!(5_000), &json!(1 << 20))
    );
    let kept = dev.json(&["queue", "set", "q", "--stall", "1m"]);
    assert_eq!(
        (&kept["max_attempts"], &kept["stall_ms"]),
        (&json!(1), &json!(60_000)),
        "what is not named stays"
    );

    let id = dev.json(&["submit", "q", "x"])["jobs"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let worker = dev.worker("fails", &["q", "--", "false"]);
    dev.ends(1, &["jobs", "watch", &id]);
    assert_eq!(
        dev.json(&["jobs", "get", &id])["attempts"][0]["exit_code"],
        json!(1)
    );
    drop(worker);

    assert_eq!(dev.json(&["queue", "pause", "q"])["paused"], json!(true));
    assert_eq!(
        dev.json(&["queue", "redrive", "q"])["counts"]["ready"],
        json!(1)
    );
    let asked = text(&dev.ends(2, &["queue", "purge", "q"]).stderr);
    assert!(
        asked.contains("--yes"),
        "without a terminal nothing is asked: {asked}"
    );
    assert_eq!(
        dev.json(&["queue", "purge", "q", "--yes"])["counts"]["cancelled"],
        json!(1)
    );
    assert_eq!(dev.json(&["queue", "resume", "q"])["paused"], json!(false));
    dev.ends(0, &["queue", "delete", "q", "--yes"]);
    dev.ends(1, &["queue", "get", "q"]);
}

#[test]
fn the_cluster_tells_who_leads_and_who_does_not_answer() {
    let dev = Dev::start();
    let servers = format!("{},http://127.0.0.1:1", dev.api);
    let status = dev.json(&["cluster", "status", "--servers", &servers]);
    assert_eq!(status["leader"], json!(1));
    let roles: Vec<_> = status["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| &node["role"])
        .collect();
    assert_eq!(roles, [&json!("leader"), &json!("unreachable")]);
    dev.ends(
        69,
        &["cluster", "status", "--servers", "http://127.0.0.1:1"],
    );
}

#[test]
fn every_way_to_be_wrong_has_its_exit_code_and_says_what_to_do() {
    for (code, says, args) in [
        (2, "nothing to submit", &["submit", "q"][..]),
        (2, "a-z, 0-9", &["submit", "Q!", "x"]),
        (
            2,
            "not a placeholder",
            &["submit", "q", "x", "--template", "{nme}"],
        ),
        (
            2,
            "matches no file",
            &["submit", "q", "--glob", "/nowhere/*.mp4"],
        ),
        (2, "--batch", &["submit", "q", "x", "--join", "j"]),
        (2, "not a JobId", &["jobs", "get", "7"]),
        (2, "250ms, 30s", &["queue", "set", "q", "--lease", "5"]),
        (2, "1, 3 or 5", &["bench", "work-queue", "--nodes", "2"]),
        (
            2,
            "too many",
            &["bench", "work-queue", "--http", "--inflight", "1024"],
        ),
        (78, "data_dir is required", &["serve", "work-queue"]),
        (
            78,
            "was not found",
            &["work", "q", "--", "/no/such/command"],
        ),
        (
            78,
            "servers_token_file",
            &["queue", "list", "--servers-token-file", "/no/such/file"],
        ),
        (
            69,
            "does not answer",
            &["healthcheck", "--ops-listen", "127.0.0.1:1"],
        ),
    ] {
        let output = run(args);
        let told = text(&output.stderr) + &text(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {told}");
        assert!(
            told.contains(says),
            "{args:?} does not say {says:?}: {told}"
        );
    }
}

#[test]
fn config_shows_where_a_value_comes_from_and_an_unknown_variable_stops_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("quorate.toml");
    std::fs::write(&file, "node_id = 2\nlisten = \"127.0.0.1:1001\"\n").unwrap();
    let output = crate::support::command(&[
        "config",
        "show",
        "--origin",
        "-o",
        "json",
        "--listen",
        "127.0.0.1:1003",
    ])
    .env("QUORATE_CONFIG", &file)
    .env("QUORATE_DATA_DIR", "/data")
    .output()
    .unwrap();
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let origin = |name: &str| {
        let rows = shown["settings"].as_array().unwrap();
        rows.iter().find(|row| row["name"] == name).unwrap()["origin"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(origin("listen"), "flag --listen");
    assert_eq!(origin("data_dir"), "environment QUORATE_DATA_DIR");
    assert!(origin("node_id").starts_with("file "));
    assert_eq!(origin("ops_listen"), "default");

    let output = crate::support::command(&["queue", "list"])
        .env("QUORATE_SERVRES", "x")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains("did you mean QUORATE_SERVERS"));
}

#[test]
fn documents_have_the_fields_of_the_rest_api() {
    let dev = Dev::start();
    let args = [
        "submit",
        "q",
        r#"{"n":1}"#,
        "binary",
        "--batch",
        "--label",
        "k=v",
    ];
    let submitted = dev.json(&args);
    let batch = submitted["batch"].as_str().unwrap();
    let worker = dev.worker("w", &["q", "--", "true"]);
    dev.ends(0, &["batch", "watch", batch]);
    drop(worker);

    let job = submitted["jobs"][0]["id"].as_str().unwrap();
    let binary = submitted["jobs"][1]["id"].as_str().unwrap();
    for (args, path) in [
        (&["queue", "get", "q"][..], "/v1/queues/q".to_owned()),
        (&["jobs", "get", job], format!("/v1/jobs/{job}")),
        (&["jobs", "get", binary], format!("/v1/jobs/{binary}")),
        (&["batch", "get", batch], format!("/v1/batches/{batch}")),
    ] {
        assert_eq!(dev.json(args), dev.get(&path), "{args:?}");
    }
    for (args, path) in [
        (&["queue", "list"][..], "/v1/queues".to_owned()),
        (&["jobs", "list", "q"], "/v1/queues/q/jobs".to_owned()),
        (&["batch", "list"], "/v1/batches".to_owned()),
        (
            &["batch", "results", batch],
            format!("/v1/batches/{batch}/results"),
        ),
    ] {
        assert_eq!(dev.json(args)["items"], dev.get(&path)["items"], "{args:?}");
    }
}
