//! Just enough HTTP to ask a process of this host whether it is ready and who leads.

use anyhow::{Context as _, bail};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longest answer that is read.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// `GET` on a port of this host: status and body.
pub async fn get(port: u16, path: &str) -> anyhow::Result<(u16, String)> {
    tokio::time::timeout(PATIENCE, exchange(port, path))
        .await
        .with_context(|| format!("no answer from port {port} in {PATIENCE:?}"))?
}

async fn exchange(port: u16, path: &str) -> anyhow::Result<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream
        .take(ANSWER_BYTES_MAX)
        .read_to_end(&mut answer)
        .await?;
    parse(&String::from_utf8_lossy(&answer))
}

fn parse(answer: &str) -> anyhow::Result<(u16, String)> {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        bail!("the answer is not HTTP");
    };
    let status = head
        .split_whitespace()
        .nth(1)
        .and_then(|status| status.parse().ok())
        .context("the answer has no status")?;
    Ok((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_status_and_body_apart() {
        let answer = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\n\r\nno leader\n";
        assert_eq!(parse(answer).unwrap(), (503, "no leader\n".to_owned()));
        assert!(parse("SSH-2.0").is_err());
    }
}
