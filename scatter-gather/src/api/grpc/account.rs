//! An answer's account as messages.

use crate::gather::Counts;
use crate::root::{Answer, AttemptLine, CoveredLine, MapLine, ShardLine};
use quorate_proto::scatter as pb;

/// The account of an answer; call by call, if it was asked for.
pub(super) fn account(answer: &Answer, explain: bool) -> pb::Account {
    pb::Account {
        complete: answer.complete,
        map: Some(map(&answer.map)),
        shards: Some(counts(answer.counts)),
        leaves: Some(counts(answer.leaves)),
        lines: answer.shards.iter().map(shard).collect(),
        covered: answer.covered.iter().map(covered).collect(),
        elapsed_ms: answer.elapsed.as_secs_f64() * 1e3,
        explanation: explain.then(|| explanation(answer)),
    }
}

fn map(map: &MapLine) -> pb::Map {
    pb::Map {
        name: map.name.to_string(),
        version: map.version,
    }
}

fn counts(counts: Counts) -> pb::Counts {
    pb::Counts {
        planned: counts.planned,
        merged: counts.merged,
        failed: counts.failed,
        timed_out: counts.timed_out,
        skipped: counts.skipped,
        unneeded: counts.unneeded,
    }
}

fn shard(line: &ShardLine) -> pb::Shard {
    pb::Shard {
        id: line.shard.to_string(),
        outcome: line.outcome.to_string(),
        reason: text(line.reason.as_deref()),
        detail: text(line.detail.as_deref()),
        partial: line.partial,
        replica: text(line.replica.as_deref()),
        attempts: u32::from(line.attempts),
        elapsed_ms: line.elapsed_ms,
    }
}

fn covered(line: &CoveredLine) -> pb::Covered {
    pb::Covered {
        map: Some(pb::Map {
            name: line.map.to_string(),
            version: line.version,
        }),
        shards: line.shards.iter().map(ToString::to_string).collect(),
    }
}

fn explanation(answer: &Answer) -> pb::Explanation {
    pb::Explanation {
        hedges: answer.hedges,
        retries: answer.retries,
        denied: answer.denied,
        late_together: answer.late_together,
        pushback: answer.pushback,
        attempts: answer.attempts.iter().map(attempt).collect(),
    }
}

fn attempt(line: &AttemptLine) -> pb::Attempt {
    pb::Attempt {
        index: u32::try_from(line.index).unwrap_or(u32::MAX),
        kind: line.kind.to_string(),
        replica: text(line.replica.as_deref()),
        sent_us: line.sent_us,
        took_us: line.took_us,
        outcome: line.outcome.to_string(),
        detail: text(line.detail.as_deref()),
    }
}

fn text(text: Option<&str>) -> String {
    text.unwrap_or_default().to_owned()
}
