//! A reader of server-sent events.

use std::net::SocketAddr;
use std::time::Duration;

/// A stream of events.
pub struct Events {
    body: hyper::body::Incoming,
    text: String,
    _connection: tokio::task::JoinHandle<()>,
}

impl Events {
    pub async fn open(address: SocketAddr, election: &str, last: Option<&str>) -> Self {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let io = hyper_util::rt::TokioIo::new(stream);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        let connection = tokio::spawn(async move { drop(connection.await) });
        let mut request = ::http::Request::get(format!("/v1/elections/{election}/events"))
            .header("host", address.to_string());
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let request = request
            .body(http_body_util::Empty::<bytes::Bytes>::new())
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            body: response.into_body(),
            text: String::new(),
            _connection: connection,
        }
    }

    async fn more(&mut self) -> bool {
        use http_body_util::BodyExt as _;
        let Some(Ok(frame)) = self.body.frame().await else {
            return false;
        };
        self.text
            .push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
        true
    }

    /// Id, kind and data of the next event.
    pub async fn next(&mut self) -> (Option<String>, String, serde_json::Value) {
        let next = async {
            loop {
                if let Some((event, rest)) = self.text.split_once("\n\n") {
                    let field = |name: &str| {
                        let line = event
                            .lines()
                            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                        line.map(ToOwned::to_owned)
                    };
                    let found = field("data").map(|data| {
                        (
                            field("id"),
                            field("event").unwrap(),
                            serde_json::from_str(&data).unwrap(),
                        )
                    });
                    self.text = rest.to_owned();
                    match found {
                        Some(found) => return found,
                        None => continue,
                    }
                }
                assert!(self.more().await, "the stream ended: {:?}", self.text);
            }
        };
        tokio::time::timeout(Duration::from_secs(30), next)
            .await
            .unwrap()
    }

    pub async fn end(&mut self) {
        while self.more().await {}
    }
}
