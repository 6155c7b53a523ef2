//! Observations over one stream for each server: a connection carries a hundred streams, and a client may
//! stand for ten thousand elections.
//!
//! Each watch has a bounded channel. One that is not read loses its channel, and its observer begins
//! another after the last revision it was told: nobody waits for a slow neighbour, and nothing is missed.

use super::{Grpc, Servers};
use crate::convert::{error_from, observe_into, observed_from};
use crate::service::{Observation, Observed};
use futures::StreamExt as _;
use pb::watch_request::What as Ask;
use pb::watch_response::What as Said;
use quorate_core::client::failure;
use quorate_core::error::{Code, Error};
use quorate_core::types::Name;
use quorate_proto::election as pb;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Streaming};

/// A server that does not open the stream, or does not accept a watch, within this time is left.
const OPEN_MAX: Duration = Duration::from_secs(3);
/// What waits for one observer.
const BEHIND_MAX: usize = 64;
/// Requests that wait for the connection; more wait in front of it.
const UP_MAX: usize = 256;

/// The streams of a client, one for each server that it uses.
#[derive(Clone, Debug)]
pub(super) struct Watches {
    servers: Arc<Servers>,
    streams: Arc<Mutex<HashMap<usize, Orders>>>,
}

/// Where a stream takes its orders. Unbounded, because a watch that is dropped cannot wait; there are at most
/// two orders for each watch, and whoever begins one waits until it has begun.
type Orders = mpsc::UnboundedSender<Order>;

#[derive(Debug)]
enum Order {
    Begin(pb::ObserveRequest, mpsc::Sender<Told>, u64),
    End(u64),
}

#[derive(Debug)]
enum Told {
    Begun,
    Observed(Observed),
    Failed(Error),
}

/// An observation of one election at one server.
#[derive(Debug)]
struct Watch {
    servers: Arc<Servers>,
    server: usize,
    number: u64,
    told: mpsc::Receiver<Told>,
    orders: Orders,
}

impl Drop for Watch {
    fn drop(&mut self) {
        // A stream that is gone has nothing to end.
        let _ = self.orders.send(Order::End(self.number));
    }
}

impl Watch {
    /// What is told next. `None`: the stream is gone, or this observer did not keep up; begin again after
    /// the last revision. A failure counts against the server: it may be cut off.
    async fn next(&mut self) -> Option<Result<Observed, Error>> {
        loop {
            match self.told.recv().await? {
                Told::Begun => {}
                Told::Observed(observed) => return Some(Ok(observed)),
                Told::Failed(error) => {
                    self.servers.failed(self.server, error.code);
                    return Some(Err(error));
                }
            }
        }
    }
}

impl Watches {
    pub(super) fn new(servers: &Arc<Servers>) -> Self {
        Self {
            servers: Arc::clone(servers),
            streams: Arc::default(),
        }
    }

    /// Begins to observe an election at the current server. A failure counts against that server.
    pub(super) async fn begin(
        self,
        election: Name,
        after: Option<u64>,
    ) -> Result<Observation, Error> {
        let (server, grpc) = self.servers.current();
        let begun = async {
            let mut watch = self.order((server, grpc), observe_into(&election, after));
            match watch.told.recv().await {
                Some(Told::Begun) => Ok(watch),
                Some(Told::Failed(error)) => Err(error),
                Some(Told::Observed(_)) | None => {
                    Err(Error::new(Code::NoQuorum, "the stream to the server broke"))
                }
            }
        };
        let result = tokio::time::timeout(OPEN_MAX, begun)
            .await
            .unwrap_or_else(|_| {
                let name = self.servers.name(server);
                let detail = format!("{name} did not begin to tell of an election in time");
                Err(Error::new(Code::NoQuorum, detail))
            });
        match result {
            Ok(watch) => Ok(futures::stream::unfold(watch, |mut watch| async move {
                let observed = watch.next().await?;
                Some((observed, watch))
            })
            .boxed()),
            Err(error) => {
                self.servers.failed(server, error.code);
                Err(error)
            }
        }
    }

    /// Orders a watch at the stream of this server, which is begun if there is none.
    fn order(&self, (server, grpc): (usize, Grpc), begin: pb::ObserveRequest) -> Watch {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let (to, told) = mpsc::channel(BEHIND_MAX);
        let begin = Order::Begin(begin, to, number);
        // Nothing in there is left half done by a panic.
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = match streams.get(&server) {
            Some(orders) => orders.send(begin).err().map(|gone| gone.0),
            None => Some(begin),
        };
        if let Some(begin) = refused {
            let (orders, taken) = mpsc::unbounded_channel();
            // It is taken from there in a moment.
            let _ = orders.send(begin);
            streams.insert(server, orders);
            tokio::spawn(converse(Arc::clone(&self.servers), (server, grpc), taken));
        }
        let orders = streams.get(&server).cloned();
        Watch {
            servers: Arc::clone(&self.servers),
            server,
            number,
            told,
            orders: orders.expect("it was there or has just been put there"),
        }
    }
}

/// Opens the stream of a server, and talks until it breaks or nobody is left who could order anything.
async fn converse(
    servers: Arc<Servers>,
    (server, grpc): (usize, Grpc),
    mut orders: mpsc::UnboundedReceiver<Order>,
) {
    let mut conversation = Conversation::default();
    let error = match open(&servers, server, grpc).await {
        Ok((up, down)) => match conversation.run(&mut orders, &up, down).await {
            Ok(()) => return,
            Err(error) => error,
        },
        Err(error) => error,
    };
    servers.failed(server, error.code);
    // From here on whoever wants a watch begins another stream.
    orders.close();
    while let Some(order) = orders.recv().await {
        conversation.take(order);
    }
    for to in conversation.watches.into_values() {
        // One that is full finds its channel closed.
        let _ = to.try_send(Told::Failed(error.clone()));
    }
}

type Up = mpsc::Sender<pb::WatchRequest>;

async fn open(
    servers: &Servers,
    server: usize,
    mut grpc: Grpc,
) -> Result<(Up, Streaming<pb::WatchResponse>), Error> {
    let (up, requests) = mpsc::channel(UP_MAX);
    let mut request = Request::new(ReceiverStream::new(requests));
    servers.authorize(&mut request);
    match tokio::time::timeout(OPEN_MAX, grpc.watch(request)).await {
        Ok(Ok(response)) => Ok((up, response.into_inner())),
        Ok(Err(status)) => Err(failure(&status)),
        Err(_) => Err(Error::new(
            Code::NoQuorum,
            format!("{} did not open a stream in time", servers.name(server)),
        )),
    }
}

#[derive(Default)]
struct Conversation {
    watches: HashMap<u64, mpsc::Sender<Told>>,
    /// What is to be sent. It never waits for the server to read while the server may wait for us.
    asked: VecDeque<pb::WatchRequest>,
}

impl Conversation {
    async fn run(
        &mut self,
        orders: &mut mpsc::UnboundedReceiver<Order>,
        up: &Up,
        mut down: Streaming<pb::WatchResponse>,
    ) -> Result<(), Error> {
        let broke = || Error::new(Code::NoQuorum, "the server ended the stream");
        loop {
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => self.take(order),
                    None => return Ok(()),
                },
                permit = up.reserve(), if !self.asked.is_empty() => {
                    let permit = permit.map_err(|_| broke())?;
                    if let Some(request) = self.asked.pop_front() {
                        permit.send(request);
                    }
                }
                message = down.message() => {
                    let message = message.map_err(|status| failure(&status))?;
                    self.hear(message.ok_or_else(broke)?);
                }
            }
        }
    }

    fn take(&mut self, order: Order) {
        let (watch, what) = match order {
            Order::Begin(begin, to, number) => {
                self.watches.insert(number, to);
                (number, Ask::Begin(begin))
            }
            Order::End(number) if self.watches.remove(&number).is_some() => {
                (number, Ask::End(pb::WatchEnd {}))
            }
            Order::End(_) => return,
        };
        self.asked.push_back(pb::WatchRequest {
            watch,
            what: Some(what),
        });
    }

    fn hear(&mut self, response: pb::WatchResponse) {
        let number = response.watch;
        let Some(to) = self.watches.get(&number) else {
            // It was ended.
            return;
        };
        let told = match response.what {
            Some(Said::Begun(_)) => Told::Begun,
            Some(Said::Told(observed)) => match observed_from(observed) {
                Ok(Some(observed)) => Told::Observed(observed),
                // Something that only newer builds say, as below.
                Ok(None) => return,
                Err(error) => Told::Failed(error),
            },
            Some(Said::Failed(error)) => Told::Failed(error_from(error)),
            Some(Said::Unknown(pb::Unknown {})) => Told::Observed(Observed::Unknown),
            // Something that only newer builds say.
            None => return,
        };
        if to.try_send(told).is_err() {
            self.take(Order::End(number));
        }
    }
}
