//! The root of a fan-out, or an inner node of a tree: definitions, and the requests they answer.
//!
//! [`Root`] holds the fan-outs of a process. A request ([`Question`]) is planned from its fan-out's
//! definition, admitted as a whole, driven by one [`crate::gather::Gather`] and answered with an
//! [`Answer`], which says of every shard what became of it.

mod answer;
mod drive;
mod fanout;
mod leaf;
mod meters;
mod question;
mod watch;

pub use answer::{Answer, AttemptLine, CoveredLine, Envelope, MapLine, ShardLine};
pub use fanout::{Fanout, ShardView, TargetsView};
pub use leaf::ENVELOPE;
#[cfg(feature = "server")]
pub(crate) use question::deadline;
pub use question::{Question, Source};
pub use watch::{apply, watch};

use crate::definition::{FanoutSpec, RouteSpec};
use crate::merge::Merger;
use crate::pool::{Admission, AdmissionCaps, Hosts, Resolve};
use http::{HeaderValue, Method};
use quorate_core::error::{Code, Error};
use quorate_core::types::Name;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// Nodes above this one that a request may have come through: a tree that contains itself ends here.
pub const DEPTH_MAX: u32 = 8;

/// The fan-outs of a process.
#[derive(Debug)]
pub struct Root {
    hosts: Arc<Hosts>,
    /// What leaves of the file's fan-outs are shown.
    credential: Option<HeaderValue>,
    fanouts: RwLock<BTreeMap<Name, Arc<Fanout>>>,
}

/// Where a definition came from.
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The file of definitions: it changes there.
    File,
    /// The API.
    Api,
}

impl Root {
    /// A root without fan-outs.
    pub fn new(caps: AdmissionCaps) -> Arc<Self> {
        Self::over(Hosts::new(Admission::new(caps)), None)
    }

    /// The same with names of one's own.
    pub fn with_names(caps: AdmissionCaps, names: Arc<dyn Resolve>) -> Arc<Self> {
        Self::over(Hosts::with(Admission::new(caps), names, None), None)
    }

    /// The same over these connections, and with a credential (`Authorization`) that is shown to the leaves of
    /// fan-outs from the file: who may define fan-outs over the API must not learn it.
    pub fn over(hosts: Arc<Hosts>, credential: Option<HeaderValue>) -> Arc<Self> {
        Arc::new(Self {
            hosts,
            credential,
            fanouts: RwLock::default(),
        })
    }

    /// Its connections, for leaves of this process.
    pub(crate) fn hosts(&self) -> &Arc<Hosts> {
        &self.hosts
    }

    /// What is under way.
    pub fn admission(&self) -> &Arc<Admission> {
        self.hosts.admission()
    }

    /// One fan-out.
    pub fn fanout(&self, name: &Name) -> Result<Arc<Fanout>, Error> {
        let all = self.fanouts.read().unwrap_or_else(PoisonError::into_inner);
        all.get(name).cloned().ok_or_else(|| {
            Error::not_found(format!(
                "there is no fan-out {name}; GET /v1/fanouts lists them, PUT defines one"
            ))
        })
    }

    /// All of them, by name.
    pub fn fanouts(&self) -> Vec<Arc<Fanout>> {
        let all = self.fanouts.read().unwrap_or_else(PoisonError::into_inner);
        all.values().cloned().collect()
    }

    /// Defines a fan-out or replaces its definition. What is known of replicas that stay is kept;
    /// requests under way end by the old definition. Needs a tokio runtime.
    ///
    /// # Errors
    /// A definition that fails its check, a version that does not grow, a route that another fan-out
    /// has, a fan-out that the file defines (from the API).
    pub fn put(&self, name: &Name, spec: FanoutSpec, origin: Origin) -> Result<Arc<Fanout>, Error> {
        self.put_with(name, spec, origin, None)
    }

    /// The same with a merger of this process instead of the definition's.
    pub(crate) fn put_with(
        &self,
        name: &Name,
        spec: FanoutSpec,
        origin: Origin,
        merger: Option<Arc<dyn Merger>>,
    ) -> Result<Arc<Fanout>, Error> {
        spec.check()?;
        if !self.hosts.is_secured() && spec.is_secured() {
            return Err(Error::invalid(
                "shards.replicas, merge: https:// needs an authority to trust, which this process has none of: set \
                 QUORATE_SERVERS_CA, or write http://",
            ));
        }
        let mut all = self.fanouts.write().unwrap_or_else(PoisonError::into_inner);
        let before = all.get(name).cloned();
        if let Some(before) = &before {
            if before.origin() == Origin::File && origin == Origin::Api {
                return Err(from_file(name));
            }
            if *before.spec() == spec && before.origin() == origin {
                return Ok(Arc::clone(before));
            }
        } else if all.len() >= crate::definition::FANOUTS_MAX {
            return Err(Error::new(
                Code::OverQuota,
                "there are too many fan-outs: delete some, or use another process",
            ));
        }
        for route in &spec.routes {
            let taken = all.values().find(|other| {
                other.name() != name && other.spec().routes.iter().any(|r| clash(r, route))
            });
            if let Some(other) = taken {
                return Err(Error::invalid(format!(
                    "routes: {} is scattered by the fan-out {} already: a path has one fan-out",
                    route.path,
                    other.name()
                )));
            }
        }
        let version = next_version(before.as_deref(), &spec)?;
        let fanout = Fanout::start(
            name.clone(),
            spec,
            version,
            origin,
            self,
            before.as_deref(),
            merger,
        )?;
        all.insert(name.clone(), Arc::clone(&fanout));
        Ok(fanout)
    }

    /// Forgets a fan-out. Requests under way end by it.
    pub fn delete(&self, name: &Name, origin: Origin) -> Result<(), Error> {
        let mut all = self.fanouts.write().unwrap_or_else(PoisonError::into_inner);
        match all.get(name) {
            None => Err(Error::not_found(format!("there is no fan-out {name}"))),
            Some(known) if known.origin() == Origin::File && origin == Origin::Api => {
                Err(from_file(name))
            }
            Some(_) => {
                all.remove(name);
                Ok(())
            }
        }
    }

    /// The fan-out of a path that is none of the container's own, the most specific one first.
    pub fn route(&self, method: &Method, path: &str) -> Option<Arc<Fanout>> {
        let all = self.fanouts.read().unwrap_or_else(PoisonError::into_inner);
        let routes = all.values().flat_map(|fanout| {
            let routes = fanout.spec().routes.iter();
            routes.map(move |route| (fanout, route))
        });
        let matching = routes.filter(|(_, route)| matches(route, method, path));
        let best =
            matching.max_by_key(|(_, route)| (!route.path.ends_with("/*"), route.path.len()));
        best.map(|(fanout, _)| Arc::clone(fanout))
    }
}

fn from_file(name: &Name) -> Error {
    Error::new(
        Code::Forbidden,
        format!(
            "the fan-out {name} is defined by the file of QUORATE_FANOUTS_FILE: change it there"
        ),
    )
}

fn next_version(before: Option<&Fanout>, spec: &FanoutSpec) -> Result<u64, Error> {
    match (before, spec.version) {
        (None, given) => Ok(given.unwrap_or(1)),
        (Some(before), None) => Ok(before.version() + 1),
        (Some(before), Some(given)) if given > before.version() => Ok(given),
        (Some(before), Some(given)) => Err(Error::invalid(format!(
            "version: {given} is not above the present {}: a changed map needs a new version, or leave \
             it out",
            before.version()
        ))),
    }
}

fn matches(route: &RouteSpec, method: &Method, path: &str) -> bool {
    let there = match route.path.strip_suffix("/*") {
        None => path == route.path,
        Some(prefix) => path
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.starts_with('/')),
    };
    there && (route.methods.is_empty() || route.methods.iter().any(|m| m == method.as_str()))
}

fn clash(a: &RouteSpec, b: &RouteSpec) -> bool {
    let methods = a.methods.is_empty()
        || b.methods.is_empty()
        || a.methods.iter().any(|method| b.methods.contains(method));
    a.path == b.path && methods
}
