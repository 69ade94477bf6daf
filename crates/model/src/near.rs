//! The known name that somebody may have meant.

/// The known name with the fewest letters changed, if it is near enough to be meant.
///
/// ```
/// use sluice_model::nearest;
/// assert_eq!(nearest("max_retrys", ["max_retries", "port"]), Some("max_retries"));
/// assert_eq!(nearest("colour", ["max_retries", "port"]), None);
/// ```
pub fn nearest<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let unknown = unknown.to_ascii_lowercase();
    known
        .into_iter()
        .map(|known| (distance(&unknown, known), known))
        .min()
        .filter(|(distance, known)| *distance <= known.len() / 3 + 1)
        .map(|(_, known)| known)
}

/// Edits that turn one name into the other (Levenshtein).
pub(crate) fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
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
