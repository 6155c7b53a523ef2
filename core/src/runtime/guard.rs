//! Who may talk to a listener, decided before anything is routed, for REST and gRPC alike.
//!
//! On loopback every process of the host may call, but no web page may: a page reaches 127.0.0.1
//! under a name of its own (DNS rebinding) or with an `Origin`, and both are refused. There is no
//! CORS. A listener with a token file asks every caller for a token, wherever it listens; the single
//! exception is the health check of gRPC, matched as a whole path.

use super::exit::Failure;
use super::settings::Settings;
use super::token::Tokens;
use crate::error::{Code, Error};
use crate::types::Principal;
use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::{HeaderMap, Uri};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// The one path that needs no token: probes cannot carry one, and it says nothing but "serving".
const OPEN_PATH: &str = "/grpc.health.v1.Health/Check";

/// The rules of one listener.
#[derive(Clone, Debug)]
pub struct Guard {
    hosts: Option<Hosts>,
    refuse_origin: bool,
    tokens: Option<Arc<Tokens>>,
    anonymous: Principal,
}

#[derive(Clone, Debug)]
struct Hosts {
    loopback: bool,
    names: Vec<String>,
}

impl Guard {
    /// The rules of an API listener at this address.
    pub fn api(address: SocketAddr, settings: &Settings) -> Result<Self, Failure> {
        let tokens = match &settings.token_file {
            Some(path) => Some(Arc::new(Tokens::open(path)?)),
            None => None,
        };
        let loopback = address.ip().is_loopback();
        Ok(Self {
            hosts: Hosts::of(loopback, settings),
            refuse_origin: loopback || tokens.is_none(),
            tokens,
            anonymous: Principal::anonymous(),
        })
    }

    /// The rules of an ops listener at this address: it changes nothing and needs no token. Probes
    /// name it by whatever address they have, so beyond loopback no host is refused.
    pub fn ops(address: SocketAddr, settings: &Settings) -> Self {
        let loopback = address.ip().is_loopback();
        Self {
            hosts: Hosts::of(loopback, settings).filter(|_| loopback),
            refuse_origin: loopback,
            tokens: None,
            anonymous: Principal::anonymous(),
        }
    }

    /// The tokens, to be reloaded.
    pub fn tokens(&self) -> Option<&Arc<Tokens>> {
        self.tokens.as_ref()
    }

    /// Who asks, or why not.
    pub fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<Principal, Error> {
        if let Some(hosts) = &self.hosts {
            hosts.check(uri, headers)?;
        }
        if self.refuse_origin && headers.contains_key(ORIGIN) {
            return Err(Error::new(
                Code::Forbidden,
                "the request has an Origin: web pages may not call this listener; call it from a \
                 program, without that header",
            ));
        }
        match &self.tokens {
            None => Ok(self.anonymous.clone()),
            Some(_) if uri.path() == OPEN_PATH => Ok(self.anonymous.clone()),
            Some(tokens) => bearer(headers)
                .and_then(|presented| tokens.principal(presented))
                .ok_or_else(|| {
                    Error::new(
                        Code::Unauthenticated,
                        "send `Authorization: Bearer TOKEN` with a token of this listener's token \
                         file (clients: QUORATE_SERVERS_TOKEN_FILE)",
                    )
                }),
        }
    }
}

impl Hosts {
    fn of(loopback: bool, settings: &Settings) -> Option<Self> {
        let names = settings.allowed_hosts.clone().map(|hosts| hosts.0);
        (loopback || names.is_some()).then(|| Self {
            loopback,
            names: names.unwrap_or_default(),
        })
    }

    fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Error> {
        let mut named = 0;
        let in_headers = headers
            .get_all(HOST)
            .iter()
            .map(|value| value.to_str().unwrap_or_default());
        for authority in uri
            .authority()
            .map(http::uri::Authority::as_str)
            .into_iter()
            .chain(in_headers)
        {
            named += 1;
            if !host_of(authority).is_some_and(|host| self.allows(host)) {
                let shown: String = authority.chars().take(100).collect();
                return Err(Error::new(
                    Code::Forbidden,
                    format!(
                        "the host {shown:?} is not one of this listener's: call it by an address it \
                         listens on, or name the host in QUORATE_ALLOWED_HOSTS"
                    ),
                ));
            }
        }
        if named == 0 {
            return Err(Error::new(
                Code::Forbidden,
                "the request names no Host; send one",
            ));
        }
        Ok(())
    }

    fn allows(&self, host: &str) -> bool {
        // An address is no name that somebody else's DNS could point here.
        let local = host.eq_ignore_ascii_case("localhost")
            || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        (self.loopback && local)
            || self
                .names
                .iter()
                .any(|name| host.eq_ignore_ascii_case(name))
    }
}

/// The host of `host`, `host:port`, `[v6]` or `[v6]:port`; `None` for anything else.
fn host_of(authority: &str) -> Option<&str> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => match authority.find(':') {
            Some(colon) => authority.split_at(colon),
            None => (authority, ""),
        },
    };
    let port_good = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|digits| digits.is_empty() || digits.parse::<u16>().is_ok());
    (port_good && !host.is_empty() && !host.contains('@')).then_some(host)
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let value = all.next()?.as_bytes();
    if all.next().is_some() {
        return None;
    }
    let (scheme, token) = value.split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::super::settings::{Environment, FlagValues, Pattern};
    use super::*;
    use http::HeaderValue;

    fn guard(address: &str, variables: &[(&str, &str)]) -> Guard {
        let environment = Environment::of(variables.iter().copied());
        let settings =
            Settings::load_from(Pattern::WorkQueue, &FlagValues::none(), &environment).unwrap();
        Guard::api(address.parse().unwrap(), &settings).unwrap()
    }

    fn ask(guard: &Guard, uri: &str, headers: &[(&'static str, &str)]) -> Result<Principal, Code> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        guard
            .check(&uri.parse().unwrap(), &map)
            .map_err(|error| error.code)
    }

    #[test]
    fn loopback_answers_to_its_own_names_only() {
        let guard = guard("127.0.0.1:7072", &[]);
        for good in [
            "localhost",
            "LOCALHOST:7072",
            "127.0.0.1:1",
            "127.0.0.1",
            "[::1]",
            "[::1]:7072",
        ] {
            assert!(ask(&guard, "/v1/info", &[("host", good)]).is_ok(), "{good}");
        }
        for bad in [
            "evil.example",
            "evil.example:7072",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evil.example@127.0.0.1",
            "127.0.0.1@evil.example",
            "",
            "[::1",
            "::1",
            "127.0.0.1:x",
            "10.0.0.1",
            "localhost, evil.example",
            "0.0.0.0",
        ] {
            assert_eq!(
                ask(&guard, "/v1/info", &[("host", bad)]),
                Err(Code::Forbidden),
                "{bad}"
            );
        }
        assert_eq!(ask(&guard, "/v1/info", &[]), Err(Code::Forbidden));
        let both = [("host", "localhost"), ("host", "evil.example")];
        assert_eq!(ask(&guard, "/v1/info", &both), Err(Code::Forbidden));
        // h2 carries the host in the URI.
        assert!(ask(&guard, "http://127.0.0.1:7072/v1/info", &[]).is_ok());
        assert!(ask(&guard, "http://evil.example/v1/info", &[]).is_err());
        assert!(
            ask(
                &guard,
                "http://127.0.0.1/v1/info",
                &[("host", "evil.example")]
            )
            .is_err()
        );
    }

    #[test]
    fn pages_are_refused_on_loopback() {
        let guard = guard("[::1]:7072", &[]);
        for origin in ["http://evil.example", "null", "http://127.0.0.1:7072"] {
            let headers = [("host", "[::1]:7072"), ("origin", origin)];
            assert_eq!(ask(&guard, "/", &headers), Err(Code::Forbidden), "{origin}");
        }
    }

    #[test]
    fn beyond_loopback_the_host_guard_needs_names() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "s".repeat(40)).unwrap();
        let path = file.path().to_str().unwrap();
        let bearer = format!("Bearer {}", "s".repeat(40));
        let open = guard("0.0.0.0:7072", &[("QUORATE_TOKEN_FILE", path)]);
        assert!(
            ask(
                &open,
                "/",
                &[("host", "any.example"), ("authorization", &bearer)]
            )
            .is_ok()
        );
        let named = guard(
            "0.0.0.0:7072",
            &[
                ("QUORATE_TOKEN_FILE", path),
                ("QUORATE_ALLOWED_HOSTS", "queue.example,[fd00::1]"),
            ],
        );
        for (host, good) in [
            ("queue.example:80", true),
            ("[fd00::1]:1", true),
            ("other.example", false),
        ] {
            let headers = [("host", host), ("authorization", bearer.as_str())];
            assert_eq!(ask(&named, "/", &headers).is_ok(), good, "{host}");
        }
    }

    #[test]
    fn a_token_is_asked_for_on_every_path_but_the_health_check() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "s".repeat(40)).unwrap();
        let guard = guard(
            "127.0.0.1:1",
            &[("QUORATE_TOKEN_FILE", file.path().to_str().unwrap())],
        );
        let good = format!("bearer {}", "s".repeat(40));
        for path in [
            "/",
            "/v1/info",
            "/healthz",
            "/v1/jobs/grpc.health.v1.Health/Check",
            "/grpc.health.v1.Health/Check/",
            "/grpc.health.v1.Health/Watch",
        ] {
            let refused = ask(&guard, path, &[("host", "localhost")]);
            assert_eq!(refused, Err(Code::Unauthenticated), "{path}");
            let principal = ask(
                &guard,
                path,
                &[("host", "localhost"), ("authorization", &good)],
            );
            assert!(principal.unwrap().0.starts_with("token:"));
        }
        assert!(ask(&guard, OPEN_PATH, &[("host", "localhost")]).is_ok());
        for bad in [
            "",
            "Bearer",
            "Bearer ",
            "Basic c3M=",
            "Bearer wrong",
            &"s".repeat(40),
        ] {
            let headers = [("host", "localhost"), ("authorization", bad)];
            assert_eq!(
                ask(&guard, "/", &headers),
                Err(Code::Unauthenticated),
                "{bad:?}"
            );
        }
        let twice = [
            ("host", "localhost"),
            ("authorization", good.as_str()),
            ("authorization", good.as_str()),
        ];
        assert_eq!(ask(&guard, "/", &twice), Err(Code::Unauthenticated));
    }

    proptest::proptest! {
        #[test]
        fn nothing_but_loopback_passes_for_loopback(host in "[a-z0-9.:@\\[\\]]{0,24}") {
            // Proves: no header panics the guard, and what it lets in is localhost or a loopback address.
            let guard = guard("127.0.0.1:7072", &[]);
            if ask(&guard, "/", &[("host", &host)]).is_ok() {
                let name = host_of(&host).unwrap();
                proptest::prop_assert!(name == "localhost" || name.starts_with("127.") || name == "::1"
                    || name.parse::<std::net::Ipv6Addr>().is_ok_and(|ip| ip.is_loopback()));
            }
        }
    }
}
