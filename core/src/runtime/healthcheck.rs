//! A probe for images without a shell: asks the ops listener and says so by the exit code.
//!
//! Blocking and without a client library, because it runs every few seconds and should cost nothing.

use super::exit::Failure;
use super::settings::Settings;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Longest answer that is read in bytes; the reasons of `/readyz` fit many times.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// Asks `/readyz` (or another path) of this container's ops listener. `Ok` holds the answer's body.
pub fn check(settings: &Settings, path: &str, timeout: Duration) -> Result<String, Failure> {
    let mut address = super::listen::resolve("ops_listen", &settings.ops_listen)?;
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    match get(address, path, timeout) {
        Ok((200, body)) => Ok(body),
        Ok((status, body)) => Err(Failure::unavailable(format!(
            "http://{address}{path} answered {status}: {}",
            body.trim()
        ))),
        Err(error) => Err(Failure::unavailable(format!(
            "http://{address}{path} does not answer: {error}; is the container running, and is \
             QUORATE_OPS_LISTEN its own?"
        ))),
    }
}

/// One GET over HTTP/1.1: the status and the body. `timeout` covers all of it.
pub fn get(address: SocketAddr, path: &str, timeout: Duration) -> std::io::Result<(u16, String)> {
    let end = Instant::now() + timeout;
    let left = || {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            Err(std::io::Error::from(std::io::ErrorKind::TimedOut))
        } else {
            Ok(left)
        }
    };
    let mut stream = TcpStream::connect_timeout(&address, left()?)?;
    stream.set_write_timeout(Some(left()?))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    while (answer.len() as u64) < ANSWER_BYTES_MAX {
        stream.set_read_timeout(Some(left()?))?;
        match stream.read(&mut chunk)? {
            0 => break,
            n => answer.extend_from_slice(&chunk[..n]),
        }
    }
    parse(&String::from_utf8_lossy(&answer))
        .ok_or_else(|| std::io::Error::new(std::io::ErrorKind::InvalidData, "not an HTTP answer"))
}

fn parse(answer: &str) -> Option<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some((status, body.to_owned()))
}
