//! Many observations over one stream, each under the number that its caller gave it.
//!
//! They are one stream of the service each, and are polled as one: who reads slowly is told slowly, and an
//! observation that falls behind meanwhile catches up, as it would alone.

use crate::convert::{error_into, observed_election, observed_into};
use crate::machine::limits;
use crate::service::{Caller, ElectionService, Observed};
use futures::stream::{BoxStream, SelectAll};
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use pb::watch_request::What as Asked;
use pb::watch_response::What as Said;
use quorate_core::error::{Code, Error};
use quorate_proto::election as pb;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::oneshot;
use tonic::Status;

/// One observation: what is said of it, and at last `None`, so that its number becomes free.
type Watch = BoxStream<'static, (Serial, Option<Said>)>;

/// The caller's number of a watch, and ours: that of the caller may have been used before.
type Serial = (u64, u64);

/// The state of one stream.
struct Watching<R> {
    service: Arc<dyn ElectionService>,
    caller: Caller,
    requests: R,
    watches: SelectAll<Watch>,
    /// Our number of each, and what ends it when it is dropped.
    open: HashMap<u64, (u64, oneshot::Sender<()>)>,
    serial_last: u64,
}

/// What is said on a stream with these requests. Ends when they do.
pub(super) fn told<R>(
    service: Arc<dyn ElectionService>,
    caller: Caller,
    requests: R,
) -> impl Stream<Item = pb::WatchResponse> + Send + use<R>
where
    R: Stream<Item = Result<pb::WatchRequest, Status>> + Send + Unpin + 'static,
{
    let watching = Watching {
        service,
        caller,
        requests,
        watches: SelectAll::new(),
        open: HashMap::new(),
        serial_last: 0,
    };
    futures::stream::unfold(watching, |mut watching| async move {
        let said = watching.next().await?;
        Some((said, watching))
    })
}

impl<R> Watching<R>
where
    R: Stream<Item = Result<pb::WatchRequest, Status>> + Send + Unpin,
{
    async fn next(&mut self) -> Option<pb::WatchResponse> {
        loop {
            tokio::select! {
                request = self.requests.next() => match request {
                    Some(Ok(request)) => {
                        let watch = request.watch;
                        if let Err(error) = self.take(request) {
                            return Some(say(watch, Said::Failed(error_into(error))));
                        }
                    }
                    Some(Err(_)) | None => return None,
                },
                Some(((watch, serial), said)) = self.watches.next(), if !self.watches.is_empty() => {
                    // What is left of one that was ended is not for one that took its number.
                    let open = self.open.get(&watch).is_some_and(|(open, _)| *open == serial);
                    match said.filter(|_| open) {
                        Some(said) => return Some(say(watch, said)),
                        None if open => drop(self.open.remove(&watch)),
                        None => {}
                    }
                }
            }
        }
    }

    fn take(&mut self, request: pb::WatchRequest) -> Result<(), Error> {
        match request.what {
            Some(Asked::Begin(begin)) => self.begin(request.watch, &begin),
            Some(Asked::End(_)) => {
                self.open.remove(&request.watch);
                Ok(())
            }
            None => Err(Error::invalid("what: missing; send `begin` or `end`")),
        }
    }

    fn begin(&mut self, watch: u64, begin: &pb::ObserveRequest) -> Result<(), Error> {
        let election = observed_election(begin)?;
        if self.open.contains_key(&watch) {
            return Err(Error::invalid(format!(
                "watch: {watch} is in use on this stream; take another number"
            )));
        }
        if self.open.len() >= limits::WATCHES_PER_STREAM_MAX {
            let most = limits::WATCHES_PER_STREAM_MAX;
            let detail =
                format!("{most} watches are open on this stream; end some, or open another");
            return Err(Error::new(Code::OverQuota, detail));
        }
        self.serial_last += 1;
        let serial = (watch, self.serial_last);
        let (stop, stopped) = oneshot::channel::<()>();
        let (service, caller, after) =
            (Arc::clone(&self.service), self.caller.clone(), begin.after);
        let observe = async move { service.observe(&caller, election, after).await };
        let begun = futures::stream::once(observe).map_ok(|observation| {
            let told = observation.map_ok(|observed| match observed {
                Observed::Unknown => Said::Unknown(pb::Unknown {}),
                observed => Said::Told(observed_into(observed)),
            });
            futures::stream::once(std::future::ready(Ok(Said::Begun(pb::WatchBegun {}))))
                .chain(told)
        });
        let said = begun
            .try_flatten()
            .map(move |said| {
                let said = said.unwrap_or_else(|error| Said::Failed(error_into(error)));
                (serial, Some(said))
            })
            .take_until(stopped)
            .chain(futures::stream::once(std::future::ready((serial, None))));
        self.watches.push(said.boxed());
        self.open.insert(watch, (self.serial_last, stop));
        Ok(())
    }
}

fn say(watch: u64, said: Said) -> pb::WatchResponse {
    pb::WatchResponse {
        watch,
        what: Some(said),
    }
}
