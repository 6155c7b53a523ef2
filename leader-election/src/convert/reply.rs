//! Answers: `…_into` at the server, `…_from` at the client.
//!
//! A [`Reply`] or [`Answer`] of another variant than the request calls for is a bug in whoever
//! answered, and is reported as one.

use super::{
    change_from, change_into, election_from, election_into, name, page_token, session,
    session_view_from, session_view_into, summary_from, summary_into, terms_from, terms_into,
    token,
};
use crate::machine::{Answer, Campaigned, History, Opened, Reply, Transferring};
use crate::service::Executed;
use quorate_core::error::{Code, Error};
use quorate_core::types::LogTime;
use quorate_proto::election as pb;
use std::sync::Arc;

/// The error for an answer that does not fit its question.
pub(crate) fn misfit() -> Error {
    Error::new(
        Code::Internal,
        "the service answered something else than was asked; use matching versions of client and server",
    )
}

/// To protobuf.
pub fn opened_into(executed: Executed) -> Result<pb::OpenSessionResponse, Error> {
    match executed.reply {
        Reply::Session(opened) => Ok(pb::OpenSessionResponse {
            session: opened.session.0,
            terms: Some(terms_into(opened.terms)),
            replayed: executed.replayed,
        }),
        _ => Err(misfit()),
    }
}

/// From protobuf.
pub fn opened_from(response: pb::OpenSessionResponse) -> Result<Executed, Error> {
    Ok(Executed {
        reply: Reply::Session(Opened {
            session: session("session", response.session)?,
            terms: terms_from(response.terms)?,
        }),
        replayed: response.replayed,
    })
}

/// To protobuf, without the election answer.
pub fn campaigned_into(campaigned: Campaigned, replayed: bool) -> pb::CampaignResponse {
    pb::CampaignResponse {
        session: campaigned.session.0,
        terms: Some(terms_into(campaigned.terms)),
        opened: campaigned.opened,
        replayed,
        token: campaigned.token.map(|token| token.0),
        revision: campaigned.revision,
        answer: None,
    }
}

/// From protobuf.
pub fn campaigned_from(response: pb::CampaignResponse) -> Result<Executed, Error> {
    Ok(Executed {
        reply: Reply::Campaigned(Campaigned {
            session: session("session", response.session)?,
            terms: terms_from(response.terms)?,
            opened: response.opened,
            token: response
                .token
                .map(|number| token("token", number))
                .transpose()?,
            revision: response.revision,
        }),
        replayed: response.replayed,
    })
}

/// To protobuf.
pub fn ended_into(executed: Executed) -> Result<pb::EndedResponse, Error> {
    match executed.reply {
        Reply::Ended {
            leadership,
            revision,
        } => Ok(pb::EndedResponse {
            leadership,
            revision,
        }),
        _ => Err(misfit()),
    }
}

/// From protobuf.
pub fn ended_from(response: pb::EndedResponse) -> Reply {
    Reply::Ended {
        leadership: response.leadership,
        revision: response.revision,
    }
}

/// To protobuf.
pub fn transferring_into(executed: Executed) -> Result<pb::TransferResponse, Error> {
    match executed.reply {
        Reply::Transferring(transferring) => Ok(pb::TransferResponse {
            token: transferring.token.0,
            from: transferring.from.to_string(),
            to: transferring.to.to_string(),
            done: transferring.done,
            revision: transferring.revision,
        }),
        _ => Err(misfit()),
    }
}

/// From protobuf.
pub fn transferring_from(response: pb::TransferResponse) -> Result<Reply, Error> {
    Ok(Reply::Transferring(Transferring {
        token: token("token", response.token)?,
        from: name("from", &response.from)?,
        to: name("to", &response.to)?,
        done: response.done,
        revision: response.revision,
    }))
}

/// To protobuf.
pub fn done_into(executed: Executed) -> Result<pb::DoneResponse, Error> {
    match executed.reply {
        Reply::Done { revision } => Ok(pb::DoneResponse { revision }),
        _ => Err(misfit()),
    }
}

/// From protobuf.
pub fn done_from(response: pb::DoneResponse) -> Reply {
    Reply::Done {
        revision: response.revision,
    }
}

/// To protobuf.
pub fn count_into(executed: Executed) -> Result<pb::CountResponse, Error> {
    match executed.reply {
        Reply::Count(count) => Ok(pb::CountResponse { count }),
        _ => Err(misfit()),
    }
}

/// From protobuf.
pub fn count_from(response: pb::CountResponse) -> Reply {
    Reply::Count(response.count)
}

/// To protobuf.
pub fn get_into(answer: Answer) -> Result<pb::Election, Error> {
    match answer {
        Answer::Election(view) => Ok(election_into(view, &[])),
        _ => Err(misfit()),
    }
}

/// To protobuf.
pub fn list_into(answer: Answer) -> Result<pb::ListResponse, Error> {
    let Answer::Elections {
        items,
        more,
        revision,
    } = answer
    else {
        return Err(misfit());
    };
    let next_page_token = match items.last() {
        Some(last) if more => last.election.to_string(),
        _ => String::new(),
    };
    Ok(pb::ListResponse {
        items: items.into_iter().map(summary_into).collect(),
        next_page_token,
        revision,
    })
}

/// From protobuf.
pub fn list_from(response: pb::ListResponse) -> Result<Answer, Error> {
    Ok(Answer::Elections {
        items: response
            .items
            .into_iter()
            .map(summary_from)
            .collect::<Result<_, _>>()?,
        more: page_token(&response.next_page_token)?.is_some(),
        revision: response.revision,
    })
}

/// To protobuf.
pub fn check_into(answer: Answer) -> Result<pb::CheckResponse, Error> {
    match answer {
        Answer::Current { current, revision } => Ok(pb::CheckResponse { current, revision }),
        _ => Err(misfit()),
    }
}

/// From protobuf.
pub fn check_from(response: pb::CheckResponse) -> Answer {
    Answer::Current {
        current: response.current,
        revision: response.revision,
    }
}

/// To protobuf.
pub fn session_into(answer: Answer) -> Result<pb::Session, Error> {
    match answer {
        Answer::Session(view) => Ok(session_view_into(view)),
        _ => Err(misfit()),
    }
}

/// From protobuf.
pub fn session_from(response: pb::Session) -> Result<Answer, Error> {
    session_view_from(response).map(Answer::Session)
}

/// To protobuf.
pub fn history_into(answer: Answer) -> Result<pb::History, Error> {
    let past = match answer {
        Answer::History(History::Changes {
            changes,
            through,
            last,
        }) => pb::history::Past::Changes(pb::Changes {
            items: changes.iter().map(|change| change_into(change)).collect(),
            through,
            last,
        }),
        Answer::History(History::Reset { state, revision }) => {
            pb::history::Past::Reset(pb::Reset {
                state: state.map(|view| election_into(view, &[])),
                revision,
            })
        }
        _ => return Err(misfit()),
    };
    Ok(pb::History { past: Some(past) })
}

/// From protobuf.
pub fn history_from(history: pb::History) -> Result<Answer, Error> {
    let history = match history.past.ok_or_else(misfit)? {
        pb::history::Past::Changes(changes) => History::Changes {
            changes: changes
                .items
                .into_iter()
                .map(|change| change_from(change).map(Arc::new))
                .collect::<Result<_, _>>()?,
            through: changes.through,
            last: changes.last,
        },
        pb::history::Past::Reset(reset) => History::Reset {
            state: reset.state.map(election_from).transpose()?,
            revision: reset.revision,
        },
    };
    Ok(Answer::History(history))
}

/// To protobuf.
pub fn position_into(answer: Answer) -> Result<pb::Position, Error> {
    match answer {
        Answer::Position {
            revision,
            time,
            elections,
            sessions,
            candidacies,
        } => Ok(pb::Position {
            revision,
            time_ms: time.0,
            elections,
            sessions,
            candidacies,
        }),
        _ => Err(misfit()),
    }
}

/// From protobuf.
pub fn position_from(position: pb::Position) -> Answer {
    Answer::Position {
        revision: position.revision,
        time: LogTime(position.time_ms),
        elections: position.elections,
        sessions: position.sessions,
        candidacies: position.candidacies,
    }
}
