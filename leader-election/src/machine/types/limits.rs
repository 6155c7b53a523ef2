//! Bounds of leader election, each with its reason.

/// Elections of one cluster: at about 500 bytes each with a leader, 50 MB a hundred thousand.
pub const ELECTIONS_MAX: usize = 200_000;
/// Sessions of one cluster; the leader counts each.
pub const SESSIONS_MAX: usize = 50_000;
/// Candidacies of one cluster, over all elections.
pub const CANDIDACIES_MAX: usize = 1_000_000;
/// Candidates of one election: an election answer lists them all and stays below the 4 MiB of a gRPC
/// message.
pub const CANDIDATES_PER_ELECTION_MAX: usize = 1_000;
/// Candidacies of one session: one log entry ends them all, and must not take longer than a
/// follower's patience with its leader. A process that needs more opens another session.
pub const CANDIDACIES_PER_SESSION_MAX: usize = 10_000;
/// Longest metadata of a candidate, in bytes.
pub const METADATA_BYTES_MAX: usize = 1024;
/// Longest label of a session, longest reason of a revocation, in bytes.
pub const TEXT_BYTES_MAX: usize = 256;
/// Shortest and longest length of a session. Below, a single lost packet ends leaderships; above,
/// nobody waits that long for a dead leader.
pub const TTL_MS: std::ops::RangeInclusive<u64> = 500..=3_600_000;
/// Highest priority of a candidate.
pub const PRIORITY_MAX: u32 = 1_000;
/// Longest lock-delay, drain time or time that a better candidate must be there: an hour.
pub const DELAY_MS_MAX: u64 = 3_600_000;
/// Changes kept for observers that were away; who was away longer gets the full state.
pub const HISTORY_MAX: usize = 65_536;
/// Changes in one answer about the past.
pub const HISTORY_PAGE_MAX: u32 = 4_096;
/// Items of one page.
pub const PAGE_MAX: u32 = 1_000;
/// Sessions in one renewal: a node may renew many with one message.
pub const SESSIONS_PER_RENEWAL_MAX: usize = 1_000;
/// Elections whose answer one renewal may ask for.
pub const ELECTIONS_PER_RENEWAL_MAX: usize = 16;
/// Elections watched over one stream: as many as a session may stand for.
pub const WATCHES_PER_STREAM_MAX: usize = CANDIDACIES_PER_SESSION_MAX;
/// Longest wait of a long-poll.
pub const WAIT_MS_MAX: u64 = 60_000;
