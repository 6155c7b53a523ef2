//! A TCP proxy that can be cut: the network between one copy and the elections.

use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A link that is whole or cut. While it is cut, connections hang: nothing arrives, nothing is refused.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) address: SocketAddr,
    whole: Arc<watch::Sender<bool>>,
}

impl Link {
    /// A link to `target`, whole.
    pub(crate) async fn to(target: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let link = Self {
            address: listener.local_addr()?,
            whole: Arc::new(watch::Sender::new(true)),
        };
        let whole = link.whole.subscribe();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(carry(near, target, whole.clone()));
            }
        });
        Ok(link)
    }

    pub(crate) fn cut(&self) {
        self.whole.send_replace(false);
    }

    pub(crate) fn mend(&self) {
        self.whole.send_replace(true);
    }
}

async fn carry(mut near: TcpStream, target: SocketAddr, mut whole: watch::Receiver<bool>) {
    // What waits while the link is cut is held, and dropped when it is mended: packets do not survive.
    if !*whole.borrow_and_update() {
        let _ = whole.wait_for(|whole| *whole).await;
        return;
    }
    let Ok(mut far) = TcpStream::connect(target).await else {
        return;
    };
    let cut = async {
        let _ = whole.wait_for(|whole| !*whole).await;
    };
    tokio::select! {
        _ = copy_bidirectional(&mut near, &mut far) => return,
        () = cut => {}
    }
    // Both ends stay open and silent, as a real cut leaves them.
    let _ = whole.wait_for(|whole| *whole).await;
}
