//! One request, as the APIs hand it in.

use super::fanout::Fanout;
use crate::definition::{TIMEOUT_MS_MAX, is_safe};
use crate::gather::Share;
use bytes::Bytes;
use http::{HeaderMap, Method};
use quorate_core::error::{Code, Error};
use std::time::Duration;

/// How the request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// By name: `POST /v1/fanouts/{f}/query`, or gRPC.
    Query,
    /// By a route of the fan-out: path and method are the client's own.
    Route,
}

/// A request to a fan-out.
#[derive(Clone, Debug)]
pub struct Question {
    /// How it came.
    pub source: Source,
    /// The client's method.
    pub method: Method,
    /// The client's path, for routes.
    pub path: String,
    /// The client's query string, without the question mark.
    pub query: String,
    /// The client's headers.
    pub headers: HeaderMap,
    /// The client's body.
    pub body: Bytes,
    /// Only the shards of these keys.
    pub keys: Vec<String>,
    /// Only the shards that have keys in this range.
    pub range: Option<(String, String)>,
    /// What the client has left.
    pub timeout: Option<Duration>,
    /// Whether nodes above allow hedges at this level.
    pub may_hedge: bool,
    /// Nodes this request has come through.
    pub depth: u32,
    /// The client is a node that will merge the answer: it wants the state and not the result.
    pub nested: bool,
}

impl Question {
    /// A question by name with a body, as the library and gRPC ask it.
    pub fn query(body: Bytes) -> Self {
        Self {
            source: Source::Query,
            method: Method::POST,
            path: String::new(),
            query: String::new(),
            headers: HeaderMap::new(),
            body,
            keys: Vec::new(),
            range: None,
            timeout: None,
            may_hedge: true,
            depth: 0,
            nested: false,
        }
    }

    /// Reads what headers say about the request itself.
    pub fn with_headers(mut self, headers: HeaderMap) -> Result<Self, Error> {
        if let Some(timeout) = deadline(&headers)? {
            self.timeout = Some(timeout);
        }
        if let Some(depth) = number(&headers, "quorate-depth", u64::from(u32::MAX))? {
            self.depth = u32::try_from(depth).unwrap_or(u32::MAX);
        }
        if let Some(budget) = text(&headers, "quorate-hedge-budget")? {
            let budget = budget
                .parse::<f64>()
                .ok()
                .and_then(Share::of)
                .ok_or_else(|| Error::invalid("quorate-hedge-budget: send a number from 0 to 1"))?;
            self.may_hedge = budget > Share::ZERO;
        }
        self.nested = text(&headers, "quorate-nested")?.is_some_and(|value| value == "1");
        let mut keys = Vec::new();
        for value in headers.get_all("quorate-key") {
            let key = value.to_str().map_err(|_| {
                Error::invalid("quorate-key: send visible ASCII characters, others as %XX")
            })?;
            keys.push(unescape(key)?);
        }
        let range = match text(&headers, "quorate-range")? {
            None => None,
            Some(range) => {
                let (from, to) = range.split_once(',').ok_or_else(|| {
                    Error::invalid("quorate-range: send FROM,TO (TO empty for the end), with a comma in a key as %2C")
                })?;
                Some((unescape(from)?, unescape(to)?))
            }
        };
        self.only(keys, range)?;
        self.headers = headers;
        Ok(self)
    }

    /// Asks only the shards of these keys, or those that have keys in this range, on top of what was said
    /// before.
    ///
    /// # Errors
    /// Too many keys, or keys and a range.
    pub fn only(
        &mut self,
        keys: Vec<String>,
        range: Option<(String, String)>,
    ) -> Result<(), Error> {
        self.keys.extend(keys);
        if self.keys.len() > KEYS_MAX {
            return Err(Error::invalid(format!(
                "quorate-key: send at most {KEYS_MAX}"
            )));
        }
        if range.is_some() {
            self.range = range;
        }
        if self.range.is_some() && !self.keys.is_empty() {
            return Err(Error::invalid(
                "quorate-key, quorate-range: send one of them",
            ));
        }
        Ok(())
    }

    /// Whether its calls may be made twice.
    pub(super) fn idempotent(&self, fanout: &Fanout) -> bool {
        fanout.spec().idempotent.unwrap_or(match self.source {
            Source::Query => true,
            Source::Route => is_safe(&self.method),
        })
    }

    /// The shards it goes to, in the map's order.
    pub(super) fn shards(&self, fanout: &Fanout) -> Result<Vec<usize>, Error> {
        let refused = |error: crate::definition::KeyError| Error::invalid(error.to_string());
        if let Some((from, to)) = &self.range {
            match fanout.keys().shards(from, to) {
                // All of a node's shards are of its parent's range, however it divides them.
                Err(crate::definition::KeyError::NoRanges) if self.nested => {}
                found => return found.map_err(refused),
            }
        }
        if self.keys.is_empty() {
            return Ok((0..fanout.spec().shards.len()).collect());
        }
        let mut shards = Vec::with_capacity(self.keys.len());
        for key in &self.keys {
            shards.push(fanout.keys().shard(key).map_err(refused)?);
        }
        shards.sort_unstable();
        shards.dedup();
        Ok(shards)
    }

    /// The time it has, by its own word and the definition's.
    pub(super) fn allowed(&self, fanout: &Fanout) -> Result<Duration, Error> {
        let most = Duration::from_millis(fanout.spec().timeout_ms);
        let allowed = self.timeout.map_or(most, |timeout| timeout.min(most));
        if allowed < Duration::from_millis(1) {
            return Err(Error::new(
                Code::DeadlineExceeded,
                "no time was left when the request came; nothing was sent",
            ));
        }
        Ok(allowed)
    }
}

/// Keys of one request.
const KEYS_MAX: usize = 256;

/// What a request says it has left (`Quorate-Deadline-Ms`).
pub(crate) fn deadline(headers: &HeaderMap) -> Result<Option<Duration>, Error> {
    let ms = number(headers, "quorate-deadline-ms", TIMEOUT_MS_MAX)?;
    Ok(ms.map(Duration::from_millis))
}

fn number(headers: &HeaderMap, name: &str, most: u64) -> Result<Option<u64>, Error> {
    match text(headers, name)? {
        None => Ok(None),
        Some(value) => match value.parse::<u64>() {
            Ok(number) if number <= most => Ok(Some(number)),
            _ => Err(Error::invalid(format!(
                "{name}: send a whole number up to {most}"
            ))),
        },
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, Error> {
    let mut all = headers.get_all(name).iter();
    let Some(value) = all.next() else {
        return Ok(None);
    };
    if all.next().is_some() {
        return Err(Error::invalid(format!("{name}: send it once")));
    }
    value
        .to_str()
        .map(|text| Some(text.trim()))
        .map_err(|_| Error::invalid(format!("{name}: send visible ASCII characters only")))
}

/// `%XX` to bytes.
fn unescape(text: &str) -> Result<String, Error> {
    let refusal =
        || Error::invalid("quorate-key, quorate-range: write other characters as %XX, in UTF-8");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let (hex, after) = after.split_at_checked(2).ok_or_else(refusal)?;
            let hex = std::str::from_utf8(hex).map_err(|_| refusal())?;
            bytes.push(u8::from_str_radix(hex, 16).map_err(|_| refusal())?);
            rest = after;
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).map_err(|_| refusal())
}
