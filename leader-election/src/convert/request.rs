//! Requests: `TryFrom` at the server, `…_into` and the client's calls at the other end.

use super::{
    name, optional_token, page_limit, page_token, required, session, settings_from, text, token,
};
use crate::machine::{Campaign, Command, Liveness, Query, limits};
use quorate_core::error::Error;
use quorate_core::types::Name;
use quorate_proto::election as pb;

macro_rules! reads {
    ($($request:ident => $target:ident |$value:ident| $body:expr;)*) => {$(
        impl TryFrom<pb::$request> for $target {
            type Error = Error;
            fn try_from($value: pb::$request) -> Result<Self, Error> {
                Ok($body)
            }
        }
    )*};
}

reads! {
    OpenSessionRequest => Command |r| Command::OpenSession { ttl_ms: r.ttl_ms, label: text(r.label) };
    CloseSessionRequest => Command |r| Command::CloseSession {
        session: session("session", r.session)?,
    };
    ResignRequest => Command |r| Command::Resign {
        election: name("election", &r.election)?,
        session: session("session", r.session)?,
        token: token("token", r.token)?,
    };
    LeaveRequest => Command |r| Command::Leave {
        election: name("election", &r.election)?,
        candidate: name("candidate", &r.candidate)?,
        session: session("session", r.session)?,
    };
    TransferRequest => Command |r| Command::Transfer {
        election: name("election", &r.election)?,
        to: name("to", &r.to)?,
        drain_ms: r.drain_ms,
        token: optional_token("token", r.token)?,
    };
    DrainedRequest => Command |r| Command::Drained {
        election: name("election", &r.election)?,
        session: session("session", r.session)?,
        token: token("token", r.token)?,
    };
    RevokeRequest => Command |r| Command::Revoke {
        election: name("election", &r.election)?,
        token: optional_token("token", r.token)?,
        reason: text(r.reason),
    };
    ForceReleaseRequest => Command |r| {
        let election = name("election", &r.election)?;
        crate::check::two_leaders(r.i_accept_two_leaders)?;
        Command::ForceRelease {
            election,
            token: optional_token("token", r.token)?,
            reason: text(r.reason),
        }
    };
    ConfigureRequest => Command |r| Command::Configure {
        election: name("election", &r.election)?,
        settings: r.settings.map(settings_from).transpose()?,
    };
    GetRequest => Query |r| Query::Election { election: name("election", &r.election)? };
    ListRequest => Query |r| Query::Elections {
        after: page_token(&r.page_token)?,
        prefix: text(r.prefix),
        max: page_limit(r.page_size)?,
    };
    CheckRequest => Query |r| Query::Check {
        election: name("election", &r.election)?,
        token: token("token", r.token)?,
    };
    GetSessionRequest => Query |r| Query::Session {
        session: session("session", r.session)?,
        after: page_token(&r.page_token)?,
        max: page_limit(r.page_size)?,
    };
    GetHistoryRequest => Query |r| Query::History {
        election: match r.election.as_str() {
            "" => None,
            text => Some(name("election", text)?),
        },
        after: r.after,
        max: match r.max {
            0 => limits::HISTORY_PAGE_MAX,
            max => max,
        },
    };
}

/// A campaign and how long its caller waits for leadership; absent when it does not want the answer.
pub fn waiting_campaign(request: pb::CampaignRequest) -> Result<(Campaign, Option<u64>), Error> {
    let liveness = match required("session, ttl_ms", request.liveness)? {
        pb::campaign_request::Liveness::Session(number) => {
            Liveness::Session(session("session", number)?)
        }
        pb::campaign_request::Liveness::TtlMs(ttl_ms) => Liveness::Ttl(ttl_ms),
    };
    let campaign = Campaign {
        election: name("election", &request.election)?,
        candidate: name("candidate", &request.candidate)?,
        liveness,
        priority: request.priority,
        metadata: text(request.metadata),
    };
    Ok((campaign, request.wait_ms))
}

/// To protobuf, for an answer at once.
pub fn campaign_into(campaign: Campaign) -> pb::CampaignRequest {
    pb::CampaignRequest {
        election: campaign.election.to_string(),
        candidate: campaign.candidate.to_string(),
        liveness: Some(match campaign.liveness {
            Liveness::Session(session) => pb::campaign_request::Liveness::Session(session.0),
            Liveness::Ttl(ttl_ms) => pb::campaign_request::Liveness::TtlMs(ttl_ms),
        }),
        priority: campaign.priority,
        metadata: campaign.metadata.to_string(),
        wait_ms: None,
    }
}

/// To protobuf.
#[cfg(feature = "client")]
pub(crate) fn observe_into(election: &Name, after: Option<u64>) -> pb::ObserveRequest {
    pb::ObserveRequest {
        election: election.to_string(),
        after,
    }
}

/// The election that is to be observed.
pub(crate) fn observed_election(request: &pb::ObserveRequest) -> Result<Name, Error> {
    super::name("election", &request.election)
}
