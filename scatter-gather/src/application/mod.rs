//! What an application serves: leaves and mergers of one's own behind HTTP and gRPC, on one port.
//!
//! ```no_run
//! use quorate_scatter_gather::application::leaf_router;
//! use quorate_scatter_gather::scatter::{LeafAnswer, LeafError, LeafRequest, leaf_fn};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let leaf = leaf_fn(|request: LeafRequest| async move {
//!     match request.body.len() {
//!         0 => Err(LeafError::Refused("send a question".to_owned())),
//!         n => Ok(LeafAnswer::json(format!(r#"{{"value":{n}}}"#))),
//!     }
//! });
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:9000").await?;
//! axum::serve(listener, leaf_router(leaf)?).await?;
//! # Ok(())
//! # }
//! ```
//!
//! A fan-out reaches it as `http://127.0.0.1:9000`, with `"leaves":"grpc"` or without. Whatever stands before
//! it (TLS, credentials, limits) is the application's to add.

mod leaf;
mod merge;

pub use leaf::leaf_router;
pub use merge::merge_router;

use bytes::Bytes;
use http::HeaderMap;
use std::time::Duration;

/// Largest request.
const REQUEST_BYTES_MAX: usize = 64 << 20;
/// Bytes of an answer in one message of gRPC, far below what clients take by default (4 MiB).
const PART_BYTES: usize = 1 << 20;

/// What HTTP's headers say about the time that is left.
fn remaining(headers: &HeaderMap) -> Option<Duration> {
    let given = headers.get("quorate-deadline-ms")?.to_str().ok()?;
    given.trim().parse().ok().map(Duration::from_millis)
}

/// A body in pieces, at least one.
fn pieces(whole: Bytes) -> impl Iterator<Item = Bytes> {
    let mut rest = Some(whole);
    std::iter::from_fn(move || {
        let mut whole = rest.take()?;
        let next = whole.split_to(whole.len().min(PART_BYTES));
        rest = (!whole.is_empty()).then_some(whole);
        Some(next)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pieces put together are the whole, none is too long, and an empty body is one piece.
    #[test]
    fn pieces_are_the_whole() {
        for length in [0, 1, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES] {
            let whole = Bytes::from(vec![7; length]);
            let parts: Vec<Bytes> = pieces(whole.clone()).collect();
            assert_eq!(parts.len(), length.div_ceil(PART_BYTES).max(1));
            assert!(parts.iter().all(|part| part.len() <= PART_BYTES));
            assert_eq!(parts.concat(), whole);
        }
    }
}
