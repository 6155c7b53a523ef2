//! One vocabulary for both protocols, so that a scenario is written once.

use super::Container;
use super::http::{Answer, Http};
use quorate_core::error::Error;
use quorate_proto::election as pb;
use quorate_proto::election::elections_client::ElectionsClient;
use serde_json::{Value, json};
use tonic::Status;

pub type Grpc = ElectionsClient<tonic::transport::Channel>;

/// How a candidate stands, as it was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    pub session: String,
    pub leader: Option<String>,
    pub token: Option<u64>,
    /// The candidate of the request may act as leader.
    pub leads: bool,
    pub valid_for_ms: u64,
    pub candidates: Vec<String>,
    pub revision: u64,
}

/// A refusal: its code, and that it says what to do.
pub type Refused = String;

/// REST or gRPC of one container.
pub enum Door {
    Rest(Http),
    Grpc(Box<Grpc>),
}

/// What a candidacy hangs off.
#[derive(Clone, Copy)]
pub enum By<'a> {
    Session(&'a str),
    Ttl(u64),
}

fn refused(answer: &Answer) -> Refused {
    let body = answer.json();
    assert_eq!(body["status"], answer.status, "{body}");
    let detail = body["detail"].as_str().unwrap();
    assert!(detail.len() > 20, "says nothing: {body}");
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    body["code"].as_str().unwrap().to_owned()
}

fn status(status: &Status) -> Refused {
    let error = Error::from_status(status);
    assert!(error.detail.len() > 20, "says nothing: {error}");
    error.code.as_str().to_owned()
}

fn rest(answer: &Answer) -> Result<Value, Refused> {
    if (200..300).contains(&answer.status) {
        Ok(answer.ok())
    } else {
        Err(refused(answer))
    }
}

fn told(body: &Value) -> Told {
    let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
    Told {
        session: text(&body["session"]).unwrap_or_default(),
        leader: text(&body["leader"]["id"]),
        token: body["fencing_token"].as_u64(),
        leads: body["self"] == "leader",
        valid_for_ms: body["valid_for_ms"].as_u64().unwrap_or(0),
        candidates: body["candidates"]
            .as_array()
            .unwrap()
            .iter()
            .map(|candidate| text(&candidate["id"]).unwrap())
            .collect(),
        revision: body["revision"].as_u64().unwrap(),
    }
}

fn of(election: &pb::Election) -> Told {
    Told {
        leader: election.leader.as_ref().map(|l| l.candidate.clone()),
        token: election.leader.as_ref().map(|l| l.token),
        candidates: election.candidates.iter().map(|c| c.id.clone()).collect(),
        revision: election.revision,
        ..Told::default()
    }
}

/// The text of a session, as REST has it.
pub fn text(session: u64) -> String {
    format!("s1{session:016x}")
}

/// The number of a session, as gRPC has it; a text that is none becomes one that nobody has.
pub fn number(session: &str) -> u64 {
    u64::from_str_radix(session.trim_start_matches("s1"), 16).unwrap_or(u64::MAX)
}

impl Door {
    /// Both of a container.
    pub fn both(container: &Container) -> [(&'static str, Self); 2] {
        [
            ("rest", Self::Rest(container.http())),
            ("grpc", Self::Grpc(Box::new(container.grpc()))),
        ]
    }

    pub async fn open(&self, ttl_ms: u64) -> Result<String, Refused> {
        match self {
            Self::Rest(http) => {
                let answer = http.post("/v1/sessions", &json!({"ttl_ms": ttl_ms})).await;
                let body = rest(&answer)?;
                assert!(body["valid_for_ms"].as_u64().unwrap() < ttl_ms);
                Ok(body["session"].as_str().unwrap().to_owned())
            }
            Self::Grpc(grpc) => {
                let request = pb::OpenSessionRequest {
                    ttl_ms,
                    label: "test".into(),
                };
                let opened = grpc.clone().open_session(request).await;
                Ok(text(opened.map_err(|s| status(&s))?.into_inner().session))
            }
        }
    }

    pub async fn close(&self, session: &str) -> Result<(), Refused> {
        match self {
            Self::Rest(http) => {
                rest(&http.delete(&format!("/v1/sessions/{session}")).await).map(drop)
            }
            Self::Grpc(grpc) => {
                let session = number(session);
                let request = pb::CloseSessionRequest { session };
                let closed = grpc.clone().close_session(request).await;
                closed.map(drop).map_err(|s| status(&s))
            }
        }
    }

    pub async fn campaign(
        &self,
        election: &str,
        candidate: &str,
        by: By<'_>,
        wait_ms: u64,
    ) -> Result<Told, Refused> {
        self.campaign_with(election, candidate, by, wait_ms, 0, "")
            .await
    }

    pub async fn campaign_with(
        &self,
        election: &str,
        candidate: &str,
        by: By<'_>,
        wait_ms: u64,
        priority: u32,
        metadata: &str,
    ) -> Result<Told, Refused> {
        match self {
            Self::Rest(http) => {
                let mut body =
                    json!({"wait_ms": wait_ms, "priority": priority, "metadata": metadata});
                match by {
                    By::Session(session) => body["session"] = session.into(),
                    By::Ttl(ttl_ms) => body["ttl_ms"] = ttl_ms.into(),
                }
                let path = format!("/v1/elections/{election}/candidates/{candidate}");
                Ok(told(&rest(&http.put(&path, &body).await)?))
            }
            Self::Grpc(grpc) => {
                let request = pb::CampaignRequest {
                    election: election.into(),
                    candidate: candidate.into(),
                    priority,
                    metadata: metadata.into(),
                    wait_ms: Some(wait_ms),
                    liveness: Some(match by {
                        By::Session(session) => {
                            pb::campaign_request::Liveness::Session(number(session))
                        }
                        By::Ttl(ttl_ms) => pb::campaign_request::Liveness::TtlMs(ttl_ms),
                    }),
                };
                let response = grpc.clone().campaign(request).await;
                let response = response.map_err(|s| status(&s))?.into_inner();
                let answer = response.answer.unwrap();
                Ok(Told {
                    session: text(response.session),
                    leads: answer.token.is_some(),
                    valid_for_ms: answer.valid_for_ms,
                    ..of(&answer.election.unwrap())
                })
            }
        }
    }

    /// By REST the candidate's own renewal; by gRPC the stream.
    pub async fn renew(
        &self,
        election: &str,
        candidate: &str,
        session: &str,
    ) -> Result<Told, Refused> {
        match self {
            Self::Rest(http) => {
                let path = format!("/v1/elections/{election}/candidates/{candidate}/renew");
                Ok(told(&rest(
                    &http.post(&path, &json!({"session": session})).await,
                )?))
            }
            Self::Grpc(grpc) => {
                let request = pb::KeepAliveRequest {
                    number: 7,
                    sessions: vec![number(session)],
                    elections: vec![election.into()],
                };
                let stream = tokio_stream::iter([request]);
                let answers = grpc.clone().keep_alive(stream).await;
                let mut answers = answers.map_err(|s| status(&s))?.into_inner();
                let answer = answers.message().await.map_err(|s| status(&s))?.unwrap();
                assert_eq!(answer.number, 7);
                if let Some(error) = answer.error {
                    return Err(error.code);
                }
                if answer.live.is_empty() {
                    return Err("session_expired".into());
                }
                let view = answer.elections.first().cloned().unwrap_or_default();
                let own = |s: u64| s == number(session);
                if !view
                    .candidates
                    .iter()
                    .any(|c| c.id == candidate && own(c.session))
                {
                    return Err("not_found".into());
                }
                let terms = answer.live[0].terms.unwrap();
                let leads = view.leader.as_ref().is_some_and(|l| own(l.session));
                let trust = terms.ttl_ms * u64::from(1_000 - terms.drift_permille) / 1_000;
                Ok(Told {
                    leads,
                    valid_for_ms: if leads { trust } else { 0 },
                    ..of(&view)
                })
            }
        }
    }

    pub async fn resign(
        &self,
        election: &str,
        candidate: &str,
        session: &str,
        token: u64,
    ) -> Result<bool, Refused> {
        match self {
            Self::Rest(http) => {
                let path = format!("/v1/elections/{election}/candidates/{candidate}/resign");
                let body = json!({"session": session, "fencing_token": token});
                Ok(rest(&http.post(&path, &body).await)?["ended"] == true)
            }
            Self::Grpc(grpc) => {
                let request = pb::ResignRequest {
                    election: election.into(),
                    session: number(session),
                    token,
                };
                let ended = grpc.clone().resign(request).await;
                Ok(ended.map_err(|s| status(&s))?.into_inner().leadership)
            }
        }
    }

    pub async fn leave(
        &self,
        election: &str,
        candidate: &str,
        session: &str,
    ) -> Result<bool, Refused> {
        match self {
            Self::Rest(http) => {
                let path =
                    format!("/v1/elections/{election}/candidates/{candidate}?session={session}");
                Ok(rest(&http.delete(&path).await)?["ended"] == true)
            }
            Self::Grpc(grpc) => {
                let request = pb::LeaveRequest {
                    election: election.into(),
                    candidate: candidate.into(),
                    session: number(session),
                };
                let ended = grpc.clone().leave(request).await;
                Ok(ended.map_err(|s| status(&s))?.into_inner().leadership)
            }
        }
    }

    pub async fn transfer(
        &self,
        election: &str,
        to: &str,
        drain_ms: u64,
        token: Option<u64>,
    ) -> Result<(), Refused> {
        match self {
            Self::Rest(http) => {
                let path = format!("/v1/elections/{election}/transfer");
                let body = json!({"to": to, "drain_ms": drain_ms, "fencing_token": token});
                rest(&http.post(&path, &body).await).map(drop)
            }
            Self::Grpc(grpc) => {
                let request = pb::TransferRequest {
                    election: election.into(),
                    to: to.into(),
                    drain_ms,
                    token,
                };
                let done = grpc.clone().transfer(request).await;
                done.map(drop).map_err(|s| status(&s))
            }
        }
    }

    pub async fn get(&self, election: &str) -> Result<Told, Refused> {
        match self {
            Self::Rest(http) => {
                let answer = http.get(&format!("/v1/elections/{election}")).await;
                Ok(told(&rest(&answer)?))
            }
            Self::Grpc(grpc) => {
                let request = pb::GetRequest {
                    election: election.into(),
                };
                let found = grpc.clone().get(request).await;
                Ok(of(&found.map_err(|s| status(&s))?.into_inner()))
            }
        }
    }

    pub async fn check(&self, election: &str, token: u64) -> Result<bool, Refused> {
        match self {
            Self::Rest(http) => {
                let path = format!("/v1/elections/{election}/check");
                let body = json!({"fencing_token": token});
                Ok(rest(&http.post(&path, &body).await)?["current"] == true)
            }
            Self::Grpc(grpc) => {
                let request = pb::CheckRequest {
                    election: election.into(),
                    token,
                };
                let checked = grpc.clone().check(request).await;
                Ok(checked.map_err(|s| status(&s))?.into_inner().current)
            }
        }
    }

    pub async fn configure(&self, election: &str, lock_delay_ms: u64) -> Result<(), Refused> {
        match self {
            Self::Rest(http) => {
                let path = format!("/v1/elections/{election}");
                let body = json!({"lock_delay_ms": lock_delay_ms});
                rest(&http.put(&path, &body).await).map(drop)
            }
            Self::Grpc(grpc) => {
                let request = pb::ConfigureRequest {
                    election: election.into(),
                    settings: Some(pb::Settings {
                        lock_delay_ms,
                        ..pb::Settings::default()
                    }),
                };
                let done = grpc.clone().configure(request).await;
                done.map(drop).map_err(|s| status(&s))
            }
        }
    }

    pub async fn force(
        &self,
        election: &str,
        accept: bool,
        token: Option<u64>,
    ) -> Result<(), Refused> {
        match self {
            Self::Rest(http) => {
                let path = format!("/v1/elections/{election}/force-release");
                let body = json!({"reason": "test", "i_accept_two_leaders": accept, "fencing_token": token});
                rest(&http.post(&path, &body).await).map(drop)
            }
            Self::Grpc(grpc) => {
                let request = pb::ForceReleaseRequest {
                    election: election.into(),
                    token,
                    reason: "test".into(),
                    i_accept_two_leaders: accept,
                };
                let done = grpc.clone().force_release(request).await;
                done.map(drop).map_err(|s| status(&s))
            }
        }
    }
}
