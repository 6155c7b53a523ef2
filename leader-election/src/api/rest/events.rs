//! Server-sent events: what happens to an election, without a gap.
//!
//! The id of each event is its revision. A client that comes back with `Last-Event-ID` (browsers and
//! libraries do by themselves) goes on after it; one that was away for longer than the past is kept gets
//! the full state. Events carry no validity: to lead is to renew. A sidecar says `unknown` when what it
//! told last may not stand any longer, and `state` when it knows again ([`Observed::Unknown`]).

use super::operation::{Asker, header};
use super::view::{HandOver, Leader, PhaseName, instant, name, phase, state, unknown};
use crate::api::Api;
use crate::machine::{Change, EndCause, What};
use crate::service::Observed;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::{Stream, StreamExt as _};
use http::HeaderMap;
use quorate_core::error::{Code, Error};
use quorate_core::runtime::extract::{Path, Query as Parameters};
use quorate_core::runtime::problem::Problem;
use quorate_core::types::Name;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Between two comments on a quiet stream, so that a dead connection is noticed.
const COMMENT_EVERY: Duration = Duration::from_secs(10);
/// When a client should come back after the stream has ended.
const COME_BACK: Duration = Duration::from_millis(500);

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(events))
}

/// Where to begin.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
struct EventsQuery {
    /// After this revision, as `Last-Event-ID`; the present state comes first when both are absent.
    after_revision: Option<u64>,
}

/// One change, as the `data` of an event `change`.
#[derive(Serialize, ToSchema)]
#[schema(as = Change)]
struct ChangeOut {
    revision: u64,
    /// Of the change of this election before it; 0 for the first one.
    previous: u64,
    time: String,
    election: String,
    /// `joined`, `updated`, `left`, `elected`, `ended`, `draining`, `called_off`, `revoking`, `configured`,
    /// `removed`.
    what: &'static str,
    /// Whom it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    candidate: Option<String>,
    /// Why: `resigned`, `drained`, `left`, `closed`, `expired`, `revoked`, `forced`.
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'static str>,
    /// What whoever took it by force said.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The token that is void now.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_token: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    locked_until: Option<String>,
    /// Who leads after it.
    leader: Option<Leader>,
    fencing_token: Option<u64>,
    phase: Option<PhaseName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hand_over: Option<HandOver>,
}

impl From<&Change> for ChangeOut {
    fn from(change: &Change) -> Self {
        let leader = change.leader.as_deref();
        let (phase, hand_over) = leader.map(phase).unzip();
        let what = &change.what;
        let (ended_token, locked_until, reason) = match what {
            What::Ended {
                token,
                cause,
                locked_until,
                ..
            } => {
                let reason = match cause {
                    EndCause::Forced { reason, .. } => Some(reason.to_string()),
                    _ => None,
                };
                (Some(token.0), locked_until.map(instant), reason)
            }
            _ => (None, None, None),
        };
        Self {
            revision: change.revision,
            previous: change.previous,
            time: instant(change.time),
            election: change.election.to_string(),
            what: what.as_str(),
            candidate: what.candidate().map(ToString::to_string),
            cause: what.cause(),
            reason,
            ended_token,
            locked_until,
            leader: leader.map(Leader::from),
            fencing_token: leader.map(|leader| leader.token.0),
            phase,
            hand_over: hand_over.flatten(),
        }
    }
}

/// What happens to an election: first an event `state` with the election answer, unless a revision was
/// given, then an event `change` for each change. The id of each is its revision. A sidecar adds an event
/// `unknown`, without an id and with the election answer of that state, as soon as what it told may not stand
/// any longer. Changes that follow it are what happened meanwhile; then an event `state` says that it knows
/// again.
#[utoipa::path(get, path = "/v1/elections/{election}/events", tag = "elections",
    params(("election" = String, Path), EventsQuery,
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that was seen")),
    responses(
        (status = 200, description = "`state` and `unknown` events hold an Election, `change` events a Change",
            content_type = "text/event-stream", body = ChangeOut),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ))]
async fn events(
    State(api): State<Api>,
    Asker(caller): Asker,
    Path(election): Path<String>,
    headers: HeaderMap,
    Parameters(query): Parameters<EventsQuery>,
) -> Result<Sse<impl Stream<Item = Result<Event, Error>>>, Error> {
    let election = name("election", &election)?;
    let after = match header(&headers, "last-event-id")? {
        None => query.after_revision,
        Some(text) => Some(text.parse().map_err(|_| {
            Error::invalid(
                "Last-Event-ID: not a revision; send the id of an event, or leave it out",
            )
        })?),
    };
    let observed = api
        .service
        .observe(&caller, election.clone(), after)
        .await?;
    let hello = Event::default().retry(COME_BACK).comment("listening");
    // An observation that fails ends the stream; the client comes back after what it has seen.
    let told = observed
        .take_until(api.drain.clone().cancelled_owned())
        .take_while(|observed| std::future::ready(observed.is_ok()))
        .map(move |observed| event(&election, observed?));
    let stream = futures::stream::once(std::future::ready(Ok(hello))).chain(told);
    let keep_alive = KeepAlive::new().interval(COMMENT_EVERY).text("still here");
    Ok(Sse::new(stream).keep_alive(keep_alive))
}

fn event(election: &Name, observed: Observed) -> Result<Event, Error> {
    let revision = observed.revision();
    let (kind, data) = match observed {
        Observed::State(view) => ("state", serde_json::to_string(&state(view))),
        Observed::Change(change) => ("change", serde_json::to_string(&ChangeOut::from(&*change))),
        // No id: a client that comes back shall go on after the last change that it was told.
        Observed::Unknown => ("unknown", serde_json::to_string(&unknown(election.clone()))),
    };
    let data = data.map_err(|error| Error::new(Code::Internal, error.to_string()))?;
    let event = Event::default().event(kind).data(data);
    Ok(match revision {
        Some(revision) => event.id(revision.to_string()),
        None => event,
    })
}
