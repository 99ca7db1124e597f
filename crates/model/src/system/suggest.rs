//! "Did you mean …": the known name that is closest to a misspelt one.

use std::cmp::Ordering;

use super::alias::ALIASES;

/// The known name that is most likely meant, if one is near enough to be worth a question.
///
/// Aliases count under the name they stand for: `mak` is one letter from `make` and so means `gnumake`, though `cmake`
/// is nearer than `gnumake` itself. An alias is no candidate unless all it stands for is known.
pub fn suggest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let known: Vec<&str> = known.collect();
    let name = name.to_ascii_lowercase();
    let find = |target: &str| known.iter().copied().find(|candidate| *candidate == target);
    let by_alias = ALIASES.iter().filter_map(|(alias, targets)| {
        let found: Option<Vec<&str>> = targets.iter().map(|target| find(target)).collect();
        Some((*alias, *found?.first()?))
    });
    let candidates = known.iter().map(|candidate| (*candidate, *candidate)).chain(by_alias);
    let near = candidates.filter_map(|(spelt, meant)| Some((Nearness::between(&name, spelt)?, meant)));
    near.max_by(|(one, a), (other, b)| one.cmp(other).then_with(|| b.cmp(a)))
        .map(|(_, meant)| meant)
}

/// How near two spellings are: fewer edits first, then a longer common beginning.
struct Nearness {
    edits: usize,
    likeness: f64,
}

impl Nearness {
    /// `None` if the spellings are too far apart: more than one edit for every three letters.
    fn between(name: &str, spelt: &str) -> Option<Nearness> {
        let spelt = spelt.to_ascii_lowercase();
        let edits = strsim::damerau_levenshtein(name, &spelt);
        let allowed = (name.len() / 3).max(1);
        let near = name.len() > 1 && edits <= allowed && edits < spelt.len();
        near.then(|| Nearness {
            edits,
            likeness: strsim::jaro_winkler(name, &spelt),
        })
    }

    fn cmp(&self, other: &Nearness) -> Ordering {
        other
            .edits
            .cmp(&self.edits)
            .then_with(|| self.likeness.total_cmp(&other.likeness))
    }
}
