//! What a gRPC call says about itself in its metadata.

use crate::api::caller;
use crate::service::Caller;
use prost::Message;
use quorate_core::error::Error;
use quorate_core::grpc_timeout;
use quorate_core::key::{IDEMPOTENCY_KEY, idempotency_key};
use quorate_core::types::Principal;
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

/// The same with the key that makes a retry safe. `method` scopes it.
pub(super) fn identify_operation<T: Message>(
    request: &Request<T>,
    method: &str,
) -> Result<Caller, Error> {
    let mut caller = identify(request)?;
    if let Some(key) = text(request.metadata(), IDEMPOTENCY_KEY)? {
        let body = request.get_ref().encode_to_vec();
        caller.key = Some(idempotency_key(&caller.principal, method, key, &[&body])?);
    }
    Ok(caller)
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
