//! Which shards a key belongs to.
//!
//! With ranges, to the shard whose range it lies in. Without, to the shard with the highest hash of
//! (key, shard id): rendezvous hashing (Thaler and Ravishankar 1998), by which a shard that is added or
//! removed moves only its own keys.

use super::ShardSpec;

/// A key that belongs to no shard.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It lies in no range.
    #[error("the key {0:?} lies in no shard's range")]
    Outside(String),
    /// There are no ranges to ask a range of.
    #[error("the shards of this fan-out have no ranges: ask by key, or ask them all")]
    NoRanges,
    /// An empty range.
    #[error("the range from {0:?} to {1:?} is empty")]
    Empty(String, String),
}

/// The shards' ranges, or their ids.
#[derive(Clone, Debug)]
pub struct Keys {
    ids: Vec<String>,
    /// By where they begin; the second is where they end, empty for the end of everything.
    ranges: Option<Vec<(String, String, usize)>>,
}

impl Keys {
    /// Of shards that were checked.
    pub fn new(shards: &[ShardSpec]) -> Self {
        let ranges: Option<Vec<_>> = shards
            .iter()
            .enumerate()
            .map(|(i, shard)| {
                shard
                    .range
                    .as_ref()
                    .map(|(from, to)| (from.clone(), to.clone(), i))
            })
            .collect();
        let ranges = ranges.map(|mut ranges| {
            ranges.sort();
            ranges
        });
        Self {
            ids: shards.iter().map(|shard| shard.id.clone()).collect(),
            ranges,
        }
    }

    /// The shard of a key, by its place.
    pub fn shard(&self, key: &str) -> Result<usize, KeyError> {
        let outside = || KeyError::Outside(key.chars().take(64).collect());
        let Some(ranges) = &self.ranges else {
            return rendezvous(key, &self.ids).ok_or_else(outside);
        };
        let after = ranges.partition_point(|(from, _, _)| from.as_str() <= key);
        let (_, to, shard) = after
            .checked_sub(1)
            .and_then(|i| ranges.get(i))
            .ok_or_else(outside)?;
        if to.is_empty() || key < to.as_str() {
            Ok(*shard)
        } else {
            Err(outside())
        }
    }

    /// The shards that have keys from `from` up to but without `to` (empty: the end).
    pub fn shards(&self, from: &str, to: &str) -> Result<Vec<usize>, KeyError> {
        let ranges = self.ranges.as_ref().ok_or(KeyError::NoRanges)?;
        if !to.is_empty() && from >= to {
            return Err(KeyError::Empty(
                from.chars().take(64).collect(),
                to.chars().take(64).collect(),
            ));
        }
        let touched = ranges.iter().filter(|(begin, end, _)| {
            (to.is_empty() || begin.as_str() < to) && (end.is_empty() || from < end.as_str())
        });
        let mut shards: Vec<usize> = touched.map(|(_, _, shard)| *shard).collect();
        shards.sort_unstable();
        if shards.is_empty() {
            return Err(KeyError::Outside(from.chars().take(64).collect()));
        }
        Ok(shards)
    }
}

/// The place of the id with the highest hash for this key. The hash is part of the interface: it must
/// be the same in every process and version, or keys would move. FNV-1a over key, a zero byte and id,
/// finished as splitmix64 does.
pub fn rendezvous<S: AsRef<str>>(key: &str, ids: &[S]) -> Option<usize> {
    let weight = |id: &str| {
        let bytes = key.bytes().chain([0]).chain(id.bytes());
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        hash ^ (hash >> 31)
    };
    (0..ids.len()).max_by_key(|i| (weight(ids[*i].as_ref()), std::cmp::Reverse(*i)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(id: &str, range: Option<(&str, &str)>) -> ShardSpec {
        ShardSpec {
            id: id.into(),
            replicas: vec!["http://127.0.0.1:1".into()],
            range: range.map(|(from, to)| (from.into(), to.into())),
            weight: 1,
        }
    }

    /// Keys fall into their ranges, and what lies outside of all is refused.
    #[test]
    fn ranges() {
        let keys = Keys::new(&[shard("1", Some(("m", "z"))), shard("0", Some(("a", "m")))]);
        assert_eq!(keys.shard("a"), Ok(1));
        assert_eq!(keys.shard("lzzz"), Ok(1));
        assert_eq!(keys.shard("m"), Ok(0));
        for outside in ["", "A", "z", "zz"] {
            assert!(keys.shard(outside).is_err(), "{outside}");
        }
        assert_eq!(keys.shards("b", "c"), Ok(vec![1]));
        assert_eq!(keys.shards("b", "n"), Ok(vec![0, 1]));
        assert_eq!(keys.shards("b", ""), Ok(vec![0, 1]));
        assert!(keys.shards("c", "b").is_err() && keys.shards("zz", "").is_err());
        let open = Keys::new(&[shard("0", Some(("", "m"))), shard("1", Some(("m", "")))]);
        assert_eq!((open.shard(""), open.shard("\u{10ffff}")), (Ok(0), Ok(1)));
    }

    /// Hashes are spread, stay what they are for ever, and a new shard takes only what becomes its own.
    #[test]
    fn hashing_is_stable_and_even() {
        let ids: Vec<String> = (0..8).map(|i| i.to_string()).collect();
        assert_eq!(
            rendezvous("alpha", &ids[..4]),
            rendezvous("alpha", &ids[..4])
        );
        let mut counts = [0; 8];
        let mut moved = 0;
        for i in 0..8_000 {
            let key = format!("key-{i}");
            let before = rendezvous(&key, &ids[..7]).unwrap();
            let after = rendezvous(&key, &ids).unwrap();
            assert!(after == before || after == 7);
            moved += usize::from(after != before);
            counts[after] += 1;
        }
        assert!(
            counts.iter().all(|count| (850..1_150).contains(count)),
            "{counts:?}"
        );
        assert!((850..1_150).contains(&moved));
        // Golden: a change of the hash would move the keys of everybody.
        let golden: Vec<usize> = ["", "a", "b", "user:42"]
            .iter()
            .map(|key| rendezvous(key, &ids).unwrap())
            .collect();
        assert_eq!(golden, GOLDEN);
        assert_eq!(rendezvous::<&str>("a", &[]), None);
    }

    const GOLDEN: [usize; 4] = [0, 7, 5, 5];
}
