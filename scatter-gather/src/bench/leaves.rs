//! Leaves for measurements: small servers on loopback, on a thread of their own, so that their time is
//! not counted as the root's.

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::io;
use std::sync::mpsc;
use std::thread::JoinHandle;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// Bytes of an answer.
pub(super) const REPLY_BYTES: usize = 128;

/// Servers that answer every request at once, in HTTP/2 without TLS. They end when this is dropped.
#[derive(Debug)]
pub struct Leaves {
    urls: Vec<String>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Leaves {
    /// So many servers.
    ///
    /// # Errors
    /// When a port cannot be bound.
    pub fn start(servers: usize) -> io::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let (ready, told) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("leaves".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                match runtime {
                    Ok(runtime) => runtime.block_on(serve(servers, &ready, stopped)),
                    Err(error) => drop(ready.send(Err(error))),
                }
            })?;
        let urls = told.recv().map_err(io::Error::other)??;
        Ok(Self {
            urls,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where they are.
    pub fn urls(&self) -> &[String] {
        &self.urls
    }
}

impl Drop for Leaves {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of a server has been printed already.
            let _ = thread.join();
        }
    }
}

async fn serve(
    servers: usize,
    ready: &mpsc::Sender<io::Result<Vec<String>>>,
    stopped: oneshot::Receiver<()>,
) {
    let mut urls = Vec::with_capacity(servers);
    for _ in 0..servers {
        let bound = match TcpListener::bind("127.0.0.1:0").await {
            Ok(listener) => listener.local_addr().map(|address| (listener, address)),
            Err(error) => Err(error),
        };
        match bound {
            Ok((listener, address)) => {
                urls.push(format!("http://{address}"));
                tokio::spawn(accept(listener));
            }
            Err(error) => {
                let _ = ready.send(Err(error));
                return;
            }
        }
    }
    let _ = ready.send(Ok(urls));
    // Ends when the sender is dropped.
    let _ = stopped.await;
}

async fn accept(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        // A connection without it is only slower.
        let _ = stream.set_nodelay(true);
        tokio::spawn(async move {
            let answer = service_fn(|_| async {
                static REPLY: [u8; REPLY_BYTES] = [b'x'; REPLY_BYTES];
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(&REPLY))))
            });
            let connection = http2::Builder::new(TokioExecutor::new())
                .max_concurrent_streams(4_096)
                .serve_connection(TokioIo::new(stream), answer);
            // The client closes when it has done.
            let _ = connection.await;
        });
    }
}
