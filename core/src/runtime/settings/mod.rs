//! The settings of every role, each defined once.
//!
//! `table` is the single list: name, variable, default, meaning. From it follow the keys of the
//! configuration file, the variables, the flags of the command line, `config show` and the typed
//! struct [`Settings`]. A value comes from the strongest source that names it: default < file
//! (`QUORATE_CONFIG`, TOML) < environment < flag. Every role accepts every documented variable, so
//! that one ConfigMap serves a whole deployment; a name that nobody knows stops the start, because a
//! misspelt setting is worse than a missing one. All problems are collected and told at once.

mod errors;
mod flags;
mod membership;
mod nearest;
mod show;
mod sources;
mod table;
mod tls;
mod values;

pub use errors::ConfigErrors;
pub use flags::{ClientFlags, FlagSet, FlagValues, Flags, ServeFlags, WorkFlags};
pub use membership::Membership;
pub use show::Shown;
pub use sources::{Environment, Origin};
pub use table::{DEFINITIONS, Definition, Fallback, Settings, Uses};
pub use tls::ListenerFiles;
pub use values::{
    Address, AllowedHosts, BlobsUrl, Endpoints, HttpUrl, LogFormat, Millis, PeerAddresses, Switch,
    Value,
};

/// The pattern a container serves. It decides the default ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pattern {
    /// Leader election: ports 7071, 7171, 7271.
    LeaderElection,
    /// The work queue: ports 7072, 7172, 7272.
    WorkQueue,
    /// Scatter/gather: ports 7073 and 7173; it replicates nothing, so it has no peer port.
    ScatterGather,
}

impl Pattern {
    /// The name in paths, metrics and `GET /v1/info`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LeaderElection => "leader-election",
            Self::WorkQueue => "work-queue",
            Self::ScatterGather => "scatter-gather",
        }
    }

    /// The port of the API.
    pub const fn api_port(self) -> u16 {
        match self {
            Self::LeaderElection => 7071,
            Self::WorkQueue => 7072,
            Self::ScatterGather => 7073,
        }
    }

    /// The port of health, metrics and dashboard.
    pub const fn ops_port(self) -> u16 {
        self.api_port() + 100
    }

    /// The port between replicas.
    pub const fn peer_port(self) -> Option<u16> {
        match self {
            Self::ScatterGather => None,
            Self::LeaderElection | Self::WorkQueue => Some(self.api_port() + 200),
        }
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
