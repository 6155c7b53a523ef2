//! What a gRPC call says about itself in its metadata.

use crate::api::caller;
use crate::service::Caller;
use quorate_core::error::Error;
use quorate_core::grpc_timeout;
use quorate_core::key::{
    DONE_BELOW_KEY, IDEMPOTENCY_KEY, SEQ_KEY, STREAM_KEY, idempotency_key, stream_key_from_text,
};
use quorate_core::machine::OpKey;
use quorate_core::types::Principal;
use std::sync::Arc;
use tonic::Request;
use tonic::metadata::MetadataMap;

/// Who calls and how long they are willing to wait, without a key: for streams and questions.
pub(super) fn identify<T>(request: &Request<T>) -> Result<Caller, Error> {
    let mut caller = caller(request.extensions().get::<Principal>());
    if let Some(timeout) = grpc_timeout::of(request.metadata())? {
        caller.timeout = caller.timeout.min(timeout);
    }
    Ok(caller)
}

/// The same with the key that makes a retry safe. `method` scopes an `idempotency-key`; `hashed` gives the bytes by
/// which a request is known to be the same again.
pub(super) fn identify_operation<T>(
    request: &Request<T>,
    method: &str,
    hashed: impl FnOnce(&T) -> Vec<u8>,
) -> Result<Caller, Error> {
    let mut caller = identify(request)?;
    let metadata = request.metadata();
    caller.key = match (
        text(metadata, IDEMPOTENCY_KEY)?,
        text(metadata, STREAM_KEY)?,
    ) {
        (None, None) => None,
        (Some(_), Some(_)) => {
            return Err(Error::invalid(format!(
                "{IDEMPOTENCY_KEY}, {STREAM_KEY}: both are there; send one"
            )));
        }
        (Some(key), None) => {
            let body = hashed(request.get_ref());
            Some(idempotency_key(&caller.principal, method, key, &[&body])?)
        }
        (None, Some(stream)) => Some(numbered(metadata, stream)?),
    };
    Ok(caller)
}

fn numbered(metadata: &MetadataMap, stream: &str) -> Result<OpKey, Error> {
    stream_key_from_text(
        stream,
        text(metadata, SEQ_KEY)?,
        text(metadata, DONE_BELOW_KEY)?,
    )
}

/// The W3C trace context of the call.
pub(super) fn traceparent(metadata: &MetadataMap) -> Result<Option<Arc<str>>, Error> {
    Ok(text(metadata, "traceparent")?.map(Arc::from))
}

fn text<'m>(metadata: &'m MetadataMap, name: &str) -> Result<Option<&'m str>, Error> {
    metadata
        .get(name)
        .map(|value| {
            value
                .to_str()
                .map_err(|_| Error::invalid(format!("{name}: send visible ASCII characters only")))
        })
        .transpose()
}
