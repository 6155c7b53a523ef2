//! Which known name did a misspelt one mean?

/// The known name with the smallest edit distance, the first of equals. A name that only lacks its
/// last words (`token` for `token_file`) is as near as one edit.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known.into_iter().min_by_key(|candidate| {
        let rest = candidate.strip_prefix(name);
        if rest.is_some_and(|rest| rest.starts_with('_')) {
            1
        } else {
            distance(name, candidate)
        }
    })
}

/// Optimal string alignment distance: insertions, deletions, substitutions and swaps of neighbours
/// cost one each (Damerau, 1964, without edits inside a swap).
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(NAME_CHARS_MAX).collect();
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let substitution = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = substitution.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

/// A name from outside may be of any length; more of it than this tells nothing more.
const NAME_CHARS_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_edits_and_swaps() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("listen", "listen"), 0);
        assert_eq!(distance("lisetn", "listen"), 1);
        assert_eq!(distance("listn", "listen"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn finds_the_name_that_was_meant() {
        let known = ["data_dir", "listen", "peers", "peer_listen"];
        assert_eq!(nearest("perrs", known), Some("peers"));
        assert_eq!(nearest("datadir", known), Some("data_dir"));
        assert_eq!(nearest("data", ["datum", "data_dir"]), Some("data_dir"));
        assert_eq!(nearest("x", []), None);
    }
}
