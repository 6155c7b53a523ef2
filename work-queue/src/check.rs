//! Bounds of everything a caller may ask for, checked before it reaches the log. Both APIs call this,
//! so that the same request gets the same refusal over REST and gRPC.
//!
//! Texts that are only kept for people (error texts, log tails) are cut instead of refused: a failure
//! must not be lost because it has much to say.

use crate::convert::within;
use crate::machine::{
    Blob, Command, LeaseRequest, NewJob, Progress, Query, Renewal, Settings, Settle, Settlement,
    limits,
};
use quorate_core::error::{Code, Error};
use std::sync::Arc;

/// Jobs and bytes of one queue are numbers that survive JSON.
const COUNT_MAX: u64 = 1 << 53;

/// Checks a command of a caller, and cuts the texts that are only for people.
pub fn command(command: &mut Command) -> Result<(), Error> {
    match command {
        Command::Configure { settings, .. } => self::settings(settings),
        Command::Enqueue { jobs, .. } => self::jobs(jobs),
        Command::Lease(request) => lease_request(request),
        Command::Settle { settle, then } => {
            settlements(settle)?;
            then.as_ref()
                .map_or(Ok(()), lease_request)
                .map_err(|e| within("then", e))
        }
        Command::Extend { lease_ms, .. } => self::lease_ms(*lease_ms),
        Command::Checkpoint { data, .. } => bytes("data", data.len(), limits::RESULT_BYTES_MAX),
        Command::OpenSession { worker } => text("worker", worker),
        Command::CreateBatch { join, key, .. } => {
            if let Some((_, job)) = join {
                if job.batch.is_some() {
                    return Err(Error::invalid(
                        "join.batch: a join belongs to no batch itself; leave it out",
                    ));
                }
                new_job(job).map_err(|e| within("join", e))?;
            }
            key.as_ref().map_or(Ok(()), |key| text("key", key))
        }
        Command::SealBatch { expected, .. } if *expected > limits::BATCH_JOBS_MAX => {
            Err(Error::invalid(format!(
                "expected: {expected} is more than the {} jobs a batch may have; use several batches",
                limits::BATCH_JOBS_MAX
            )))
        }
        Command::Redrive { max: 0, .. } => {
            Err(Error::invalid("max: 0 redrives nothing; use 1 or more"))
        }
        Command::SealBatch { .. }
        | Command::Redrive { .. }
        | Command::DeleteQueue { .. }
        | Command::Pause { .. }
        | Command::Purge { .. }
        | Command::CloseSession { .. }
        | Command::CancelJob { .. }
        | Command::RetryJob { .. }
        | Command::CancelBatch { .. }
        | Command::SkipChild { .. } => Ok(()),
        Command::ExpireLeases { .. }
        | Command::RevokeLeases { .. }
        | Command::ForgetSessions { .. } => Err(Error::new(
            Code::Forbidden,
            "only the leader ends leases and sessions on its own account; settle, cancel or close",
        )),
    }
}

/// Checks a question.
pub fn query(query: &Query) -> Result<(), Error> {
    match query {
        Query::Queues { limit, .. }
        | Query::Jobs { limit, .. }
        | Query::Batches { limit, .. }
        | Query::BatchResults { limit, .. }
            if *limit == 0 || *limit > limits::PAGE_MAX =>
        {
            Err(Error::invalid(format!(
                "page_size: {limit} is out of range; ask for 1 to {}",
                limits::PAGE_MAX
            )))
        }
        _ => Ok(()),
    }
}

/// Checks a heartbeat, and cuts the texts of its progress.
pub fn renewal(renewal: &mut Renewal) -> Result<(), Error> {
    at_most(
        "leases",
        renewal.leases.len(),
        limits::LEASES_PER_RENEWAL_MAX,
    )?;
    at_most(
        "progress",
        renewal.progress.len(),
        limits::LEASES_PER_RENEWAL_MAX,
    )?;
    for (i, (_, progress)) in renewal.progress.iter_mut().enumerate() {
        self::progress(progress).map_err(|e| within(format_args!("progress[{i}]"), e))?;
    }
    Ok(())
}

/// Checks how long a caller wants to wait.
pub fn wait_ms(wait_ms: u64) -> Result<(), Error> {
    if wait_ms > limits::WAIT_MS_MAX {
        return Err(Error::invalid(format!(
            "wait_ms: {wait_ms} is too long; wait up to {} and ask again",
            limits::WAIT_MS_MAX
        )));
    }
    Ok(())
}

fn progress(progress: &mut Progress) -> Result<(), Error> {
    for (field, value) in [("done", progress.done), ("total", progress.total)] {
        if !value.is_finite() || value < 0.0 {
            return Err(Error::invalid(format!(
                "{field}: not a number of 0 or more; leave it at 0 when it is unknown"
            )));
        }
    }
    cut_end(&mut progress.unit, limits::TEXT_BYTES_MAX);
    cut_end(&mut progress.message, limits::TEXT_BYTES_MAX);
    Ok(())
}

fn settings(settings: &Settings) -> Result<(), Error> {
    lease_ms(settings.lease_ms)?;
    attempts(settings.max_attempts)?;
    for (field, ms) in [
        ("stall_ms", settings.stall_ms),
        ("backoff.initial_ms", settings.backoff_initial_ms),
        ("backoff.max_ms", settings.backoff_max_ms),
        ("retention_ms", settings.retention_ms),
    ] {
        long_ms(field, ms)?;
    }
    if settings.backoff_initial_ms > settings.backoff_max_ms {
        return Err(Error::invalid(format!(
            "backoff.initial_ms: {} is above backoff.max_ms {}; raise the one or lower the other",
            settings.backoff_initial_ms, settings.backoff_max_ms
        )));
    }
    for (field, count) in [
        ("max_jobs", settings.max_jobs),
        ("max_bytes", settings.max_bytes),
    ] {
        if count == 0 || count > COUNT_MAX {
            return Err(Error::invalid(format!(
                "{field}: {count} is out of range; use 1 to 2^53 (pause the queue to stop it)"
            )));
        }
    }
    Ok(())
}

fn jobs(jobs: &[NewJob]) -> Result<(), Error> {
    if jobs.is_empty() {
        return Err(Error::invalid("jobs: empty; pass at least one job"));
    }
    at_most("jobs", jobs.len(), limits::JOBS_PER_ENQUEUE_MAX)?;
    for (i, job) in jobs.iter().enumerate() {
        new_job(job).map_err(|e| within(format_args!("jobs[{i}]"), e))?;
    }
    together("jobs", jobs.iter().map(|job| job.payload.len()).sum())
}

fn new_job(job: &NewJob) -> Result<(), Error> {
    bytes("payload", job.payload.len(), limits::PAYLOAD_BYTES_MAX)?;
    blobs("inputs", &job.inputs)?;
    if job.priority > NewJob::PRIORITY_MAX {
        return Err(Error::invalid(format!(
            "priority: {} is out of range; use 0 (first) to {} (last)",
            job.priority,
            NewJob::PRIORITY_MAX
        )));
    }
    if let Some(key) = &job.dedupe_key {
        text("dedupe_key", key)?;
    }
    if let Some(max) = job.max_attempts {
        attempts(max)?;
    }
    if let Some((_, index)) = job.batch
        && index >= limits::BATCH_JOBS_MAX
    {
        return Err(Error::invalid(format!(
            "index: {index} is out of range; a batch has up to {} jobs, counted from 0",
            limits::BATCH_JOBS_MAX
        )));
    }
    labels(&job.labels)?;
    job.traceparent
        .as_ref()
        .map_or(Ok(()), |value| text("traceparent", value))
}

fn labels(labels: &[(Arc<str>, Arc<str>)]) -> Result<(), Error> {
    at_most("labels", labels.len(), limits::LABELS_MAX)?;
    for (key, value) in labels {
        text("labels", key)?;
        if value.len() > limits::TEXT_BYTES_MAX {
            return Err(too_long("labels", value.len(), limits::TEXT_BYTES_MAX));
        }
    }
    match labels.windows(2).find(|pair| pair[0].0 >= pair[1].0) {
        Some(pair) => Err(Error::invalid(format!(
            "labels: {:?} comes twice or out of order; each key comes once",
            head(&pair[1].0)
        ))),
        None => Ok(()),
    }
}

fn blobs(field: &str, blobs: &[Blob]) -> Result<(), Error> {
    at_most(field, blobs.len(), limits::INPUTS_MAX)?;
    for (i, blob) in blobs.iter().enumerate() {
        let check = || {
            text("uri", &blob.uri)?;
            let hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
            if !blob.sha256.is_empty() && (blob.sha256.len() != 64 || !blob.sha256.bytes().all(hex))
            {
                return Err(Error::invalid(
                    "sha256: not 64 lower-case hexadecimal digits; leave it out when unknown",
                ));
            }
            Ok(())
        };
        check().map_err(|e| within(format_args!("{field}[{i}]"), e))?;
    }
    Ok(())
}

fn lease_request(request: &LeaseRequest) -> Result<(), Error> {
    text("worker", &request.worker)?;
    let max = usize::try_from(request.max).unwrap_or(usize::MAX);
    if max == 0 || max > limits::LEASES_PER_REQUEST_MAX {
        return Err(Error::invalid(format!(
            "max: {max} is out of range; ask for 1 to {}",
            limits::LEASES_PER_REQUEST_MAX
        )));
    }
    request.lease_ms.map_or(Ok(()), lease_ms)
}

/// Takes those settlements out that cannot be recorded as they are, each with its place and why: they spoil no
/// other of the same request.
pub(crate) fn sift(settle: &mut Vec<Settle>) -> Vec<(usize, Error)> {
    let mut refused = Vec::new();
    let mut places = 0..;
    settle.retain_mut(|one| {
        let place = places.next().unwrap_or(usize::MAX);
        match settlement(&mut one.settlement) {
            Ok(()) => true,
            Err(error) => {
                refused.push((place, error));
                false
            }
        }
    });
    refused
}

fn settlements(settle: &mut [Settle]) -> Result<(), Error> {
    at_most("settle", settle.len(), limits::LEASES_PER_REQUEST_MAX)?;
    for (i, one) in settle.iter_mut().enumerate() {
        settlement(&mut one.settlement).map_err(|e| within(format_args!("settle[{i}]"), e))?;
    }
    let results = settle.iter().map(|one| match &one.settlement {
        Settlement::Complete { result, .. } => result.len(),
        _ => 0,
    });
    together("settle", results.sum())
}

fn settlement(settlement: &mut Settlement) -> Result<(), Error> {
    match settlement {
        Settlement::Complete {
            result, outputs, ..
        } => {
            bytes("result", result.len(), limits::RESULT_BYTES_MAX)?;
            blobs("outputs", outputs)
        }
        Settlement::Fail {
            error,
            delay_ms,
            log_tail,
            ..
        } => {
            cut_end(error, limits::ERROR_BYTES_MAX);
            cut_start(log_tail, limits::LOG_TAIL_BYTES_MAX);
            delay_ms.map_or(Ok(()), |ms| long_ms("delay_ms", ms))
        }
        Settlement::Release => Ok(()),
    }
}

fn lease_ms(ms: u64) -> Result<(), Error> {
    if limits::LEASE_MS.contains(&ms) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "lease_ms: {ms} is out of range; use {} to {}",
        limits::LEASE_MS.start(),
        limits::LEASE_MS.end()
    )))
}

fn long_ms(field: &str, ms: u64) -> Result<(), Error> {
    if ms <= limits::DELAY_MS_MAX {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{field}: {ms} is out of range; use up to {} (366 days)",
        limits::DELAY_MS_MAX
    )))
}

fn attempts(max: u32) -> Result<(), Error> {
    if (1..=limits::ATTEMPTS_MAX).contains(&max) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "max_attempts: {max} is out of range; use 1 to {}",
        limits::ATTEMPTS_MAX
    )))
}

/// A text that names something: not empty, not too long.
fn text(field: &str, text: &str) -> Result<(), Error> {
    match text.len() {
        0 => Err(Error::invalid(format!("{field}: empty; give it a text"))),
        len if len > limits::TEXT_BYTES_MAX => Err(too_long(field, len, limits::TEXT_BYTES_MAX)),
        _ => Ok(()),
    }
}

fn too_long(field: &str, len: usize, max: usize) -> Error {
    Error::invalid(format!(
        "{field}: {len} bytes are too long; use up to {max}"
    ))
}

fn bytes(field: &str, len: usize, max: usize) -> Result<(), Error> {
    if len <= max {
        return Ok(());
    }
    Err(Error::new(
        Code::TooLarge,
        format!("{field}: {len} bytes; up to {max} go inline, put larger things into a blob"),
    ))
}

/// What one entry of the log takes in.
fn together(field: &str, len: usize) -> Result<(), Error> {
    if len <= limits::REQUEST_BYTES_MAX {
        return Ok(());
    }
    Err(Error::new(
        Code::TooLarge,
        format!(
            "{field}: {len} bytes in one request; send up to {} at once",
            limits::REQUEST_BYTES_MAX
        ),
    ))
}

fn at_most(field: &str, len: usize, max: usize) -> Result<(), Error> {
    if len <= max {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{field}: {len} are too many; pass up to {max}"
    )))
}

fn head(text: &str) -> String {
    text.chars().take(64).collect()
}

/// Keeps the first `max` bytes, to a whole character.
fn cut_end(text: &mut Arc<str>, max: usize) {
    if text.len() > max {
        let end = (0..=max).rev().find(|&at| text.is_char_boundary(at));
        *text = Arc::from(&text[..end.unwrap_or(0)]);
    }
}

/// Keeps the last `max` bytes, to a whole character.
fn cut_start(text: &mut Arc<str>, max: usize) {
    let len = text.len();
    if len > max {
        let start = (len - max..=len).find(|&at| text.is_char_boundary(at));
        *text = Arc::from(&text[start.unwrap_or(len)..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_at_whole_characters_and_within_their_bound() {
        for (input, end, start) in [
            ("äöü", "ä", "ü"),
            ("abcdef", "abc", "def"),
            ("abc", "abc", "abc"),
        ] {
            let (mut a, mut b) = (Arc::from(input), Arc::from(input));
            cut_end(&mut a, 3);
            cut_start(&mut b, 3);
            assert_eq!((&*a, &*b), (end, start));
        }
    }
}
