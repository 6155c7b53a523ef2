//! One attempt at one call.

use super::{Grpc, Servers};
use crate::convert::{campaign_into, election_from, reply, settings_into};
use crate::machine::{Answer, Command, Query};
use crate::service::Executed;
use quorate_core::client::failure;
use quorate_core::error::{Code, Error};
use quorate_core::machine::OpKey;
use quorate_core::types::Name;
use quorate_proto::election as pb;
use std::time::Duration;

/// Sends a message by a method of the generated client, and gives what came back.
macro_rules! call {
    ($servers:ident, $grpc:ident, $most:ident, $key:expr, $method:ident $message:expr) => {{
        let request = $servers.request($message, $most, $key)?;
        let response = $grpc.$method(request).await;
        response.map_err(|status| failure(&status))?.into_inner()
    }};
}

/// An answer that is never a replayed one to its caller: what it says holds whenever it was first said.
fn done(reply: crate::machine::Reply) -> Executed {
    Executed {
        reply,
        replayed: false,
    }
}

/// One command.
pub(super) async fn command(
    servers: &Servers,
    mut grpc: Grpc,
    command: Command,
    most: Duration,
    key: Option<&OpKey>,
) -> Result<Executed, Error> {
    macro_rules! send {
        ($method:ident $message:expr) => {
            call!(servers, grpc, most, key, $method $message)
        };
    }
    let text = |name: Name| name.to_string();
    match command {
        Command::OpenSession { ttl_ms, label } => {
            let label = label.to_string();
            reply::opened_from(send!(open_session pb::OpenSessionRequest { ttl_ms, label }))
        }
        Command::CloseSession { session } => {
            let session = session.0;
            let response = send!(close_session pb::CloseSessionRequest { session });
            Ok(done(reply::count_from(response)))
        }
        Command::Campaign(campaign) => {
            reply::campaigned_from(send!(campaign campaign_into(campaign)))
        }
        Command::Resign {
            election,
            session,
            token,
        } => {
            let response = send!(resign pb::ResignRequest {
                election: text(election),
                session: session.0,
                token: token.0,
            });
            Ok(done(reply::ended_from(response)))
        }
        Command::Leave {
            election,
            candidate,
            session,
        } => {
            let response = send!(leave pb::LeaveRequest {
                election: text(election),
                candidate: text(candidate),
                session: session.0,
            });
            Ok(done(reply::ended_from(response)))
        }
        Command::Transfer {
            election,
            to,
            drain_ms,
            token,
        } => {
            let response = send!(transfer pb::TransferRequest {
                election: text(election),
                to: text(to),
                drain_ms,
                token: token.map(|token| token.0),
            });
            reply::transferring_from(response).map(done)
        }
        Command::Drained {
            election,
            session,
            token,
        } => {
            let response = send!(drained pb::DrainedRequest {
                election: text(election),
                session: session.0,
                token: token.0,
            });
            Ok(done(reply::ended_from(response)))
        }
        Command::Revoke {
            election,
            token,
            reason,
        } => {
            let response = send!(revoke pb::RevokeRequest {
                election: text(election),
                token: token.map(|token| token.0),
                reason: reason.to_string(),
            });
            Ok(done(reply::done_from(response)))
        }
        Command::ForceRelease {
            election,
            token,
            reason,
        } => {
            let response = send!(force_release pb::ForceReleaseRequest {
                election: text(election),
                token: token.map(|token| token.0),
                reason: reason.to_string(),
                // Whoever made the command has accepted it.
                i_accept_two_leaders: true,
            });
            Ok(done(reply::ended_from(response)))
        }
        Command::Configure { election, settings } => {
            let response = send!(configure pb::ConfigureRequest {
                election: text(election),
                settings: settings.as_ref().map(settings_into),
            });
            Ok(done(reply::done_from(response)))
        }
        Command::Expire { .. } | Command::EndRevoked { .. } => Err(Error::new(
            Code::Forbidden,
            "only the cluster's own leader ends leases by the clock",
        )),
    }
}

/// One question.
pub(super) async fn query(
    servers: &Servers,
    mut grpc: Grpc,
    query: Query,
    most: Duration,
) -> Result<Answer, Error> {
    macro_rules! ask {
        ($method:ident $message:expr) => {
            call!(servers, grpc, most, None, $method $message)
        };
    }
    let after = |after: Option<Name>| after.map(|name| name.to_string()).unwrap_or_default();
    match query {
        Query::Election { election } => {
            let election = election.to_string();
            election_from(ask!(get pb::GetRequest { election })).map(Answer::Election)
        }
        Query::Elections {
            after: last,
            prefix,
            max,
        } => reply::list_from(ask!(list pb::ListRequest {
            page_size: max,
            page_token: after(last),
            prefix: prefix.to_string(),
        })),
        Query::Check { election, token } => Ok(reply::check_from(ask!(check pb::CheckRequest {
            election: election.to_string(),
            token: token.0,
        }))),
        Query::Session {
            session,
            after: last,
            max,
        } => reply::session_from(ask!(get_session pb::GetSessionRequest {
            session: session.0,
            page_size: max,
            page_token: after(last),
        })),
        Query::History {
            election,
            after: revision,
            max,
        } => reply::history_from(ask!(get_history pb::GetHistoryRequest {
            election: after(election),
            after: revision,
            max,
        })),
        Query::Position => Ok(reply::position_from(
            ask!(get_position pb::GetPositionRequest {}),
        )),
    }
}
