//! Blobs: files for users of REST who cannot reach the store themselves.
//!
//! Both ways are streams. A blob appears under its name when it is whole and synced, or not at all; its
//! SHA-256 is taken on the way and answered, to be put into a job's `inputs`.

use crate::api::Api;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::get as axum_get;
use axum::{Json, Router};
use bytes::Bytes;
use futures::StreamExt as _;
use http::StatusCode;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use object_store::local::LocalFileSystem;
use object_store::path::Path as Location;
use object_store::{ObjectStore, ObjectStoreExt as _, WriteMultipart};
use quorate_core::error::{Code, Error};
use quorate_core::runtime::extract::Path;
use quorate_core::runtime::problem::Problem;
use quorate_core::types::Name;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Largest blob, so that one request cannot fill any disk.
const BLOB_BYTES_MAX: u64 = 64 << 30;
/// Uploads at a time; each holds up to [`PARTS_MAX`] parts in memory. Further ones wait.
const UPLOADS_MAX: usize = 16;
/// Parts of one upload on their way to the store.
const PARTS_MAX: usize = 2;
/// An upload that sends nothing for so long is given up.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// Parts of a name, between slashes.
const SEGMENTS_MAX: usize = 8;

/// Where blobs are kept: a directory, local or shared between machines.
#[derive(Clone, Debug)]
pub struct BlobStore {
    store: Arc<dyn ObjectStore>,
    base: String,
    uploads: Arc<Semaphore>,
}

impl BlobStore {
    /// Opens the store at `uri` (`file:///absolute/path`), creating the directory if need be.
    pub fn open(uri: &str) -> Result<Self, Error> {
        let path = uri
            .strip_prefix("file://")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .ok_or_else(|| {
                Error::invalid(format!(
                    "QUORATE_BLOBS: {uri:?} is not a store this build can open; use \
                     file:///absolute/path"
                ))
            })?;
        let unusable = |error: &dyn std::fmt::Display| {
            Error::invalid(format!(
                "QUORATE_BLOBS: {} cannot be used: {error}; create it and give this user the right \
                 to write there",
                path.display()
            ))
        };
        std::fs::create_dir_all(&path).map_err(|error| unusable(&error))?;
        let store = LocalFileSystem::new_with_prefix(&path).map_err(|error| unusable(&error))?;
        Ok(Self {
            store: Arc::new(store.with_fsync(true)),
            base: uri.trim_end_matches('/').to_owned(),
            uploads: Arc::new(Semaphore::new(UPLOADS_MAX)),
        })
    }

    fn uri(&self, name: &Location) -> String {
        format!("{}/{name}", self.base)
    }
}

/// What documents the routes; [`nested`] serves them, since a name may have slashes.
pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(get, put))
}

pub(super) fn nested() -> Router<Api> {
    Router::new().route("/v1/blobs/{*name}", axum_get(get).put(put))
}

/// A stored file, as it goes into `inputs`.
#[derive(Serialize, ToSchema)]
struct Stored {
    uri: String,
    /// Lower-case hexadecimal.
    sha256: String,
    /// Bytes.
    size: u64,
}

fn store(api: &Api) -> Result<&BlobStore, Error> {
    api.blobs.as_ref().ok_or_else(|| {
        Error::new(
            Code::Unimplemented,
            "this container has no blob store; start it with QUORATE_BLOBS=file:///a/shared/directory",
        )
    })
}

/// A name to store under: names as those of queues, joined by slashes.
fn location(name: &str) -> Result<Location, Error> {
    let segments: Vec<&str> = name.split('/').collect();
    if segments.len() > SEGMENTS_MAX {
        return Err(Error::invalid(format!(
            "name: {} parts are too many; use up to {SEGMENTS_MAX}",
            segments.len()
        )));
    }
    for segment in segments {
        Name::new(segment)?;
    }
    Location::parse(name).map_err(|error| Error::invalid(format!("name: {error}")))
}

/// A name to read: also those that workers chose for their outputs, which may be any file name.
fn existing(name: &str) -> Result<Location, Error> {
    Location::parse(name).map_err(|error| {
        Error::invalid(format!(
            "name: {error}; pass what follows the store's address in a uri"
        ))
    })
}

/// Why the store failed, as far as a caller is concerned.
fn failed(what: &str, error: &object_store::Error) -> Error {
    if matches!(error, object_store::Error::NotFound { .. }) {
        return Error::not_found(format!("{what}: there is no such blob"));
    }
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>()
            && matches!(
                io.kind(),
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
            )
        {
            return Error::new(
                Code::StorageFull,
                format!("{what}: the blob store is full; free space and send it again"),
            );
        }
        cause = error.source();
    }
    tracing::warn!(%error, what, "the blob store failed");
    Error::new(
        Code::Internal,
        format!("{what}: the blob store failed; the log of this container says why"),
    )
}

/// Stores a file under a name, which may have slashes. An earlier one of that name is replaced.
#[utoipa::path(put, path = "/v1/blobs/{name}", tag = "blobs", params(("name" = String, Path)),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 201, body = Stored),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ))]
async fn put(
    State(api): State<Api>,
    Path(name): Path<String>,
    request: Request,
) -> Result<(StatusCode, Json<Stored>), Error> {
    let blobs = store(&api)?;
    let name = location(&name)?;
    let announced = request.headers().get(CONTENT_LENGTH);
    let announced = announced.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|size| size > BLOB_BYTES_MAX) {
        return Err(too_large());
    }
    let _permit = blobs.uploads.acquire().await.map_err(|_| stopped())?;
    let upload = blobs.store.put_multipart(&name).await;
    let upload = upload.map_err(|error| failed("storing", &error))?;
    let mut writer = WriteMultipart::new(upload);
    match receive(&mut writer, request.into_body()).await {
        Ok((sha256, size)) => {
            let done = writer.finish().await;
            done.map_err(|error| failed("storing", &error))?;
            let uri = blobs.uri(&name);
            Ok((StatusCode::CREATED, Json(Stored { uri, sha256, size })))
        }
        Err(error) => {
            if let Err(error) = writer.abort().await {
                tracing::warn!(%error, %name, "an abandoned upload could not be removed");
            }
            Err(error)
        }
    }
}

fn too_large() -> Error {
    Error::new(
        Code::TooLarge,
        format!("the blob is over {BLOB_BYTES_MAX} bytes; split it"),
    )
}

fn stopped() -> Error {
    Error::new(Code::NoQuorum, "this container stops; ask another one")
}

/// Passes a body on to the store; answers its SHA-256 and size.
async fn receive(writer: &mut WriteMultipart, body: Body) -> Result<(String, u64), Error> {
    let mut body = body.into_data_stream();
    let (mut hash, mut size) = (Sha256::new(), 0u64);
    loop {
        let next = tokio::time::timeout(IDLE_MAX, body.next()).await;
        let chunk: Bytes = match next {
            Ok(None) => break,
            Ok(Some(Ok(chunk))) => chunk,
            Ok(Some(Err(error))) => {
                return Err(Error::invalid(format!(
                    "the body broke off: {error}; nothing was stored, send it again"
                )));
            }
            Err(_) => {
                return Err(Error::new(
                    Code::DeadlineExceeded,
                    format!(
                        "nothing came for {} s; nothing was stored, send it again",
                        IDLE_MAX.as_secs()
                    ),
                ));
            }
        };
        size += u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        if size > BLOB_BYTES_MAX {
            return Err(too_large());
        }
        hash.update(&chunk);
        let room = writer.wait_for_capacity(PARTS_MAX).await;
        room.map_err(|error| failed("storing", &error))?;
        writer.put(chunk);
    }
    let mut text = String::with_capacity(64);
    for byte in hash.finalize() {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    Ok((text, size))
}

/// A file, as it was stored.
#[utoipa::path(get, path = "/v1/blobs/{name}", tag = "blobs", params(("name" = String, Path)),
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ))]
async fn get(State(api): State<Api>, Path(name): Path<String>) -> Result<Response, Error> {
    let blobs = store(&api)?;
    let found = blobs.store.get(&existing(&name)?).await;
    let found = found.map_err(|error| failed("reading", &error))?;
    let size = found.meta.size;
    let response = Response::builder()
        .header(CONTENT_TYPE, "application/octet-stream")
        .header(CONTENT_LENGTH, size)
        .body(Body::from_stream(found.into_stream()));
    response.map_err(|error| Error::new(Code::Internal, error.to_string()))
}
