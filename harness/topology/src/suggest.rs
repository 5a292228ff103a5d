//! "Did you mean": the nearest known word to one that isn't known.

/// Words longer than this are no typing mistakes, and comparing them costs the product of both lengths.
const LONGEST: usize = 40;

/// How alike two words must be, from 0 (nothing in common) to 1 (equal).
const ALIKE: f64 = 0.6;

/// The known word most like `word`, if one is like enough to be what was meant.
pub fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = shortened(word)?.to_lowercase();
    known
        .into_iter()
        .filter_map(|candidate| Some((candidate, shortened(candidate)?.to_lowercase())))
        .map(|(candidate, lower)| (candidate, strsim::normalized_damerau_levenshtein(&word, &lower)))
        .filter(|(_, likeness)| *likeness >= ALIKE)
        // `max_by` keeps the last of equals; the first is the one nearer the top of the file.
        .fold(None, |best: Option<(&str, f64)>, next| match best {
            Some(best) if best.1 >= next.1 => Some(best),
            _ => Some(next),
        })
        .map(|(candidate, _)| candidate)
}

/// So many known words are looked at: who has more doesn't read a list of them either.
const MOST: usize = 512;

/// A help line for a word that isn't among the known ones: the nearest, then all, for as far as a line goes.
///
/// `what` is the plural of the thing, "keys here".
pub fn choices<'a>(word: &str, what: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 24;
    let known: Vec<&str> = known.into_iter().take(MOST).collect();
    let mut line = match closest(word, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`? "),
        None => String::new(),
    };
    if known.is_empty() {
        line += &format!("there are no {what}");
        return line;
    }
    line += &format!("{what}: ");
    for (index, name) in known.iter().take(SHOWN).enumerate() {
        line += &format!("{}`{}`", if index == 0 { "" } else { ", " }, crate::source::shown(name));
    }
    if known.len() > SHOWN {
        line += &format!(" and {} more", known.len() - SHOWN);
    }
    line
}

fn shortened(word: &str) -> Option<&str> {
    (word.len() <= LONGEST).then_some(word)
}
