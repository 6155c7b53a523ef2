//! `quorate cluster certs`: an authority and the certificates of a small cluster, in one directory.
//!
//! For development, Compose files and installations without an authority of their own. The private key of the authority
//! lies beside the rest; whoever keeps it can make new nodes, so it belongs on the operator's machine alone.

use crate::context::Context;
use crate::errors::{Exit, Failure, Outcome};
use crate::parse;
use clap::Args;
use quorate_core::tls::certs::{Authority, Issued};
use quorate_core::types::{Name, NodeId};
use std::fmt::Write as _;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

/// Longest life that is given to a certificate.
const DAYS_MAX: i64 = 3650;

/// More nodes than any cluster has.
const NODES_MAX: u64 = 99;

/// Random bytes of a token.
const TOKEN_BYTES: usize = 32;

/// Make an authority and certificates for replicas, the API and clients, and a token, in a directory
///
/// Files that are there are kept, so that the command can be repeated for more nodes; --renew makes the certificates anew
/// with the same authority. Running processes take renewed files up within a second.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  quorate cluster certs --dir certs --cluster payments --nodes 3 --host queue-1 --host queue-2 --host queue-3
  quorate cluster certs --dir certs --cluster payments --nodes 3 --host queue-1 --renew

What it writes:
  ca.crt, ca.key             the authority; ca.key stays with the operator
  node-N.crt, node-N.key     QUORATE_PEER_TLS_CERT and _KEY of node N, with ca.crt as QUORATE_PEER_TLS_CA
  api.crt, api.key           QUORATE_TLS_CERT and _KEY of every API, for the hosts named
  client-NAME.crt, .key      QUORATE_SERVERS_CERT and _KEY of a client, with ca.crt as QUORATE_SERVERS_CA
  token                      QUORATE_TOKEN_FILE of the servers, QUORATE_SERVERS_TOKEN_FILE of clients")]
pub(crate) struct Certs {
    /// Where to write; made if it is not there
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Name of the cluster, which its replicas' certificates are bound to
    #[arg(long, value_name = "NAME", value_parser = parse::name)]
    cluster: Name,
    /// Replicas, numbered from 1
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=NODES_MAX))]
    nodes: u64,
    /// A host name or address by which clients reach an API; several times
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    /// A client that gets a certificate; several times
    #[arg(long = "client", value_name = "NAME", value_parser = parse::name)]
    clients: Vec<Name>,
    /// How long the certificates are valid
    #[arg(long, value_name = "N", default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=DAYS_MAX))]
    days: u32,
    /// Make certificates anew that are there already
    #[arg(long)]
    renew: bool,
}

impl Certs {
    pub(crate) fn run(self, context: Context) -> Outcome {
        std::fs::create_dir_all(&self.dir).map_err(|error| cannot("make", &self.dir, &error))?;
        let authority = self.authority(context)?;
        let failed = |error: quorate_core::tls::TlsError| Failure::usage(error.to_string());
        for node in (1..=self.nodes).map(NodeId) {
            self.issue(&format!("node-{node}"), context, || {
                authority.peer(node, self.days).map_err(failed)
            })?;
        }
        let mut hosts = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        hosts.extend(self.hosts.iter().cloned());
        self.issue("api", context, || {
            authority.server(&hosts, self.days).map_err(failed)
        })?;
        for client in &self.clients {
            self.issue(&format!("client-{client}"), context, || {
                authority.client(client.as_str(), self.days).map_err(failed)
            })?;
        }
        let token = self.dir.join("token");
        if !exists(&token)? {
            secret(&token, &random_hex())?;
            context.output.note(format!("wrote {}", token.display()));
        }
        Ok(())
    }

    /// The authority that is there, or a new one.
    fn authority(&self, context: Context) -> Outcome<Authority> {
        let (cert, key) = (self.dir.join("ca.crt"), self.dir.join("ca.key"));
        if exists(&cert)? || exists(&key)? {
            let read = |path: &Path| {
                std::fs::read_to_string(path).map_err(|error| cannot("read", path, &error))
            };
            return Authority::load(&self.cluster, &read(&cert)?, &read(&key)?)
                .map_err(|error| Failure::config(error.to_string()));
        }
        let authority = Authority::create(&self.cluster)
            .map_err(|error| Failure::new(Exit::Temporary, error.to_string()))?;
        self.keep("ca", &authority.issued(), context)?;
        Ok(authority)
    }

    fn issue(
        &self,
        name: &str,
        context: Context,
        make: impl FnOnce() -> Outcome<Issued>,
    ) -> Outcome {
        if !self.renew && exists(&self.dir.join(format!("{name}.crt")))? {
            return Ok(());
        }
        self.keep(name, &make()?, context)
    }

    fn keep(&self, name: &str, issued: &Issued, context: Context) -> Outcome {
        // The key first: a certificate that is there counts as whole.
        let (cert, key) = (
            self.dir.join(format!("{name}.crt")),
            self.dir.join(format!("{name}.key")),
        );
        secret(&key, &issued.key)?;
        replace(&cert, &issued.cert, 0o644)?;
        context
            .output
            .note(format!("wrote {} and {}", cert.display(), key.display()));
        Ok(())
    }
}

fn exists(path: &Path) -> Outcome<bool> {
    path.try_exists()
        .map_err(|error| cannot("look for", path, &error))
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    let hint = match error.kind() {
        ErrorKind::PermissionDenied => "; choose a directory of your own with --dir",
        _ => "",
    };
    Failure::config(format!("cannot {what} {}: {error}{hint}", path.display()))
}

/// A file that only this user may read.
fn secret(path: &Path, text: &str) -> Outcome {
    replace(path, text, 0o600)
}

/// Writes a file whole or not at all: readers may look at any time.
fn replace(path: &Path, text: &str, mode: u32) -> Outcome {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut partial = path.as_os_str().to_owned();
    partial.push(".new");
    let partial = PathBuf::from(partial);
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&partial)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| std::fs::rename(&partial, path));
    written.map_err(|error| cannot("write", path, &error))
}

fn random_hex() -> String {
    let bytes: [u8; TOKEN_BYTES] = rand::random();
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A second run keeps what is there and adds what is missing; --renew replaces certificates but not the authority.
    #[test]
    fn files_are_kept_until_they_shall_be_renewed() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let context = Context {
            output: crate::output::Output::new(crate::output::Format::Table),
        };
        let certs = |nodes, renew| Certs {
            dir: dir.path().to_owned(),
            cluster: Name::new("payments").unwrap(),
            nodes,
            hosts: vec!["queue-1".to_owned()],
            clients: vec![Name::new("app").unwrap()],
            days: 1,
            renew,
        };
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        certs(1, false).run(context).unwrap();
        let first = (read("ca.crt"), read("node-1.crt"), read("token"));
        assert_eq!(first.2.len(), 2 * TOKEN_BYTES);
        for key in ["ca.key", "node-1.key", "api.key", "client-app.key", "token"] {
            let mode = std::fs::metadata(dir.path().join(key))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600, "{key}");
        }
        certs(2, false).run(context).unwrap();
        assert_eq!(first, (read("ca.crt"), read("node-1.crt"), read("token")));
        assert!(read("node-2.crt").contains("BEGIN CERTIFICATE"));
        certs(2, true).run(context).unwrap();
        assert_eq!((&first.0, &first.2), (&read("ca.crt"), &read("token")));
        assert_ne!(first.1, read("node-1.crt"));

        let other = Certs {
            cluster: Name::new("orders").unwrap(),
            ..certs(1, false)
        };
        let refusal = other.run(context).unwrap_err();
        assert!(refusal.message.contains("orders"), "{refusal}");
    }
}
