//! The word that was probably meant.

/// A word that is longer is not compared.
const LENGTH_MAX: usize = 64;

/// The nearest of the known words, if it is near: at most a third of its letters are wrong.
pub(crate) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    if word.len() > LENGTH_MAX {
        return None;
    }
    let lower = word.to_lowercase();
    let distances = known.iter().map(|it| (distance(&lower, &it.to_lowercase()), *it));
    let (distance, nearest) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance <= nearest.chars().count().div_ceil(3)).then_some(nearest)
}

/// Letters to insert, remove, replace or swap with their neighbor (optimal string alignment).
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut rows = vec![vec![0; to.len() + 1]; from.len() + 1];
    for (index, row) in rows.iter_mut().enumerate() {
        row[0] = index;
    }
    for (index, cell) in rows[0].iter_mut().enumerate() {
        *cell = index;
    }
    for row in 1..=from.len() {
        for column in 1..=to.len() {
            let replaced = usize::from(from[row - 1] != to[column - 1]);
            let mut best = (rows[row - 1][column] + 1)
                .min(rows[row][column - 1] + 1)
                .min(rows[row - 1][column - 1] + replaced);
            let is_swap = row > 1
                && column > 1
                && from[row - 1] == to[column - 2]
                && from[row - 2] == to[column - 1];
            if is_swap {
                best = best.min(rows[row - 2][column - 2] + 1);
            }
            rows[row][column] = best;
        }
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(word: &str, expected: Option<&str>) {
        let known = ["name", "matches", "filters", "retry", "timeouts", "backendRefs"];
        assert_eq!(nearest(word, &known), expected);
    }

    #[test]
    fn a_slip_of_the_pen_is_recognized() {
        check("Retry", Some("retry"));
        check("reyrt", Some("retry"));
        check("erty", Some("retry"));
        check("BackendRef", Some("backendRefs"));
        check("timeout", Some("timeouts"));
    }

    #[test]
    fn another_word_is_not_taken_for_a_slip() {
        check("weight", None);
        check("x", None);
        check(&"retry".repeat(100), None);
    }
}
