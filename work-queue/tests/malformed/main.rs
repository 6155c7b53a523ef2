//! Proves that every malformed request gets its status, its code and a detail that names what is wrong,
//! and that nothing specified but not built is accepted.
#![allow(clippy::unwrap_used, reason = "a test")]

mod bodies;
#[path = "../container/mod.rs"]
mod container;
mod limits;
mod paths;
mod settlements;

use bytes::Bytes;
use container::Container;

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

/// Method, path, body, status, code, and a part of the detail.
type Case<'a> = (&'a str, &'a str, &'a str, u16, &'a str, &'a str);

const JOB: &str = "j10000000000000001";
const LEASE: &str = "l10000000000000001";

async fn check(container: &Container, cases: &[Case<'_>]) {
    for (method, path, body, status, code, part) in cases {
        let headers = if body.is_empty() { &[][..] } else { JSON };
        let body = Bytes::copy_from_slice(body.as_bytes());
        let answer = container.http().send(method, path, headers, body).await;
        let told = format!("{method} {path}: {} {}", answer.status, answer.text());
        assert_eq!(answer.status, *status, "{told}");
        assert_eq!(
            answer.headers["content-type"], "application/problem+json",
            "{told}"
        );
        let problem = answer.json();
        assert_eq!(problem["code"], *code, "{told}");
        assert_eq!(problem["status"], *status, "{told}");
        assert!(problem["detail"].as_str().unwrap().contains(part), "{told}");
    }
}
