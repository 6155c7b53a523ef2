//! Reads figures from the text that a server answers to `GET /metrics`.

/// Syncs of the log.
pub(crate) const SYNCS: &str = "quorate_log_syncs_total";
/// Entries written to the log.
pub(crate) const ENTRIES: &str = "quorate_log_entries_total";
/// Client operations within those entries.
pub(crate) const OPERATIONS: &str = "quorate_operations_total";

/// The sum of a counter over all its label sets; none when the server does not have it.
pub(crate) fn count(text: &str, name: &str) -> Option<u64> {
    let mut sum = None;
    for line in text.lines() {
        let Some(rest) = line.strip_prefix(name) else {
            continue;
        };
        let value = match rest.as_bytes().first() {
            Some(b' ') => rest,
            // A label's value may hold spaces and brackets; the figure is behind the last bracket.
            Some(b'{') => &rest[rest.rfind('}')? + 1..],
            _ => continue,
        };
        let value: f64 = value.split_ascii_whitespace().next()?.parse().ok()?;
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a counter is a whole number from 0; a float cast saturates"
        )]
        let value = value as u64;
        sum = Some(sum.unwrap_or(0) + value);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_summed_over_labels_and_not_mixed_with_longer_names() {
        let text = "# TYPE a_total counter\na_total{group=\"0 } x\"} 40\na_total{group=\"1\"} 2 1700000000\n\
                    a_total_more 7\nb_total 1e3\n";
        assert_eq!(count(text, "a_total"), Some(42));
        assert_eq!(count(text, "b_total"), Some(1000));
        assert_eq!(count(text, "c_total"), None);
    }
}
