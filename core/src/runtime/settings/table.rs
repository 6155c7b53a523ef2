//! The one table of settings.
//!
//! A row gives a field of [`Settings`] with its kind, the variable, the default and the roles whose
//! command line shows a flag for it. The key in the file is the field's name; the flag is the same
//! with dashes.

use super::values::{
    Address, AllowedHosts, BlobsUrl, Endpoints, HttpUrl, LogFormat, Millis, PeerAddresses, Switch,
    Value,
};
use super::{ConfigErrors, Pattern, sources};
use crate::types::NodeId;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Where a setting's value comes from when no source names it.
#[derive(Clone, Copy, Debug)]
pub enum Fallback {
    /// It has none.
    None,
    /// This text.
    Text(&'static str),
    /// It depends on the pattern.
    Of(fn(Pattern) -> Option<String>),
}

impl Fallback {
    /// The default's text for a pattern.
    pub fn text(self, pattern: Pattern) -> Option<String> {
        match self {
            Self::None => None,
            Self::Text(text) => Some(text.to_owned()),
            Self::Of(of) => of(pattern),
        }
    }
}

/// Whose command lines show a flag for a setting. Files and variables are accepted by all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uses(u8);

impl Uses {
    /// Containers with an API: `serve`, `sidecar`, `dev`.
    pub const SERVE: Self = Self(1);
    /// The worker agent.
    pub const WORK: Self = Self(2);
    /// Commands that talk to a server.
    pub const CLIENT: Self = Self(4);
    /// Everyone.
    pub const ALL: Self = Self(7);

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether they have a role in common.
    pub const fn meet(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    /// The field of [`Settings`] and the key in the file.
    pub name: &'static str,
    /// The flag, without its dashes in front: the name with dashes.
    pub flag: &'static str,
    /// The environment variable.
    pub env: &'static str,
    /// What the value looks like, for help texts.
    pub value_name: &'static str,
    /// What it means.
    pub doc: &'static str,
    /// Its value when nobody says anything.
    pub default: Fallback,
    /// Who has a flag for it.
    pub uses: Uses,
    /// Reserved for what is not built yet: setting it stops the start, so that nothing is accepted
    /// and ignored.
    pub built: bool,
    /// Its flag needs no value.
    pub switch: bool,
    /// Shows a raw value, redacted where the kind can hold a credential.
    pub show: fn(&str) -> String,
}

impl Definition {
    /// The row of this name.
    pub fn of(name: &str) -> Option<&'static Self> {
        DEFINITIONS
            .iter()
            .find(|definition| definition.name == name)
    }
}

/// `data_dir` to `data-dir`, while compiling.
const fn dashed<const N: usize>(name: &str) -> [u8; N] {
    let mut flag = [0; N];
    let mut i = 0;
    while i < N {
        let byte = name.as_bytes()[i];
        flag[i] = if byte == b'_' { b'-' } else { byte };
        i += 1;
    }
    flag
}

macro_rules! settings {
    ($(
        $(#[doc = $doc:literal])+
        $name:ident : $kind:ty { $env:literal $value_name:literal $default:expr, $uses:expr $(, $unbuilt:ident)? }
    )*) => {
        /// Every setting, in the order of the documentation.
        pub static DEFINITIONS: &[Definition] = &[$(Definition {
            name: stringify!($name),
            flag: {
                const BYTES: [u8; stringify!($name).len()] = dashed(stringify!($name));
                match std::str::from_utf8(&BYTES) {
                    Ok(flag) => flag,
                    Err(_) => panic!("a name of a field is UTF-8"),
                }
            },
            env: $env,
            value_name: $value_name,
            doc: concat!($($doc),+).trim_ascii(),
            default: $default,
            uses: $uses,
            built: true $(&& settings!(@$unbuilt))?,
            switch: <$kind as Value>::SWITCH,
            show: <$kind as Value>::show,
        },)*];

        /// The settings of one process, checked and typed.
        #[derive(Clone, Debug)]
        pub struct Settings {
            /// The pattern whose defaults apply.
            pub pattern: Pattern,
            $($(#[doc = $doc])+ pub $name: $kind,)*
            pub(super) raw: BTreeMap<&'static str, sources::Raw>,
        }

        impl Settings {
            /// Types the raw values; what does not parse is added to `problems`.
            pub(super) fn build(
                pattern: Pattern,
                raw: BTreeMap<&'static str, sources::Raw>,
                mut problems: Vec<String>,
            ) -> Result<Self, ConfigErrors> {
                $(let $name: Option<$kind> = sources::typed(stringify!($name), &raw, &mut problems);)*
                ConfigErrors::check(problems)?;
                match ($($name,)*) {
                    ($(Some($name),)*) => Ok(Self { pattern, $($name,)* raw }),
                    _ => Err(ConfigErrors::one("a setting has no value")),
                }
            }
        }
    };
    (@unbuilt) => { false };
}

const SERVE: Uses = Uses::SERVE;
const WORK: Uses = Uses::WORK;
const CLIENT: Uses = Uses::CLIENT;
const ALL: Uses = Uses::ALL;

settings! {
    /// configuration file, TOML, keys as the names of the settings
    config: Option<PathBuf> { "QUORATE_CONFIG" "FILE" Fallback::None, ALL }
    /// where the API listens
    listen: Address { "QUORATE_LISTEN" "HOST:PORT"
        Fallback::Of(|p| Some(format!("127.0.0.1:{}", p.api_port()))), SERVE }
    /// where health, metrics and the dashboard listen
    ops_listen: Address { "QUORATE_OPS_LISTEN" "HOST:PORT"
        Fallback::Of(|p| Some(format!("127.0.0.1:{}", p.ops_port()))), SERVE }
    /// where the other replicas reach this one
    peer_listen: Option<Address> { "QUORATE_PEER_LISTEN" "HOST:PORT"
        Fallback::Of(|p| p.peer_port().map(|port| format!("127.0.0.1:{port}"))), SERVE }
    /// this replica's number: 1, 2, … or ordinal (suffix of the host name + 1)
    node_id: Option<NodeId> { "QUORATE_NODE_ID" "N" Fallback::None, SERVE }
    /// peer addresses of all replicas, 1=host:port,2=host:port; the bootstrap set at the first start
    peers: Option<PeerAddresses> { "QUORATE_PEERS" "LIST" Fallback::None, SERVE }
    /// directory of the replicated log; required by serve
    data_dir: Option<PathBuf> { "QUORATE_DATA_DIR" "DIR" Fallback::None, SERVE }
    /// API addresses that sidecars, workers and clients talk to
    servers: Endpoints { "QUORATE_SERVERS" "URLS"
        Fallback::Of(|p| Some(format!("http://127.0.0.1:{}", p.api_port()))), ALL }
    /// file with the bearer tokens this listener accepts, one a line, at most two
    token_file: Option<PathBuf> { "QUORATE_TOKEN_FILE" "FILE" Fallback::None, SERVE }
    /// certificate of this listener, PEM, with the intermediate ones after it
    tls_cert: Option<PathBuf> { "QUORATE_TLS_CERT" "FILE" Fallback::None, SERVE }
    /// private key of this listener
    tls_key: Option<PathBuf> { "QUORATE_TLS_KEY" "FILE" Fallback::None, SERVE }
    /// authority that clients of this listener must be signed by; without it they need no certificate
    tls_ca: Option<PathBuf> { "QUORATE_TLS_CA" "FILE" Fallback::None, SERVE }
    /// file with the bearer token presented to servers, in its first line
    servers_token_file: Option<PathBuf> { "QUORATE_SERVERS_TOKEN_FILE" "FILE" Fallback::None, ALL }
    /// authority that servers must be signed by, for addresses that begin with https://
    servers_ca: Option<PathBuf> { "QUORATE_SERVERS_CA" "FILE" Fallback::None, ALL }
    /// certificate presented to servers
    servers_cert: Option<PathBuf> { "QUORATE_SERVERS_CERT" "FILE" Fallback::None, ALL }
    /// private key of the certificate presented to servers
    servers_key: Option<PathBuf> { "QUORATE_SERVERS_KEY" "FILE" Fallback::None, ALL }
    /// certificate between replicas, with the name quorate://CLUSTER/node/N
    peer_tls_cert: Option<PathBuf> { "QUORATE_PEER_TLS_CERT" "FILE" Fallback::None, SERVE }
    /// private key of the certificate between replicas
    peer_tls_key: Option<PathBuf> { "QUORATE_PEER_TLS_KEY" "FILE" Fallback::None, SERVE }
    /// authority that replicas must be signed by
    peer_tls_ca: Option<PathBuf> { "QUORATE_PEER_TLS_CA" "FILE" Fallback::None, SERVE }
    /// let replicas talk without TLS beyond loopback: only on a network nobody else can reach
    insecure_peers: Switch { "QUORATE_INSECURE_PEERS" "BOOL" Fallback::Text("0"), SERVE }
    /// host names that requests may name, separated by commas
    allowed_hosts: Option<AllowedHosts> { "QUORATE_ALLOWED_HOSTS" "HOSTS" Fallback::None, SERVE }
    /// connections the API holds open at once; further ones wait
    max_connections: u32 { "QUORATE_MAX_CONNECTIONS" "N" Fallback::Text("1024"), SERVE }
    /// where blobs are kept, file:///path or s3://bucket/prefix
    blobs: Option<BlobsUrl> { "QUORATE_BLOBS" "URL" Fallback::None, SERVE.and(WORK).and(CLIENT) }
    /// text or json; text on a terminal, json otherwise
    log_format: Option<LogFormat> { "QUORATE_LOG_FORMAT" "FORMAT" Fallback::None, ALL }
    /// what is logged, as in RUST_LOG: info, debug, quorate_core=trace, …
    log: String { "RUST_LOG" "FILTER" Fallback::Text("info"), ALL }
    /// how long a drain may take after SIGTERM
    shutdown_grace_ms: Millis { "QUORATE_SHUTDOWN_GRACE_MS" "MS" Fallback::Text("8000"), SERVE.and(WORK) }
    /// this application's name as a candidate (election sidecar)
    candidate_id: Option<String> { "QUORATE_CANDIDATE_ID" "ID" Fallback::None, SERVE }
    /// process whose life is the application's (election sidecar)
    app_pid: Option<u32> { "QUORATE_APP_PID" "PID" Fallback::None, SERVE }
    /// URL that answers 2xx while the application lives (election sidecar)
    app_health_url: Option<HttpUrl> { "QUORATE_APP_HEALTH_URL" "URL" Fallback::None, SERVE }
    /// election that the sidecar stands for by itself, and answers for on / (election sidecar)
    election: Option<String> { "QUORATE_ELECTION" "NAME" Fallback::None, SERVE }
    /// length of the sidecar's own session: a dead host's leadership passes on after so long (election sidecar)
    session_ttl_ms: Millis { "QUORATE_SESSION_TTL_MS" "MS" Fallback::Text("2000"), SERVE }
    /// URL that is posted to before a hand-over; 2xx says that the application has stopped (election sidecar)
    app_drain_url: Option<HttpUrl> { "QUORATE_APP_DRAIN_URL" "URL" Fallback::None, SERVE }
    /// signal for the process of app_pid before a hand-over: TERM, INT, HUP, USR1 or USR2 (election sidecar)
    app_drain_signal: Option<String> { "QUORATE_APP_DRAIN_SIGNAL" "SIGNAL" Fallback::None, SERVE }
    /// answer for the election on 127.0.0.1:4040 too, as the old Kubernetes leader-elector did
    compat_4040: Switch { "QUORATE_COMPAT_4040" "BOOL" Fallback::Text("0"), SERVE }
    /// definitions of fan-outs (scatter/gather root)
    fanouts_file: Option<PathBuf> { "QUORATE_FANOUTS_FILE" "FILE" Fallback::None, SERVE }
    /// let definitions of fan-outs be changed over an API beyond loopback
    fanouts_api: Switch { "QUORATE_FANOUTS_API" "BOOL" Fallback::Text("0"), SERVE }
    /// the application behind the leaf gate (scatter/gather)
    upstream: Option<HttpUrl> { "QUORATE_UPSTREAM" "URL" Fallback::None, SERVE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_has_one_name_in_three_spellings() {
        let mut seen = std::collections::BTreeSet::new();
        for row in DEFINITIONS {
            assert!(seen.insert(row.name), "{} twice", row.name);
            if row.name != "log" {
                assert_eq!(row.env, format!("QUORATE_{}", row.name.to_uppercase()));
            }
            assert_eq!(row.flag, row.name.replace('_', "-"));
            assert!(!row.doc.is_empty());
            assert!(
                !sources::is_service_link(row.env),
                "{} looks like a service link",
                row.env
            );
        }
    }

    #[test]
    fn defaults_follow_the_pattern() {
        let listen = Definition::of("listen").unwrap().default;
        assert_eq!(listen.text(Pattern::WorkQueue).unwrap(), "127.0.0.1:7072");
        let peer = Definition::of("peer_listen").unwrap().default;
        assert_eq!(
            peer.text(Pattern::LeaderElection).unwrap(),
            "127.0.0.1:7271"
        );
        assert_eq!(peer.text(Pattern::ScatterGather), None);
    }
}
