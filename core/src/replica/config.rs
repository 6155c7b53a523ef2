//! How a replica is set up, and what it starts from.

use super::output::{HardState, LogEntry, Member, SnapshotMeta};
use crate::codec::CodecError;
use crate::types::{ClusterId, GroupId, LogIndex, NodeId};
use std::time::Duration;

/// Settings of one replica. Bounds have defaults that were measured; see each for its reason.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node.
    pub node: NodeId,
    /// The group this replica belongs to.
    pub group: GroupId,
    /// The cluster; goes into every snapshot.
    pub cluster: ClusterId,
    /// Seeds the election timeouts, the only thing that would otherwise be random.
    pub seed: u64,
    /// Drawn anew at each start, so that an answer to a question of an earlier life is told apart.
    pub boot_nonce: u64,
    /// How often the shell hands in [`super::Input::Tick`]. Leaders send a heartbeat each tick.
    pub tick: Duration,
    /// An election starts after this many silent ticks at least.
    pub election_ticks_min: usize,
    /// And at most this many less one: the upper bound is exclusive.
    pub election_ticks_max: usize,
    /// Bytes of entries in one append message, at least one entry. Large messages delay heartbeats of
    /// a leader that feeds a node which catches up, until it loses its office.
    pub append_bytes_max: u64,
    /// Append messages in flight to one peer.
    pub appends_in_flight_max: usize,
    /// Committed bytes applied in one step, so that heartbeats are answered in between.
    pub apply_bytes_max: u64,
    /// Bytes appended and not yet committed, beyond which proposals wait.
    pub uncommitted_bytes_max: u64,
    /// Bytes of operations in one entry.
    pub entry_bytes_max: usize,
    /// Operations in one entry.
    pub entry_ops_max: usize,
    /// Bytes of one operation, beyond which it is refused with `too_large`: an entry, a message and a
    /// write must stay of a size that delays no heartbeat for long.
    pub op_bytes_max: usize,
    /// Operations waiting for their entry, beyond which they are refused with `over_quota`.
    pub pending_ops_max: usize,
    /// Their bytes.
    pub pending_bytes_max: usize,
    /// Parked operations, beyond which they are refused with `over_quota`.
    pub parked_max: usize,
    /// Questions and renewals waiting for their quorum round, beyond which they are refused.
    pub reads_max: usize,
    /// A snapshot is taken when this many bytes of entries came since the last one, or as many as the last one
    /// had if that is more; never more than a quarter of `log_bytes_max`.
    pub snapshot_after_bytes: u64,
    /// Entries kept before the snapshot for followers that are a little behind.
    pub log_slack_bytes: u64,
    /// Bytes of entries in memory, beyond which the leader refuses operations: snapshots keep failing.
    pub log_bytes_max: u64,
    /// About the size of one slice of a snapshot.
    pub snapshot_slice_bytes: usize,
    /// Pause between slices, which bounds what a snapshot takes from the disk; none while the log is more than
    /// half of `log_bytes_max`.
    pub snapshot_pace: Duration,
    /// Time between two calls beyond which the loop is taken to have stood still: leases are counted
    /// longer, because renewals may lie unread.
    pub stall_after: Duration,
}

impl Config {
    /// The defaults for this node.
    pub fn new(
        node: NodeId,
        group: GroupId,
        cluster: ClusterId,
        seed: u64,
        boot_nonce: u64,
    ) -> Self {
        Self {
            node,
            group,
            cluster,
            seed,
            boot_nonce,
            tick: Duration::from_millis(50),
            election_ticks_min: 3,
            election_ticks_max: 6,
            append_bytes_max: 256 << 10,
            appends_in_flight_max: 16,
            apply_bytes_max: 1 << 20,
            uncommitted_bytes_max: 16 << 20,
            entry_bytes_max: 1 << 20,
            entry_ops_max: 4096,
            op_bytes_max: 8 << 20,
            pending_ops_max: 65_536,
            pending_bytes_max: 64 << 20,
            parked_max: 65_536,
            reads_max: 65_536,
            snapshot_after_bytes: 64 << 20,
            log_slack_bytes: 16 << 20,
            log_bytes_max: 512 << 20,
            snapshot_slice_bytes: 256 << 10,
            snapshot_pace: Duration::from_millis(4),
            stall_after: Duration::from_millis(150),
        }
    }

    /// The longest election timeout.
    pub fn election_timeout(&self) -> Duration {
        self.tick
            .saturating_mul(u32::try_from(self.election_ticks_max).unwrap_or(u32::MAX))
    }
}

/// What a replica starts from: the content of its disk, or the first configuration and nothing else.
#[derive(Clone, Debug, Default)]
pub struct Boot {
    /// Voters of the first configuration; those of the snapshot count when there is one.
    pub voters: Vec<Member>,
    /// Learners of the first configuration.
    pub learners: Vec<Member>,
    /// The hard state that was written last.
    pub hard_state: HardState,
    /// Entries of the log, contiguous. They may begin before the snapshot's index.
    pub entries: Vec<LogEntry>,
    /// The newest snapshot that the log names.
    pub snapshot: Option<SnapshotMeta>,
    /// Its slices, in order.
    pub slices: Vec<Vec<u8>>,
    /// Synced entries may be missing at the end of the log: the replica votes only when that cannot do
    /// harm, until it has caught up. The hard state is of a term that this disk never voted in.
    pub doubt: bool,
}

/// Why a replica cannot start from what is on its disk. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BootError {
    /// The settings contradict themselves.
    #[error("replica settings: {0}")]
    Config(String),
    /// This node is not a member.
    #[error(
        "node {0} is not a member of the group it holds data of; check the node id and the data directory"
    )]
    NotAMember(NodeId),
    /// In doubt, and without others who could tell what is missing.
    #[error(
        "the end of the log is damaged: entries that were acknowledged may be missing, and this cluster has no other \
         node to get them from. Restore what this queue or election stood for from its source; to go on without what \
         was in the damaged write, delete the file `doubt` in the data directory and start again"
    )]
    NobodyToAsk,
    /// Entries or terms do not follow each other.
    #[error("the log is inconsistent: {0}; restore this node from a peer under a new id")]
    Inconsistent(String),
    /// The hard state says more was committed than the log holds.
    #[error(
        "the log ends at {last} but {commit} was known to be committed: entries were lost; restore this node from a peer under a new id"
    )]
    LostEntries {
        /// Last index of the log.
        last: LogIndex,
        /// Commit index of the hard state.
        commit: LogIndex,
    },
    /// The snapshot does not decode.
    #[error("the snapshot cannot be restored: {0}")]
    Snapshot(#[from] CodecError),
    /// Written by a newer version.
    #[error(
        "the state is at machine level {found} and this version knows {known}; run the version that wrote it or a newer one"
    )]
    NewerLevel {
        /// Level of the state.
        found: u16,
        /// Newest level of this build.
        known: u16,
    },
}
