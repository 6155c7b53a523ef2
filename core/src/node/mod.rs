//! The shell around a replica: the threads, timers, disk and peers that turn the pure
//! [`crate::replica`] into a running node.
//!
//! One thread drives the replica and applies entries, one writes and syncs the log, one writes
//! snapshots; everything of the network runs on the caller's tokio runtime. They meet in mailboxes:
//!
//! ```text
//! API → Node ──inputs──▶ driver thread ──writes──▶ disk thread
//!        ▲                │  ▲   └─messages─▶ peer senders ─▶ network
//!        └───completions──┘  └──persisted, peers' messages──┘
//! ```
//!
//! Any node answers any request: one that does not lead forwards to the one that does, and tries again
//! as long as the operation was certainly not done.

mod config;
mod disk;
mod driver;
mod forming;
mod handle;
mod incoming;
mod mailbox;
mod peers;
mod requests;
mod start;
mod status;

pub use config::{Config, OnFatal, StartError};
pub use handle::Node;
pub use status::{NodeState, NodeStatus};
