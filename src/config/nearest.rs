//! The known word that a mistyped one probably meant.

/// Slips of the hand that still count as the same word.
const SLIPS_MAX: usize = 2;

/// The nearest of the known words, if one is near enough.
pub(super) fn nearest<const N: usize>(word: &str, known: [&'static str; N]) -> Option<&'static str> {
    let slips = |known: &&'static str| distance(word, known);
    known.into_iter().min_by_key(slips).filter(|known| distance(word, known) <= SLIPS_MAX)
}

/// Letters to add, drop or change to get from one word to the other (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.chars().count()).collect();
    for (at, letter) in one.chars().enumerate() {
        let mut diagonal = at;
        let mut left = at + 1;
        let mut next = vec![left];
        for (above, wanted) in row.iter().skip(1).zip(other.chars()) {
            left = (left + 1).min(above + 1).min(diagonal + usize::from(letter != wanted));
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_hand_is_recognised_and_another_word_is_not() {
        let known = ["name", "listen", "http", "log"];
        assert_eq!(nearest("lisen", known), Some("listen"));
        assert_eq!(nearest("htpp", known), Some("http"));
        assert_eq!(nearest("bandwidth", known), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
