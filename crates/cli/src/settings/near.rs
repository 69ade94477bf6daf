//! The known name that somebody may have meant.

/// The known name with the fewest letters changed, if it is near enough to be meant.
pub(crate) fn nearest<'a>(
    unknown: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let unknown = unknown.to_ascii_lowercase();
    known
        .into_iter()
        .map(|known| (distance(&unknown, known), known))
        .min()
        .filter(|(distance, known)| *distance <= known.len() / 3 + 1)
        .map(|(_, known)| known)
}

/// Levenshtein's distance, row by row.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (at, a) in from.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (column, b) in to.bytes().enumerate() {
            let changed = diagonal + usize::from(a != b);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn only_a_near_name_is_suggested() {
        let known = ["max_retries", "max_releases", "port"];
        let cases = [
            ("max_retrys",  Some("max_retries")),
            ("MAX_RETRIES", Some("max_retries")),
            ("prot",        Some("port")),
            ("colour",      None),
        ];
        for (unknown, expected) in cases {
            assert_eq!(nearest(unknown, known), expected, "{unknown}");
        }
    }
}
