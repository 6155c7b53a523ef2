//! The files of a data directory and their names.

/// Who this directory is; see [`super::Identity`].
pub(super) const IDENTITY: &str = "identity";
/// Present while a directory is being formatted: nothing in it counts yet.
pub(super) const FORMATTING: &str = "formatting";
/// The frame known to be synced; see [`super::mark`].
pub(super) const MARK: &str = "mark";
/// Present while synced entries may be missing at the end of the log; see [`super::Recovered::doubt`].
pub(super) const DOUBT: &str = "doubt";
/// End of the name of a file that is being written. Worthless after a crash.
pub(super) const TEMPORARY: &str = ".tmp";

/// What a name means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// [`IDENTITY`].
    Identity,
    /// [`FORMATTING`].
    Formatting,
    /// [`MARK`].
    Mark,
    /// [`DOUBT`].
    Doubt,
    /// Segment of the log with this number.
    Segment(u64),
    /// Snapshot of this index and term.
    Snapshot { index: u64, term: u64 },
    /// One of the above, unfinished.
    Temporary,
    /// Not ours.
    Foreign,
}

/// Name of a segment.
pub(super) fn segment(id: u64) -> String {
    format!("segment-{id:020}")
}

/// Name of a snapshot.
pub(super) fn snapshot(index: u64, term: u64) -> String {
    format!("snapshot-{index:020}-{term:020}")
}

/// Name of a file while it is being written.
pub(super) fn temporary(name: &str) -> String {
    format!("{name}{TEMPORARY}")
}

/// What this name means. Only the exact spelling that we write counts.
pub(super) fn kind(name: &str) -> Kind {
    if let Some(finished) = name.strip_suffix(TEMPORARY) {
        let unnumbered = match finished.rsplit_once('.') {
            Some((name, number)) if number.parse::<u32>().is_ok() => name,
            _ => finished,
        };
        return match kind(unnumbered) {
            Kind::Foreign => Kind::Foreign,
            _ => Kind::Temporary,
        };
    }
    match name {
        IDENTITY => return Kind::Identity,
        FORMATTING => return Kind::Formatting,
        MARK => return Kind::Mark,
        DOUBT => return Kind::Doubt,
        _ => {}
    }
    if let Some(id) = name.strip_prefix("segment-").and_then(|n| n.parse().ok())
        && segment(id) == name
    {
        return Kind::Segment(id);
    }
    let parts = name
        .strip_prefix("snapshot-")
        .and_then(|rest| rest.split_once('-'));
    if let Some((index, term)) = parts
        && let (Ok(index), Ok(term)) = (index.parse(), term.parse())
        && snapshot(index, term) == name
    {
        return Kind::Snapshot { index, term };
    }
    Kind::Foreign
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_ours_only_in_the_spelling_we_write() {
        assert_eq!(kind(&segment(7)), Kind::Segment(7));
        assert_eq!(
            kind(&snapshot(u64::MAX, 3)),
            Kind::Snapshot {
                index: u64::MAX,
                term: 3
            }
        );
        assert_eq!(kind(&temporary(&segment(7))), Kind::Temporary);
        assert_eq!(kind(&temporary(IDENTITY)), Kind::Temporary);
        let numbered = format!("{}.12", snapshot(4, 3));
        assert_eq!(kind(&temporary(&numbered)), Kind::Temporary);
        for foreign in [
            "segment-7",
            "segment-",
            "notes.txt",
            "x.tmp",
            "snapshot-1-2",
        ] {
            assert_eq!(kind(foreign), Kind::Foreign, "{foreign}");
        }
    }
}
