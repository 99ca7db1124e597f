//! Refusals of the API server that are temporary, recognised by their text.

use hybrid_cache_model::quantity;

/// True for what is said of a quota that is full for now or has not been read yet, and by an API server that has just
/// started, which denies its controllers every action.
pub fn is_temporary(said: &str) -> bool {
    is_quota_full_for_now(said) || said.contains("status unknown for quota") || said.contains("cannot create resource")
}

/// True if the quota has room for the pod once others have ended: every resource that it lacks is in use, and the pod's
/// own request would fit alone.
pub fn is_quota_full_for_now(said: &str) -> bool {
    let part = |name: &str| {
        let from = said.find(&format!("{name}: "))? + name.len() + 2;
        let text = &said[from..];
        Some(text.find(": ").map_or(text, |end| &text[..end]))
    };
    let amounts = |text: &str| -> Vec<(String, f64)> {
        let pairs = text.split(',').filter_map(|pair| pair.trim().split_once('='));
        pairs
            .filter_map(|(name, amount)| Some((name.to_owned(), quantity::value(amount)?)))
            .collect()
    };
    let (Some(requested), Some(limited)) = (part("requested"), part("limited")) else {
        return false;
    };
    let (requested, limited) = (amounts(requested), amounts(limited));
    let fits = |(name, amount): &(String, f64)| {
        let limit = limited.iter().find(|(known, _)| known == name);
        limit.is_some_and(|(_, limit)| amount <= limit)
    };
    said.contains("exceeded quota") && !requested.is_empty() && requested.iter().all(fits)
}
