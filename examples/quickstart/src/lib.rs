//! The work queue from Rust, a file for each way of using it, none longer than a screen. Each takes a
//! [`Queue`], and a queue is the same whether it is reached over the network ([`Queue::connect`]),
//! lives in this process ([`Queue::embedded`]) or in its memory only ([`Queue::in_memory`]). Beside it, [`lead`]
//! has one process of many do something, and [`scatter`] asks the shards of a service.

mod batch;
mod careful;
mod hello;
mod lead;
mod many;
mod scatter;

pub use batch::batch;
pub use careful::careful;
pub use hello::hello;
pub use lead::lead;
pub use many::many;
pub use scatter::scatter;

use quorate_work_queue::queue::Queue;
use std::path::PathBuf;

/// Where the queue is, as the command line says: nothing for memory, a directory for a replica in
/// this process, `host:port,…` for a cluster.
pub async fn open(place: Option<String>) -> anyhow::Result<Queue> {
    Ok(match place {
        None => Queue::in_memory().await?,
        Some(place) if place.contains(':') => Queue::connect(&place)?,
        Some(place) => {
            let config = quorate_work_queue::queue::NodeConfig::single(PathBuf::from(place));
            Queue::embedded(config).await?
        }
    })
}
