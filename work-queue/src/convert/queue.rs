//! Queues and the endpoint itself.

use super::{name, required};
use crate::machine::{Counts, QueueView, Settings};
use crate::service::ClusterInfo;
use quorate_core::error::Error;
use quorate_proto::queue as pb;

pub(super) fn settings_into(settings: &Settings) -> pb::Settings {
    pb::Settings {
        lease_ms: Some(settings.lease_ms),
        stall_ms: Some(settings.stall_ms),
        max_attempts: Some(settings.max_attempts),
        backoff_initial_ms: Some(settings.backoff_initial_ms),
        backoff_max_ms: Some(settings.backoff_max_ms),
        max_jobs: Some(settings.max_jobs),
        max_bytes: Some(settings.max_bytes),
        retention_ms: Some(settings.retention_ms),
    }
}

pub(super) fn settings_from(settings: pb::Settings) -> Settings {
    let default = Settings::default();
    Settings {
        lease_ms: settings.lease_ms.unwrap_or(default.lease_ms),
        stall_ms: settings.stall_ms.unwrap_or(default.stall_ms),
        max_attempts: settings.max_attempts.unwrap_or(default.max_attempts),
        backoff_initial_ms: settings
            .backoff_initial_ms
            .unwrap_or(default.backoff_initial_ms),
        backoff_max_ms: settings.backoff_max_ms.unwrap_or(default.backoff_max_ms),
        max_jobs: settings.max_jobs.unwrap_or(default.max_jobs),
        max_bytes: settings.max_bytes.unwrap_or(default.max_bytes),
        retention_ms: settings.retention_ms.unwrap_or(default.retention_ms),
    }
}

pub(super) fn counts_into(counts: Counts) -> pb::Counts {
    pb::Counts {
        ready: counts.ready,
        delayed: counts.delayed,
        leased: counts.leased,
        completed: counts.completed,
        dead: counts.dead,
        cancelled: counts.cancelled,
    }
}

pub(super) fn counts_from(counts: pb::Counts) -> Counts {
    Counts {
        ready: counts.ready,
        delayed: counts.delayed,
        leased: counts.leased,
        completed: counts.completed,
        dead: counts.dead,
        cancelled: counts.cancelled,
    }
}

/// To protobuf.
pub fn queue_into(queue: QueueView) -> pb::Queue {
    pb::Queue {
        name: queue.name.to_string(),
        settings: Some(settings_into(&queue.settings)),
        paused: queue.paused,
        counts: Some(counts_into(queue.counts)),
        bytes: queue.bytes,
        oldest_age_ms: queue.oldest_age_ms,
    }
}

/// From protobuf.
pub fn queue_from(queue: pb::Queue) -> Result<QueueView, Error> {
    Ok(QueueView {
        name: name("name", &queue.name)?,
        settings: settings_from(required("settings", queue.settings)?),
        paused: queue.paused,
        counts: counts_from(required("counts", queue.counts)?),
        bytes: queue.bytes,
        oldest_age_ms: queue.oldest_age_ms,
    })
}

/// To protobuf. `version` and `role` are those of the process that answers.
pub fn info_into(info: ClusterInfo, version: &str, role: &str) -> pb::Info {
    pb::Info {
        version: version.to_owned(),
        role: role.to_owned(),
        cluster_id: info.cluster_id,
        // What a sidecar knows is what one of its servers said of itself.
        node_id: if role == "sidecar" { 0 } else { info.node_id },
        leader: info.leader,
        ready: info.ready,
        reason: info.reason,
        term: info.term,
        commit: info.commit,
        applied: info.applied,
    }
}

/// From protobuf.
pub fn info_from(info: pb::Info) -> ClusterInfo {
    ClusterInfo {
        cluster_id: info.cluster_id,
        node_id: info.node_id,
        leader: info.leader,
        ready: info.ready,
        reason: info.reason,
        term: info.term,
        commit: info.commit,
        applied: info.applied,
    }
}
