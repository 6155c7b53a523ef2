//! The real binary against a real `quorate dev`.

use quorate_cli::measure::{Server, TempDir, free_ports, temp_dir};
use quorate_core::runtime::healthcheck;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// For a server on a busy machine.
const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// The binary under test.
pub(crate) fn quorate() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_quorate"))
}

/// A command without the settings of the caller's shell.
pub(crate) fn run(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

/// The same, to be changed before it is run.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(quorate());
    command.args(args);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("QUORATE_") {
            command.env_remove(name);
        }
    }
    command
}

/// A server in memory, gone when dropped.
pub(crate) struct Dev {
    server: Server,
    pub(crate) api: String,
    /// The API of leader election.
    pub(crate) election: String,
    dir: TempDir,
}

impl Dev {
    pub(crate) fn start() -> Self {
        let dir = temp_dir(None, "quorate-cli-test-").unwrap();
        let ports = free_ports(3).unwrap();
        let (api, ops) = (
            format!("127.0.0.1:{}", ports[0]),
            format!("127.0.0.1:{}", ports[1]),
        );
        let election = format!("127.0.0.1:{}", ports[2]);
        let args = ["dev", "--listen", &api, "--ops-listen", &ops];
        let args = args.into_iter().chain(["--election-listen", &election]);
        let args: Vec<String> = args.map(ToOwned::to_owned).collect();
        let server =
            Server::start("dev", &quorate(), args, vec![], dir.path().join("log")).unwrap();
        let dev = Self {
            server,
            api: format!("http://{api}"),
            election: format!("http://{election}"),
            dir,
        };
        let deadline = Instant::now() + READY_TIMEOUT;
        while !run(&["healthcheck", "--ops-listen", &ops]).status.success() {
            assert!(
                Instant::now() < deadline,
                "not ready: {}",
                dev.server.log_tail()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        dev
    }

    /// A client command that talks to it.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = command(args);
        command.env("QUORATE_SERVERS", &self.api);
        command
    }

    /// Runs a command; panics unless it ends with this code.
    pub(crate) fn ends(&self, code: i32, args: &[&str]) -> Output {
        let output = self.command(args).output().unwrap();
        assert_eq!(
            output.status.code(),
            Some(code),
            "{args:?}: {}",
            text(&output.stderr)
        );
        output
    }

    /// The JSON document that a command prints.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let output = self.ends(0, &[args, &["-o", "json"]].concat());
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{args:?}: {error}"))
    }

    /// What the REST API answers.
    pub(crate) fn get(&self, path: &str) -> Value {
        let address = self.api.strip_prefix("http://").unwrap().parse().unwrap();
        let (status, body) = healthcheck::get(address, path, READY_TIMEOUT).unwrap();
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// A worker of a queue, until dropped.
    pub(crate) fn worker(&self, name: &str, args: &[&str]) -> Server {
        let env = vec![("QUORATE_SERVERS".to_owned(), self.api.clone())];
        let args = [&["work"], args]
            .concat()
            .into_iter()
            .map(ToOwned::to_owned)
            .collect();
        Server::start(name, &quorate(), args, env, self.path(name)).unwrap()
    }

    /// A path in its directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        Path::new(self.dir.path()).join(name)
    }
}

/// Bytes as text.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
