//! What the cluster answers, as the command line shows it: documents with the REST API's field names
//! and tables for people.

mod batch;
mod cluster;
mod common;
mod election;
mod job;
mod queue;

pub(crate) use batch::{BatchDocument, Batches, Children, bar_line};
pub(crate) use cluster::{ClusterDocument, NodeRow};
pub(crate) use election::{ChangeDocument, ElectionDocument, Elections, UnknownDocument};
pub(crate) use job::{JobDocument, Jobs};
pub(crate) use queue::{QueueDocument, Queues};
