//! A TCP link between two nodes that can be cut: bytes are carried in user space, so that a partition
//! needs no privileges.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// A listening address that leads to `target` while it is not cut.
#[derive(Debug)]
pub(super) struct Link {
    address: SocketAddr,
    cut: Arc<AtomicBool>,
    changed: Arc<Notify>,
    task: tokio::task::JoinHandle<()>,
}

impl Link {
    pub(super) async fn new(target: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let cut = Arc::new(AtomicBool::new(false));
        let changed = Arc::new(Notify::new());
        let task = tokio::spawn(accept(
            listener,
            target,
            Arc::clone(&cut),
            Arc::clone(&changed),
        ));
        Ok(Self {
            address,
            cut,
            changed,
            task,
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts the link: connections break and none is made.
    pub(super) fn cut(&self, cut: bool) {
        self.cut.store(cut, Ordering::SeqCst);
        self.changed.notify_waiters();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(
    listener: TcpListener,
    target: SocketAddr,
    cut: Arc<AtomicBool>,
    changed: Arc<Notify>,
) {
    while let Ok((mut inbound, _)) = listener.accept().await {
        if cut.load(Ordering::SeqCst) {
            continue;
        }
        let (cut, changed) = (Arc::clone(&cut), Arc::clone(&changed));
        tokio::spawn(async move {
            let Ok(mut outbound) = TcpStream::connect(target).await else {
                return;
            };
            let _ = inbound.set_nodelay(true);
            let _ = outbound.set_nodelay(true);
            let carried = copy_bidirectional(&mut inbound, &mut outbound);
            tokio::pin!(carried);
            loop {
                let changed = changed.notified();
                if cut.load(Ordering::SeqCst) {
                    return;
                }
                tokio::select! {
                    _ = &mut carried => return,
                    () = changed => {}
                }
            }
        });
    }
}
