//! Calls to the application beside this container: one connection each, only the status counts.

use ::http::{Request, Uri, header};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use quorate_core::runtime::Failure;
use std::io;
use tokio::net::TcpStream;

/// A URL of the application.
#[derive(Clone, Debug)]
pub(super) struct Target {
    address: String,
    path: String,
}

impl Target {
    /// # Errors
    /// The URL has no host.
    pub(super) fn new(setting: &str, url: &str) -> Result<Self, Failure> {
        let refusal =
            || Failure::config(format!("{setting}: {url:?} is not http://host:port/path"));
        let uri: Uri = url.parse().map_err(|_| refusal())?;
        let host = uri.host().ok_or_else(refusal)?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            address: format!("{host}:{}", uri.port_u16().unwrap_or(80)),
            path: path.to_owned(),
        })
    }
}

/// The status of a GET. The caller bounds the time.
pub(super) async fn get(target: &Target) -> io::Result<u16> {
    send(target, "GET", None).await
}

/// The status of a POST of JSON. The caller bounds the time.
pub(super) async fn post(target: &Target, body: String) -> io::Result<u16> {
    send(target, "POST", Some(body)).await
}

async fn send(target: &Target, method: &str, body: Option<String>) -> io::Result<u16> {
    let stream = TcpStream::connect(&target.address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    let mut request = Request::builder()
        .method(method)
        .uri(&target.path)
        .header(header::HOST, &target.address);
    if body.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    let request = request
        .body(Full::new(bytes(body)))
        .map_err(io::Error::other)?;
    // In a task of its own: an application that closes after its answer ends both at once, and the
    // answer counts.
    let carrying = tokio::spawn(connection);
    let answer = sender.send_request(request).await;
    carrying.abort();
    Ok(answer.map_err(io::Error::other)?.status().as_u16())
}

fn bytes(body: Option<String>) -> std::collections::VecDeque<u8> {
    body.unwrap_or_default().into_bytes().into()
}
