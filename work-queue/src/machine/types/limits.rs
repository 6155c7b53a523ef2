//! Bounds of the queue, each with its reason.

/// Longest payload kept inline; larger things are blobs.
pub const PAYLOAD_BYTES_MAX: usize = 64 * 1024;
/// Jobs in one atomic enqueue: one entry stays a few MiB.
pub const JOBS_PER_ENQUEUE_MAX: usize = 1_000;
/// Leases in one answer, settlements in one request.
pub const LEASES_PER_REQUEST_MAX: usize = 1_000;
/// Payloads in one enqueue, results in one settlement, in bytes: what one log entry takes in.
pub const REQUEST_BYTES_MAX: usize = 4 << 20;
/// Payloads in one answer to a request for work, and views in one page, in bytes. An answer goes
/// over by its last item at the most, which keeps it below the 4 MiB of a gRPC message.
pub const ANSWER_BYTES_MAX: usize = 2 << 20;
/// Blobs of one job.
pub const INPUTS_MAX: usize = 16;
/// Labels of one job.
pub const LABELS_MAX: usize = 16;
/// Longest label key or value, worker name, dedupe key, uri.
pub const TEXT_BYTES_MAX: usize = 1024;
/// Longest result or checkpoint.
pub const RESULT_BYTES_MAX: usize = 64 * 1024;
/// Longest kept tail of a worker's output.
pub const LOG_TAIL_BYTES_MAX: usize = 4 * 1024;
/// Longest kept error text.
pub const ERROR_BYTES_MAX: usize = 2 * 1024;
/// Attempts kept with a job; older ones are counted only.
pub const ATTEMPTS_KEPT_MAX: usize = 20;
/// Jobs of one batch.
pub const BATCH_JOBS_MAX: u32 = 1_000_000;
/// Queues of one cluster.
pub const QUEUES_MAX: usize = 10_000;
/// Worker sessions of one cluster.
pub const SESSIONS_MAX: usize = 100_000;
/// Shortest and longest lease.
pub const LEASE_MS: std::ops::RangeInclusive<u64> = 500..=86_400_000;
/// Longest wait of a long-poll.
pub const WAIT_MS_MAX: u64 = 60_000;
/// Items of one page.
pub const PAGE_MAX: u32 = 1_000;
/// Leases in one heartbeat.
pub const LEASES_PER_RENEWAL_MAX: usize = 10_000;
/// Times a job may be given back, or granted to a worker that never hears of it, before it is
/// dead: a job that every worker declines must not circle for ever.
pub const RELEASES_MAX: u32 = 1_000;
/// Longest delay of a retry.
pub const DELAY_MS_MAX: u64 = 366 * 86_400_000;
/// Highest number of attempts a queue or a job may ask for.
pub const ATTEMPTS_MAX: u32 = 1_000;
/// Batches of one cluster.
pub const BATCHES_MAX: usize = 100_000;
/// Completed and cancelled jobs that a queue keeps for inspection; above it the oldest go before
/// their retention is over. Jobs of a batch are not among them: they count as held by the queue.
pub const KEPT_JOBS_MAX: u64 = 100_000;
/// Bytes of those.
pub const KEPT_BYTES_MAX: u64 = 256 << 20;
/// Dead jobs made ready by one redrive.
pub const REDRIVE_MAX: u32 = 10_000;
