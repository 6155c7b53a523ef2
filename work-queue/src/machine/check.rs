//! What is refused before anything changes: bounds of jobs, blobs, texts and settings, and the state
//! of the lease that a command names.

use super::rows::{Job, Tried};
use super::store::QueueMachine;
use super::types::{
    AttemptOutcome, Blob, JobId, LeaseId, LeaseRequest, NewJob, SessionId, Settings, limits,
};
use quorate_core::error::{Code, Error};
use std::sync::Arc;

/// A text that must not be empty or over its bound.
pub(super) fn text(what: &str, text: &str) -> Result<(), Error> {
    if text.is_empty() {
        return Err(Error::invalid(format!(
            "{what} is empty; leave it out or give it a value"
        )));
    }
    if text.len() > limits::TEXT_BYTES_MAX {
        return Err(Error::invalid(format!(
            "{what} has {} bytes; at most {} are kept",
            text.len(),
            limits::TEXT_BYTES_MAX
        )));
    }
    Ok(())
}

/// References to files.
pub(super) fn blobs(what: &str, blobs: &[Blob]) -> Result<(), Error> {
    if blobs.len() > limits::INPUTS_MAX {
        return Err(Error::invalid(format!(
            "{} {what}; a job has at most {}: pack several files into one",
            blobs.len(),
            limits::INPUTS_MAX
        )));
    }
    for blob in blobs {
        text("uri", &blob.uri)?;
        let sha = blob.sha256.as_bytes();
        let hex = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if !sha.is_empty() && (sha.len() != 64 || !sha.iter().all(hex)) {
            return Err(Error::invalid(format!(
                "the sha256 of {what} is not 64 lower-case hexadecimal digits; leave it out if it is unknown"
            )));
        }
    }
    Ok(())
}

/// Inline bytes of this length.
pub(super) fn bytes(what: &str, len: usize, max: usize) -> Result<(), Error> {
    if len > max {
        return Err(Error::new(
            Code::TooLarge,
            format!(
                "the {what} has {len} bytes; at most {max} are kept inline: put it into a blob and pass its uri"
            ),
        ));
    }
    Ok(())
}

/// A job to be enqueued.
pub(super) fn new_job(job: &NewJob) -> Result<(), Error> {
    bytes("payload", job.payload.len(), limits::PAYLOAD_BYTES_MAX)?;
    blobs("inputs", &job.inputs)?;
    if job.priority > NewJob::PRIORITY_MAX {
        return Err(Error::invalid(format!(
            "priority {}: use 0 (first) to {}",
            job.priority,
            NewJob::PRIORITY_MAX
        )));
    }
    if let Some(n) = job.max_attempts {
        attempts(n)?;
    }
    if job.labels.len() > limits::LABELS_MAX {
        return Err(Error::invalid(format!(
            "{} labels; a job has at most {}",
            job.labels.len(),
            limits::LABELS_MAX
        )));
    }
    for (key, value) in &job.labels {
        text("the key of a label", key)?;
        if !value.is_empty() {
            text("the value of a label", value)?;
        }
    }
    if let Some(pair) = job.labels.windows(2).find(|pair| pair[0].0 >= pair[1].0) {
        return Err(Error::invalid(format!(
            "labels are sorted by key and each key stands once; {:?} does not",
            short(&pair[1].0)
        )));
    }
    if let Some(key) = &job.dedupe_key {
        text("dedupe_key", key)?;
    }
    if let Some(trace) = &job.traceparent {
        text("traceparent", trace)?;
    }
    if job.batch.is_some() && job.dedupe_key.is_some() {
        return Err(Error::invalid(
            "a job of a batch is unique by its index; leave out dedupe_key",
        ));
    }
    Ok(())
}

/// Settings of a queue.
pub(super) fn settings(settings: &Settings) -> Result<(), Error> {
    lease_ms(settings.lease_ms)?;
    attempts(settings.max_attempts)?;
    if settings.backoff_initial_ms > settings.backoff_max_ms {
        return Err(Error::invalid(format!(
            "the first backoff, {} ms, is above the longest, {} ms",
            settings.backoff_initial_ms, settings.backoff_max_ms
        )));
    }
    for (what, ms) in [
        ("backoff", settings.backoff_max_ms),
        ("stall_ms", settings.stall_ms),
        ("retention_ms", settings.retention_ms),
    ] {
        if ms > limits::DELAY_MS_MAX {
            return Err(Error::invalid(format!(
                "{what}: {ms} ms is over the bound of {} ms",
                limits::DELAY_MS_MAX
            )));
        }
    }
    Ok(())
}

fn attempts(n: u32) -> Result<(), Error> {
    if n == 0 || n > limits::ATTEMPTS_MAX {
        return Err(Error::invalid(format!(
            "max_attempts {n}: use 1 to {}",
            limits::ATTEMPTS_MAX
        )));
    }
    Ok(())
}

/// The length of a lease.
pub(super) fn lease_ms(ms: u64) -> Result<(), Error> {
    if !limits::LEASE_MS.contains(&ms) {
        return Err(Error::invalid(format!(
            "lease_ms {ms}: use {} to {}",
            limits::LEASE_MS.start(),
            limits::LEASE_MS.end()
        )));
    }
    Ok(())
}

/// At most `max` bytes from the front, cut between characters.
pub(super) fn head(text: &Arc<str>, max: usize) -> Arc<str> {
    if text.len() <= max {
        return text.clone();
    }
    let end = (0..=max).rev().find(|at| text.is_char_boundary(*at));
    Arc::from(&text[..end.unwrap_or(0)])
}

/// At most `max` bytes from the end, cut between characters.
pub(super) fn tail(text: &Arc<str>, max: usize) -> Arc<str> {
    if text.len() <= max {
        return text.clone();
    }
    let start = (text.len() - max..text.len()).find(|at| text.is_char_boundary(*at));
    Arc::from(&text[start.unwrap_or(text.len())..])
}

/// A few characters of a user's text, for a message.
pub(super) fn short(text: &str) -> String {
    text.chars().take(64).collect()
}

/// What is known of a lease.
pub(super) enum Standing {
    /// Live, perhaps being revoked.
    Live(JobId),
    /// Ended this way.
    Ended(JobId, AttemptOutcome),
}

impl QueueMachine {
    /// A request for work, before anything changes.
    pub(super) fn check_lease_request(&self, request: &LeaseRequest) -> Result<(), Error> {
        text("worker", &request.worker)?;
        let max = usize::try_from(request.max).unwrap_or(usize::MAX);
        if max > limits::LEASES_PER_REQUEST_MAX {
            return Err(Error::invalid(format!(
                "max {max}: at most {} leases are granted at once",
                limits::LEASES_PER_REQUEST_MAX
            )));
        }
        if let Some(ms) = request.lease_ms {
            lease_ms(ms)?;
        }
        match request.session {
            Some(session) if session != SessionId::NONE => self.check_session(session),
            _ => Ok(()),
        }
    }

    /// A session that must be open.
    pub(super) fn check_session(&self, session: SessionId) -> Result<(), Error> {
        if self.sessions.contains_key(&session) {
            Ok(())
        } else {
            Err(Error::new(
                Code::SessionExpired,
                format!(
                    "session {session} is unknown or was forgotten after a long silence; ask for work without a session and use the new one"
                ),
            ))
        }
    }

    /// How a lease stands, for the session that names it.
    pub(super) fn standing(
        &self,
        lease: LeaseId,
        session: Option<SessionId>,
    ) -> Result<Standing, Error> {
        let unknown = || {
            Error::not_found(format!(
                "lease {lease} is unknown, or its job was removed after its retention"
            ))
        };
        let id = *self.leases.get(&lease).ok_or_else(unknown)?;
        let tried = self.job(id).tried(lease).ok_or_else(unknown)?;
        if session.is_some_and(|session| session != SessionId::NONE && session != tried.session) {
            return Err(Error::new(
                Code::Forbidden,
                format!(
                    "lease {lease} belongs to another session; settle only what was granted to yours"
                ),
            ));
        }
        Ok(match tried.ended {
            None => Standing::Live(id),
            Some((_, outcome)) => Standing::Ended(id, outcome),
        })
    }

    /// The job of a lease that must be live.
    pub(super) fn live(&self, lease: LeaseId, session: Option<SessionId>) -> Result<JobId, Error> {
        match self.standing(lease, session)? {
            Standing::Live(id) => Ok(id),
            Standing::Ended(id, outcome) => Err(ended(self.job(id), lease, outcome)),
        }
    }
}

/// Why a lease that ended this way takes nothing more.
pub(super) fn ended(job: &Job, lease: LeaseId, outcome: AttemptOutcome) -> Error {
    let is_last = last_try(job).is_some_and(|tried| tried.lease == lease);
    match outcome {
        AttemptOutcome::Completed | AttemptOutcome::Failed | AttemptOutcome::Released => {
            Error::new(
                Code::AlreadySettled,
                format!(
                    "lease {lease} was settled before as {}; the first outcome stands",
                    word(outcome)
                ),
            )
        }
        AttemptOutcome::Cancelled => Error::new(
            Code::AlreadySettled,
            format!("the job of lease {lease} was cancelled; drop the work"),
        ),
        AttemptOutcome::Lost | AttemptOutcome::Unclaimed | AttemptOutcome::Stalled if is_last => {
            Error::new(
                Code::LeaseExpired,
                format!(
                    "lease {lease} ended ({}) before this arrived; drop the work, the job will run again",
                    word(outcome)
                ),
            )
        }
        AttemptOutcome::Lost | AttemptOutcome::Unclaimed | AttemptOutcome::Stalled => Error::new(
            Code::StaleFencingToken,
            format!("lease {lease} ended and the job was handed out again since; drop the work"),
        ),
    }
}

fn last_try(job: &Job) -> Option<&Tried> {
    job.run.as_ref().and_then(|run| run.tried.last())
}

fn word(outcome: AttemptOutcome) -> &'static str {
    match outcome {
        AttemptOutcome::Completed => "completed",
        AttemptOutcome::Failed => "failed",
        AttemptOutcome::Lost => "its worker was silent",
        AttemptOutcome::Released => "released",
        AttemptOutcome::Unclaimed => "its worker did not know of it",
        AttemptOutcome::Stalled => "it made no progress",
        AttemptOutcome::Cancelled => "cancelled",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_between_characters() {
        let text: Arc<str> = Arc::from("aäöü");
        assert_eq!(&*head(&text, 2), "a");
        assert_eq!(&*head(&text, 3), "aä");
        assert_eq!(&*tail(&text, 3), "ü");
        assert_eq!(&*tail(&text, 4), "öü");
        assert_eq!(&*head(&text, 7), "aäöü");
    }
}
