//! Calls to leaves over kept connections.
//!
//! [`Hosts`] keeps connections, a few of HTTP/2 or as many as needed of HTTP/1.1 for each address, shared
//! by everything in the process. [`Target`] is one replica of one shard of one fan-out: it knows how
//! fast and how healthy that replica is for these calls. [`Replicas`] is a shard: it chooses among its
//! targets and looks after the ejected ones. [`Admission`] refuses what would be too much before
//! anything is sent.
//!
//! A call is a future. Dropping it cancels it, and the connection lives on: over HTTP/2 the stream is
//! reset and the reset is counted, because peers count them too and close a connection with too many;
//! over HTTP/1.1 a small rest is read and thrown away, and only a long one costs the connection.

mod address;
mod admission;
mod call;
mod connect;
mod ejection;
mod grpc;
mod h1;
mod h2;
mod host;
mod local;
mod merge_call;
mod names;
mod replicas;
mod samples;
mod target;

#[cfg(test)]
mod tests;

pub use address::{LeafUrl, UrlError};
pub use admission::{Admission, AdmissionCaps, Permit};
pub use call::{Addressed, Call, CallError, Reply};
pub use grpc::GrpcMerge;
pub use host::{Host, Hosts, Protocol};
pub use local::{Leaf, LeafAnswer, LeafError, LeafRequest, leaf_fn};
pub use merge_call::HttpMerge;
pub use names::{Resolve, SystemNames};
pub use replicas::{Chosen, Replicas};
pub use target::{Condition, Target, TargetView};
