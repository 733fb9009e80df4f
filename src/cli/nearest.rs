//! Did you mean …?

/// The words that are likely meant by `typed`, the nearest first, at most three.
pub fn nearest<'a>(typed: &str, words: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let typed = typed.to_lowercase();
    let limit = 1 + typed.chars().count() / 4;
    let mut found: Vec<(usize, &str)> = words
        .into_iter()
        .map(|word| (distance(&typed, &word.to_lowercase()), word))
        .filter(|(distance, _)| *distance <= limit)
        .collect();
    found.sort_unstable();
    found.dedup();
    found.into_iter().map(|(_, word)| word).take(3).collect()
}

/// `Did you mean a or b?`, or nothing.
pub fn did_you_mean<'a>(typed: &str, words: impl IntoIterator<Item = &'a str>) -> String {
    let found = nearest(typed, words);
    if found.is_empty() { String::new() } else { format!("\n !    Did you mean {}?", found.join(" or ")) }
}

/// Insertions, deletions, exchanges and swaps of neighbours that make `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: [Vec<usize>; 3] = [vec![0; b.len() + 1], (0..=b.len()).collect(), vec![0; b.len() + 1]];
    for (i, ca) in a.iter().enumerate() {
        rows[2][0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let exchanged = rows[1][j] + usize::from(ca != cb);
            let mut best = exchanged.min(rows[1][j + 1] + 1).min(rows[2][j] + 1);
            if i > 0 && j > 0 && *ca == b[j - 1] && a[i - 1] == *cb {
                best = best.min(rows[0][j - 1] + 1);
            }
            rows[2][j + 1] = best;
        }
        rows.rotate_left(1);
    }
    rows[1][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        assert_eq!(distance("scal", "scale"), 1);
        assert_eq!(distance("sacle", "scale"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(nearest("ps:scal", ["ps:stop", "ps:scale", "pipelines"]), ["ps:scale"]);
        assert!(nearest("zzz", ["ps", "apps"]).is_empty());
        assert_eq!(did_you_mean("shpo", ["shop", "blog"]), "\n !    Did you mean shop?");
    }
}
