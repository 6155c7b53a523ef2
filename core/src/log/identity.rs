//! Who a data directory is: which node, which disk, which cluster.
//!
//! One small file, replaced as a whole (temporary file, sync, rename, sync of the directory).
//! Formatting is all or nothing as well: while the file `formatting` is there, nothing else counts.
//!
//! ```text
//!  0  magic "QRTIDNT", format 1     12  CRC-32 of bytes 0 to 11 and the body
//!  8  length of the body            16  body: the codec's bytes of the identity
//! ```

use super::error::LogError;
use super::frame::le_u32;
use super::names::{self, FORMATTING, IDENTITY, Kind};
use super::{Disk, DiskFile, files, mark, segment};
use crate::codec::{self, CodecError};
use crate::replica::Member;
use crate::types::{ClusterId, DiskId, NodeId};
use serde::{Deserialize, Serialize};

/// Newest format of a data directory that this version knows.
const FORMAT: u8 = 1;
const MAGIC: [u8; 7] = *b"QRTIDNT";
const HEADER_BYTES: usize = 16;

/// Who a data directory is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The node that it belongs to.
    pub node: NodeId,
    /// Random id of the directory: votes belong to it.
    pub disk: DiskId,
    /// The cluster; none before bootstrap.
    pub cluster: Option<ClusterId>,
    /// The configuration the cluster began with; empty before bootstrap.
    pub members: Vec<Member>,
}

impl Identity {
    /// The identity of the directory, or `None` when it is empty and may be formatted. An error when
    /// it is foreign, corrupt, newer, or of another node than `node`.
    pub fn load<D: Disk>(disk: &D, node: NodeId) -> Result<Option<Self>, LogError> {
        let listed = files::list(disk)?;
        if listed.iter().any(|name| name == FORMATTING) {
            return Ok(None);
        }
        if !listed.iter().any(|name| name == IDENTITY) {
            return match listed.first() {
                None => Ok(None),
                Some(_) if listed.iter().all(|name| names::kind(name) != Kind::Foreign) => {
                    Err(LogError::corrupt(IDENTITY, 0, "the file is missing"))
                }
                Some(_) => Err(foreign(&listed)),
            };
        }
        let bytes = disk
            .read(IDENTITY)
            .map_err(|error| LogError::io("cannot read the identity", error))?;
        let identity = Self::decode(&bytes)?;
        if identity.node != node {
            return Err(LogError::OtherNode {
                found: identity.node,
                configured: node,
            });
        }
        Ok(Some(identity))
    }

    /// Makes an empty directory the data directory of `node`, with an empty log. `id` is drawn at
    /// random by the caller. An error when the directory is not empty; what an interrupted formatting
    /// left does not count.
    pub fn format<D: Disk>(disk: &D, node: NodeId, id: DiskId) -> Result<Self, LogError> {
        let listed = files::list(disk)?;
        if listed.iter().any(|name| name == FORMATTING) {
            clear(disk, &listed)?;
        } else if !listed.is_empty() {
            return Err(foreign(&listed));
        } else {
            disk.create(FORMATTING)
                .map_err(|error| LogError::io("cannot create a file", error))?;
        }
        files::sync_dir(disk)?;
        let identity = Self {
            node,
            disk: id,
            cluster: None,
            members: Vec::new(),
        };
        mark::create(disk)?;
        segment::create_first(disk, id)?;
        identity.store(disk)?;
        files::remove(disk, FORMATTING)?;
        files::sync_dir(disk)?;
        Ok(identity)
    }

    /// Records, durably, the cluster that the directory belongs to from now on and the configuration
    /// it begins with. Again with the same values it does nothing; another cluster is refused.
    pub fn set_cluster<D: Disk>(
        &mut self,
        disk: &D,
        cluster: ClusterId,
        members: Vec<Member>,
    ) -> Result<(), LogError> {
        if self.cluster == Some(cluster) && self.members == members {
            return Ok(());
        }
        if let Some(old) = self.cluster {
            return Err(LogError::Invalid {
                what: format!("the directory belongs to cluster {old} and was told {cluster}"),
            });
        }
        let next = Self {
            cluster: Some(cluster),
            members,
            ..self.clone()
        };
        next.store(disk)?;
        *self = next;
        Ok(())
    }

    fn store<D: Disk>(&self, disk: &D) -> Result<(), LogError> {
        let failed = |error| LogError::io("cannot write the identity", error);
        let temporary = names::temporary(IDENTITY);
        let mut file = files::create(disk, &temporary).map_err(failed)?;
        file.append(&self.encode()).map_err(failed)?;
        files::publish(disk, &mut file, &temporary, IDENTITY)
    }

    fn encode(&self) -> Vec<u8> {
        let body = codec::encode(self);
        let mut out = Vec::with_capacity(HEADER_BYTES + body.len());
        out.extend_from_slice(&MAGIC);
        out.push(FORMAT);
        let len = u32::try_from(body.len()).expect("a configuration has a handful of members");
        out.extend_from_slice(&len.to_le_bytes());
        let crc = checksum(&out, &body);
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&body);
        out
    }

    fn decode(bytes: &[u8]) -> Result<Self, LogError> {
        let corrupt = |what: &str| LogError::corrupt(IDENTITY, 0, what);
        if bytes.len() < HEADER_BYTES || bytes[..7] != MAGIC {
            return Err(corrupt("it does not begin as an identity does"));
        }
        let body = &bytes[HEADER_BYTES..];
        if le_u32(bytes, 12) != checksum(&bytes[..12], body) {
            return Err(corrupt("it does not match its checksum"));
        }
        if bytes[7] > FORMAT {
            return Err(newer(bytes[7]));
        }
        if usize::try_from(le_u32(bytes, 8)) != Ok(body.len()) {
            return Err(corrupt("its length is wrong"));
        }
        codec::decode(body).map_err(|error| match error {
            CodecError::UnknownFormat(found) => newer(found),
            error => corrupt(&error.to_string()),
        })
    }
}

fn newer(found: u8) -> LogError {
    LogError::Newer {
        file: IDENTITY.to_owned(),
        found,
        known: FORMAT,
    }
}

fn checksum(header: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(body);
    hasher.finalize()
}

fn foreign(listed: &[String]) -> LogError {
    let file = listed
        .iter()
        .find(|name| names::kind(name) == Kind::Foreign)
        .or(listed.first())
        .cloned()
        .unwrap_or_default();
    LogError::Foreign { file }
}

/// Removes what an interrupted formatting left, but for the sign that it is one.
fn clear<D: Disk>(disk: &D, listed: &[String]) -> Result<(), LogError> {
    if listed.iter().any(|name| names::kind(name) == Kind::Foreign) {
        return Err(foreign(listed));
    }
    for name in listed.iter().filter(|name| *name != FORMATTING) {
        files::remove(disk, name)?;
    }
    Ok(())
}
