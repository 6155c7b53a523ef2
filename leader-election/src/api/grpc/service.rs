//! The calls: read, ask, answer.

use super::call::{identify, identify_operation};
use super::watch;
use crate::api::Api;
use crate::api::answer::Bounded;
use crate::check;
use crate::convert::{self, keep_alive_from, observed_into, renewed_into, reply, waiting_campaign};
use crate::machine::{Answer, Command, Query};
use crate::service::Executed;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use prost::Message;
use quorate_core::clock;
use quorate_core::error::{Code, Error};
use quorate_proto::election as pb;
use quorate_proto::election::elections_server;
use std::sync::Arc;
use tonic::{Request, Response, Status, Streaming};

/// Renewals of one stream that are under way at once; the next one is read when one is answered.
const RENEWALS_IN_FLIGHT_MAX: usize = 64;

/// The service.
pub(super) struct Elections(pub(super) Api);

type Answered<T> = Result<Response<T>, Status>;

/// What the streams answer with.
type Answers<T> = BoxStream<'static, Result<T, Status>>;

impl Elections {
    /// One command: `method` scopes its idempotency key.
    async fn command<R, T>(
        &self,
        method: &str,
        request: Request<R>,
        answer: fn(Executed) -> Result<T, Error>,
    ) -> Answered<T>
    where
        R: Message,
        Command: TryFrom<R, Error = Error>,
    {
        let caller = identify_operation(&request, method)?;
        let command = Command::try_from(request.into_inner())?;
        let executed = self.0.execute(&caller, command).await?;
        Ok(Response::new(answer(executed)?))
    }

    /// One question.
    async fn query<R, T>(
        &self,
        request: Request<R>,
        answer: fn(Answer) -> Result<T, Error>,
    ) -> Answered<T>
    where
        Query: TryFrom<R, Error = Error>,
    {
        let caller = identify(&request)?;
        let query = Query::try_from(request.into_inner())?;
        let found = self.0.query(&caller, query).await?;
        Ok(Response::new(answer(found)?))
    }
}

fn answer_into(answer: Bounded, session: crate::machine::SessionId) -> pb::Answer {
    let valid_for = answer.valid_for.unwrap_or_default();
    pb::Answer {
        token: answer.token.map(|token| token.0),
        valid_for_ms: u64::try_from(valid_for.as_millis()).unwrap_or(u64::MAX),
        election: answer
            .view
            .map(|view| convert::election_into(view, &[session])),
    }
}

/// How a stream ends when its container is told to stop.
fn stopping() -> Status {
    let error = Error::new(
        Code::NoQuorum,
        "this container stops; what it has not answered was not done, go on at another one",
    );
    error.retry_after_ms(0).into()
}

#[tonic::async_trait]
impl elections_server::Elections for Elections {
    async fn get_info(&self, _: Request<pb::GetInfoRequest>) -> Answered<pb::Info> {
        let info = self.0.service.cluster().await?;
        let info = convert::info_into(info, self.0.version, self.0.role);
        Ok(Response::new(info))
    }

    async fn open_session(
        &self,
        request: Request<pb::OpenSessionRequest>,
    ) -> Answered<pb::OpenSessionResponse> {
        self.command("OpenSession", request, reply::opened_into)
            .await
    }

    type KeepAliveStream = Answers<pb::KeepAliveResponse>;

    async fn keep_alive(
        &self,
        request: Request<Streaming<pb::KeepAliveRequest>>,
    ) -> Answered<Self::KeepAliveStream> {
        let caller = identify(&request)?;
        let api = self.0.clone();
        let drain = api.drain.clone();
        let answers = request
            .into_inner()
            .take_while(|request| std::future::ready(request.is_ok()))
            .map(move |request| {
                let (api, caller) = (api.clone(), caller.clone());
                async move {
                    let request = request?;
                    let number = request.number;
                    let renewal = keep_alive_from(request);
                    let known = match &renewal {
                        Ok(renewal) => renewal.sessions.clone(),
                        Err(_) => Vec::new(),
                    };
                    let renewed = match renewal {
                        Ok(renewal) => api.renew(&caller, renewal).await,
                        Err(error) => Err(error),
                    };
                    Ok(renewed_into(number, &known, renewed))
                }
            })
            .buffer_unordered(RENEWALS_IN_FLIGHT_MAX)
            .take_until(drain.cancelled_owned());
        let end = ending(&self.0);
        Ok(Response::new(answers.chain(end).boxed()))
    }

    async fn close_session(
        &self,
        request: Request<pb::CloseSessionRequest>,
    ) -> Answered<pb::CountResponse> {
        self.command("CloseSession", request, reply::count_into)
            .await
    }

    async fn get_session(&self, request: Request<pb::GetSessionRequest>) -> Answered<pb::Session> {
        self.query(request, reply::session_into).await
    }

    async fn campaign(
        &self,
        request: Request<pb::CampaignRequest>,
    ) -> Answered<pb::CampaignResponse> {
        let received = clock::boottime();
        let caller = identify_operation(&request, "Campaign")?;
        let (campaign, wait_ms) = waiting_campaign(request.into_inner())?;
        let Some(wait_ms) = wait_ms else {
            let executed = self.0.execute(&caller, Command::Campaign(campaign)).await?;
            let crate::machine::Reply::Campaigned(campaigned) = executed.reply else {
                return Err(reply::misfit().into());
            };
            let response = reply::campaigned_into(campaigned, executed.replayed);
            return Ok(Response::new(response));
        };
        let waited = self
            .0
            .campaign_waiting(&caller, campaign, wait_ms, received)
            .await?;
        let session = waited.campaigned.session;
        let mut response = reply::campaigned_into(waited.campaigned, waited.replayed);
        response.token = waited.answer.token.map(|token| token.0);
        response.answer = Some(answer_into(waited.answer, session));
        Ok(Response::new(response))
    }

    async fn resign(&self, request: Request<pb::ResignRequest>) -> Answered<pb::EndedResponse> {
        self.command("Resign", request, reply::ended_into).await
    }

    async fn leave(&self, request: Request<pb::LeaveRequest>) -> Answered<pb::EndedResponse> {
        self.command("Leave", request, reply::ended_into).await
    }

    async fn transfer(
        &self,
        request: Request<pb::TransferRequest>,
    ) -> Answered<pb::TransferResponse> {
        self.command("Transfer", request, reply::transferring_into)
            .await
    }

    async fn drained(&self, request: Request<pb::DrainedRequest>) -> Answered<pb::EndedResponse> {
        self.command("Drained", request, reply::ended_into).await
    }

    async fn revoke(&self, request: Request<pb::RevokeRequest>) -> Answered<pb::DoneResponse> {
        self.command("Revoke", request, reply::done_into).await
    }

    async fn force_release(
        &self,
        request: Request<pb::ForceReleaseRequest>,
    ) -> Answered<pb::EndedResponse> {
        self.command("ForceRelease", request, reply::ended_into)
            .await
    }

    async fn configure(
        &self,
        request: Request<pb::ConfigureRequest>,
    ) -> Answered<pb::DoneResponse> {
        self.command("Configure", request, reply::done_into).await
    }

    async fn get(&self, request: Request<pb::GetRequest>) -> Answered<pb::Election> {
        self.query(request, reply::get_into).await
    }

    async fn list(&self, request: Request<pb::ListRequest>) -> Answered<pb::ListResponse> {
        self.query(request, reply::list_into).await
    }

    type ObserveStream = Answers<pb::Observed>;

    async fn observe(&self, request: Request<pb::ObserveRequest>) -> Answered<Self::ObserveStream> {
        let caller = identify(&request)?;
        let request = request.into_inner();
        let election = convert::observed_election(&request)?;
        let observed = self
            .0
            .service
            .observe(&caller, election, request.after)
            .await?;
        let told = observed
            .map(|observed| Ok(observed_into(observed?)))
            .take_until(self.0.drain.clone().cancelled_owned());
        let end = ending(&self.0);
        Ok(Response::new(told.chain(end).boxed()))
    }

    type WatchStream = Answers<pb::WatchResponse>;

    async fn watch(
        &self,
        request: Request<Streaming<pb::WatchRequest>>,
    ) -> Answered<Self::WatchStream> {
        let caller = identify(&request)?;
        let service = Arc::clone(&self.0.service);
        let told = watch::told(service, caller, request.into_inner())
            .take_until(self.0.drain.clone().cancelled_owned());
        let end = ending(&self.0);
        Ok(Response::new(told.map(Ok).chain(end).boxed()))
    }

    async fn check(&self, request: Request<pb::CheckRequest>) -> Answered<pb::CheckResponse> {
        self.query(request, reply::check_into).await
    }

    async fn get_history(&self, request: Request<pb::GetHistoryRequest>) -> Answered<pb::History> {
        self.query(request, reply::history_into).await
    }

    async fn get_position(
        &self,
        request: Request<pb::GetPositionRequest>,
    ) -> Answered<pb::Position> {
        let caller = identify(&request)?;
        check::query(&Query::Position)?;
        let found = self.0.query(&caller, Query::Position).await?;
        Ok(Response::new(reply::position_into(found)?))
    }
}

/// What a stream ends with: nothing, or that the container stops.
fn ending<T: Send + 'static>(
    api: &Api,
) -> impl futures::Stream<Item = Result<T, Status>> + Send + use<T> {
    let drain = api.drain.clone();
    futures::stream::once(async move { drain.is_cancelled().then(|| Err(stopping())) })
        .filter_map(std::future::ready)
}
