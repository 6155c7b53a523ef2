//! What requests hold.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use quorate_core::types::LogTime;
use quorate_work_queue::machine::*;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::UNIX_EPOCH;

/// An object whose members keep their text.
pub(super) type Object = BTreeMap<&'static str, Box<RawValue>>;

pub(super) fn raw(value: &Value) -> Box<RawValue> {
    to_raw_value(value).unwrap()
}

pub(super) fn object(value: Value) -> Object {
    let Value::Object(map) = value else {
        panic!("not an object")
    };
    let leak = |key: String| -> &'static str { key.leak() };
    map.into_iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(key, value)| (leak(key), raw(&value)))
        .collect()
}

/// Bytes under `name` as JSON, or under `name_base64`.
pub(super) fn put_bytes(
    into: &mut Object,
    name: &'static str,
    base64: &'static str,
    bytes: &Bytes,
    json: bool,
) {
    if json {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        into.insert(name, RawValue::from_string(text).unwrap());
    } else {
        into.insert(base64, raw(&json!(STANDARD.encode(bytes))));
    }
}

pub(super) fn rfc_3339(time: LogTime) -> String {
    let time = UNIX_EPOCH + std::time::Duration::from_millis(time.0);
    humantime::format_rfc3339_millis(time).to_string()
}

pub(super) fn blobs_json(blobs: &[Blob]) -> Value {
    blobs
        .iter()
        .map(|blob| json!({ "uri": &*blob.uri, "sha256": &*blob.sha256, "size": blob.size }))
        .collect()
}

pub(super) fn job_json(job: &NewJob) -> Object {
    let labels: BTreeMap<&str, &str> = job.labels.iter().map(|(k, v)| (&**k, &**v)).collect();
    let mut into = object(json!({
        "inputs": blobs_json(&job.inputs),
        "priority": job.priority,
        "not_before": job.not_before.map(rfc_3339),
        "dedupe_key": job.dedupe_key.as_deref(),
        "max_attempts": job.max_attempts,
        "batch": job.batch.map(|(batch, _)| batch.to_string()),
        "index": job.batch.map(|(_, index)| index),
        "labels": labels,
    }));
    put_bytes(
        &mut into,
        "payload",
        "payload_base64",
        &job.payload,
        job.payload_is_json,
    );
    into
}

pub(super) fn settle_json(settle: &Settle, named: bool) -> (&'static str, Object) {
    let (kind, mut into) = match &settle.settlement {
        Settlement::Complete {
            result,
            result_is_json,
            outputs,
        } => {
            let mut into = object(json!({ "outputs": blobs_json(outputs) }));
            put_bytes(
                &mut into,
                "result",
                "result_base64",
                result,
                *result_is_json,
            );
            ("complete", into)
        }
        Settlement::Fail {
            error,
            retry,
            delay_ms,
            exit_code,
            signal,
            log_tail,
        } => {
            let into = json!({
                "error": &**error, "retry": retry, "delay_ms": delay_ms, "exit_code": exit_code,
                "signal": signal, "log_tail": &**log_tail,
            });
            ("fail", object(into))
        }
        Settlement::Release => ("release", Object::new()),
    };
    if let Some(session) = settle.session {
        into.insert("session", raw(&json!(session.to_string())));
    }
    if named {
        into.insert("lease_id", raw(&json!(settle.lease.to_string())));
    }
    (kind, into)
}

/// A request for work, with settlements in front of it.
pub(super) fn lease_json(request: &LeaseRequest, wait_ms: u64, settle: &[Settle]) -> Object {
    let mut into = object(json!({
        "worker": &*request.worker,
        "session": request.session.map(|session| session.to_string()),
        "max": request.max,
        "lease_ms": request.lease_ms,
        "wait_ms": wait_ms,
    }));
    into.append(&mut settle_lists(settle));
    into
}

/// By kind; the scenarios give them in the order complete, fail, release, in which they are answered.
pub(super) fn settle_lists(settle: &[Settle]) -> Object {
    let mut lists: BTreeMap<&'static str, Vec<Object>> = BTreeMap::new();
    for one in settle {
        let (kind, item) = settle_json(one, true);
        lists.entry(kind).or_default().push(item);
    }
    lists
        .into_iter()
        .map(|(kind, items)| (kind, to_raw_value(&items).unwrap()))
        .collect()
}
