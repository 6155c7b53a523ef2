//! The queue service over REST, with nothing but the documented JSON: what a client in another language
//! would do. It reads every field, so that the contract test sees one that is missing or misnamed.

mod answer;
mod request;
mod view;

use super::http::{Answer as HttpAnswer, Http};
use answer::*;
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use quorate_core::error::Error;
use quorate_core::types::Name;
use quorate_work_queue::machine::*;
use quorate_work_queue::service::{Caller, ClusterInfo, QueueService};
use request::*;
use serde::de::DeserializeOwned;
use serde_json::value::to_raw_value;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use view::*;

pub struct Rest(pub Http);

fn session(text: Option<&str>) -> SessionId {
    text.map_or(SessionId::NONE, |text| text.parse().unwrap())
}

impl Rest {
    async fn post(&self, path: &str, body: &Object, trace: Option<&str>) -> HttpAnswer {
        let text = serde_json::to_string(body).unwrap();
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(trace.map(|trace| ("traceparent", trace)));
        self.0.send("POST", path, &headers, Bytes::from(text)).await
    }

    async fn page<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<(Vec<T>, Option<String>), Error> {
        let query: Vec<String> = query
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("{name}={}", value.replace('=', "%3D")))
            .collect();
        let answer = self.0.get(&format!("{path}?{}", query.join("&"))).await;
        let page: PageIn<T> = read(&answer)?;
        Ok((page.items, page.next_page_token))
    }

    async fn settle(
        &self,
        settle: Vec<Settle>,
        then: Option<LeaseRequest>,
        wait_ms: u64,
    ) -> Result<Reply, Error> {
        if let Some(request) = then {
            let path = format!("/v1/queues/{}/leases", request.queue);
            let body = lease_json(&request, wait_ms, &settle);
            let leased: LeasedIn = read(&self.post(&path, &body, None).await)?;
            let leases = leased.leases.into_iter().map(LeaseIn::lease).collect();
            return Ok(Reply::Settled {
                outcomes: outcomes(&settle, leased.settled.unwrap()),
                leased: Some((session(leased.session.as_deref()), leases)),
            });
        }
        if let [one] = settle.as_slice() {
            let (kind, body) = settle_json(one, false);
            let path = format!("/v1/leases/{}/{kind}", one.lease);
            let kept: Result<KeptIn, Error> = read(&self.post(&path, &body, None).await);
            let outcome = kept.map(|kept| assert!(!kept.cancel_requested));
            return Ok(Reply::Settled {
                outcomes: vec![outcome],
                leased: None,
            });
        }
        let body = settle_lists(&settle);
        let answer = self.post("/v1/leases/settle", &body, None).await;
        let mut items: BTreeMap<String, Vec<SettledIn>> = read(&answer)?;
        Ok(Reply::Settled {
            outcomes: outcomes(&settle, items.remove("items").unwrap()),
            leased: None,
        })
    }

    async fn done(&self, path: String) -> Result<Reply, Error> {
        read::<Value>(&self.0.order(&path).await).map(|_| Reply::Done)
    }

    async fn count(&self, path: String, body: Object) -> Result<Reply, Error> {
        let count: CountIn = read(&self.post(&path, &body, None).await)?;
        Ok(Reply::Count(count.count))
    }

    async fn lease(&self, request: LeaseRequest, wait_ms: u64) -> Result<Reply, Error> {
        let path = format!("/v1/queues/{}/leases", request.queue);
        let body = lease_json(&request, wait_ms, &[]);
        let leased: LeasedIn = read(&self.post(&path, &body, None).await)?;
        assert!(leased.settled.is_none());
        Ok(Reply::Leased {
            session: session(leased.session.as_deref()),
            leases: leased.leases.into_iter().map(LeaseIn::lease).collect(),
        })
    }

    async fn enqueue(&self, queue: &Name, jobs: &[NewJob]) -> Result<Reply, Error> {
        let path = format!("/v1/queues/{queue}/jobs");
        let trace = jobs.first().and_then(|job| job.traceparent.clone());
        let body = match jobs {
            [one] => job_json(one),
            many => {
                let jobs: Vec<Object> = many.iter().map(job_json).collect();
                Object::from([("jobs", to_raw_value(&jobs).unwrap())])
            }
        };
        let answer = self.post(&path, &body, trace.as_deref()).await;
        let enqueued: EnqueuedIn = read(&answer)?;
        assert_eq!(answer.status, 201);
        let jobs = enqueued.jobs.into_iter();
        let pair = |job: EnqueuedJob| (job.id.parse().unwrap(), job.duplicate);
        Ok(Reply::Enqueued(jobs.map(pair).collect()))
    }

    async fn create_batch(
        &self,
        queue: &Name,
        join: Option<(Name, NewJob)>,
        on_dead: OnDead,
        key: Option<Arc<str>>,
    ) -> Result<Reply, Error> {
        let on_dead = match on_dead {
            OnDead::Hold => "hold",
            OnDead::Join => "join",
            OnDead::Cancel => "cancel",
        };
        let mut body =
            object(json!({ "queue": queue.as_str(), "on_dead": on_dead, "key": key.as_deref() }));
        if let Some((queue, job)) = join {
            let mut join = job_json(&job);
            join.insert("queue", raw(&json!(queue.as_str())));
            body.insert("join", to_raw_value(&join).unwrap());
        }
        let answer = self.post("/v1/batches", &body, None).await;
        let batch: BatchIn = read(&answer)?;
        Ok(Reply::Batch(
            batch.id.parse().unwrap(),
            answer.status == 200,
        ))
    }

    async fn configure(&self, queue: &Name, settings: &Settings) -> Result<Reply, Error> {
        let body = json!({
            "lease_ms": settings.lease_ms,
            "stall_ms": settings.stall_ms,
            "max_attempts": settings.max_attempts,
            "backoff": {
                "initial_ms": settings.backoff_initial_ms, "max_ms": settings.backoff_max_ms,
            },
            "max_jobs": settings.max_jobs,
            "max_bytes": settings.max_bytes,
            "retention_ms": settings.retention_ms,
        });
        let answer = self.0.put(&format!("/v1/queues/{queue}"), &body).await;
        let queue: QueueIn = read(&answer)?;
        assert_eq!(&QueueView::from(queue).settings, settings);
        Ok(Reply::Done)
    }

    async fn kept(&self, path: String, body: Value) -> Result<Reply, Error> {
        let lease_ms = body["lease_ms"].as_u64();
        let kept: KeptIn = read(&self.post(&path, &object(body), None).await)?;
        assert_eq!(kept.deadline_ms, lease_ms);
        Ok(Reply::Kept {
            cancel_requested: kept.cancel_requested,
        })
    }
}

#[async_trait]
impl QueueService for Rest {
    async fn execute(&self, caller: &Caller, command: Command) -> Result<Reply, Error> {
        let wait_ms = u64::try_from(caller.wait.as_millis()).unwrap();
        match command {
            Command::Configure { queue, settings } => self.configure(&queue, &settings).await,
            Command::DeleteQueue { queue } => {
                let answer = self.0.delete(&format!("/v1/queues/{queue}")).await;
                if answer.status == 204 {
                    return Ok(Reply::Done);
                }
                read::<Value>(&answer).map(|_| panic!("{answer:?}"))
            }
            Command::Pause { queue, paused } => {
                let action = if paused { "pause" } else { "resume" };
                self.done(format!("/v1/queues/{queue}/{action}")).await
            }
            Command::Purge { queue } => {
                let path = format!("/v1/queues/{queue}/purge");
                self.count(path, Object::new()).await
            }
            Command::Redrive { queue, max } => {
                let path = format!("/v1/queues/{queue}/redrive");
                self.count(path, object(json!({ "max": max }))).await
            }
            Command::Enqueue { queue, jobs } => self.enqueue(&queue, &jobs).await,
            Command::Lease(request) => self.lease(request, wait_ms).await,
            Command::Settle { settle, then } => self.settle(settle, then, wait_ms).await,
            Command::Extend {
                lease, lease_ms, ..
            } => {
                let path = format!("/v1/leases/{lease}/extend");
                self.kept(path, json!({ "lease_ms": lease_ms })).await
            }
            Command::Checkpoint { lease, data, .. } => {
                let path = format!("/v1/leases/{lease}/checkpoint");
                let data = STANDARD.encode(data);
                self.kept(path, json!({ "data_base64": data })).await
            }
            Command::CancelJob { job } => self.done(format!("/v1/jobs/{job}/cancel")).await,
            Command::RetryJob { job } => self.done(format!("/v1/jobs/{job}/retry")).await,
            Command::SkipChild { job } => self.done(format!("/v1/jobs/{job}/skip")).await,
            Command::CreateBatch {
                queue,
                join,
                on_dead,
                key,
            } => self.create_batch(&queue, join, on_dead, key).await,
            Command::SealBatch { batch, expected } => {
                let path = format!("/v1/batches/{batch}/seal");
                let body = object(json!({ "expected": expected }));
                read::<BatchIn>(&self.post(&path, &body, None).await).map(|_| Reply::Done)
            }
            Command::CancelBatch { batch } => {
                self.done(format!("/v1/batches/{batch}/cancel")).await
            }
            other => panic!("REST has no {other:?}"),
        }
    }

    async fn query(&self, _: &Caller, query: Query) -> Result<Answer, Error> {
        fn views<A, B: From<A>>(items: Vec<A>) -> Vec<B> {
            items.into_iter().map(B::from).collect()
        }
        let token = |token: Option<String>| token.unwrap_or_default();
        Ok(match query {
            Query::Queue { queue } => {
                let queue: QueueIn = read(&self.0.get(&format!("/v1/queues/{queue}")).await)?;
                Answer::Queue(Box::new(queue.into()))
            }
            Query::Queues { after, limit } => {
                let after = token(after.map(|name| name.to_string()));
                let query = [("page_size", limit.to_string()), ("page_token", after)];
                let (items, next) = self.page::<QueueIn>("/v1/queues", &query).await?;
                Answer::Queues(views(items), next.map(|next| next.parse().unwrap()))
            }
            Query::Job { job } => {
                let job: JobIn = read(&self.0.get(&format!("/v1/jobs/{job}")).await)?;
                Answer::Job(Box::new(job.into()))
            }
            Query::Jobs {
                queue,
                state,
                label,
                after,
                limit,
            } => {
                let path = format!("/v1/queues/{queue}/jobs");
                let label = label.map(|(key, value)| format!("{key}={value}"));
                let query = [
                    (
                        "state",
                        state.map(state_text).unwrap_or_default().to_owned(),
                    ),
                    ("label", label.unwrap_or_default()),
                    ("page_size", limit.to_string()),
                    ("page_token", token(after.map(|id| id.to_string()))),
                ];
                let (items, next) = self.page::<JobIn>(&path, &query).await?;
                Answer::Jobs(views(items), next.map(|next| next.parse().unwrap()))
            }
            Query::Batch { batch } => {
                let batch: BatchIn = read(&self.0.get(&format!("/v1/batches/{batch}")).await)?;
                Answer::Batch(Box::new(batch.into()))
            }
            Query::Batches { after, limit } => {
                let after = token(after.map(|id| id.to_string()));
                let query = [("page_size", limit.to_string()), ("page_token", after)];
                let (items, next) = self.page::<BatchIn>("/v1/batches", &query).await?;
                Answer::Batches(views(items), next.map(|next| next.parse().unwrap()))
            }
            Query::BatchResults { batch, from, limit } => {
                let path = format!("/v1/batches/{batch}/results");
                let from = if from == 0 {
                    String::new()
                } else {
                    from.to_string()
                };
                let query = [("page_size", limit.to_string()), ("page_token", from)];
                let (items, next) = self.page::<ChildIn>(&path, &query).await?;
                Answer::BatchResults(views(items), next.map(|next| next.parse().unwrap()))
            }
        })
    }

    async fn renew(&self, _: &Caller, renewal: Renewal) -> Result<Renewed, Error> {
        let session = renewal.session.to_string();
        if !renewal.complete {
            let [(lease, progress)] = renewal.progress.as_slice() else {
                panic!("REST reports the progress of one lease");
            };
            let path = format!("/v1/leases/{lease}/progress");
            let body = object(json!({
                "session": (renewal.session != SessionId::NONE).then_some(session),
                "done": progress.done, "total": progress.total, "unit": &*progress.unit,
                "message": &*progress.message,
            }));
            let kept: KeptIn = read(&self.post(&path, &body, None).await)?;
            let list = |here: bool| if here { vec![*lease] } else { vec![] };
            return Ok(Renewed {
                live: list(!kept.cancel_requested),
                ended: list(kept.cancel_requested),
                cancelled: list(kept.cancel_requested),
            });
        }
        let leases: Vec<String> = renewal.leases.iter().map(LeaseId::to_string).collect();
        let body = object(json!({ "session": session, "leases": leases }));
        let path = "/v1/workers/w/heartbeat";
        let renewed: RenewedIn = read(&self.post(path, &body, None).await)?;
        let ids = |texts: Vec<String>| texts.iter().map(|text| text.parse().unwrap()).collect();
        Ok(Renewed {
            live: ids(renewed.live),
            ended: ids(renewed.ended),
            cancelled: ids(renewed.cancelled),
        })
    }

    async fn cluster(&self) -> Result<ClusterInfo, Error> {
        panic!("GET /v1/info is the runtime's")
    }
}
