//! Ids of tasks, epochs and temporary names: how new ones are made, and what a caller may supply.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// Longest id that a caller may supply. A pod's name adds five characters of Kubernetes' own, and a Job's name is also a
/// label, which holds at most 63 characters.
pub const MAX_ID_BYTES: usize = 50;

/// A new id: `prefix-` and ten random characters of base32. It is unique among processes and machines.
pub fn unique(prefix: &str) -> String {
    const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let time = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    // The keys of a RandomState are random for each process. The id need not be hard to guess.
    let mut bits = RandomState::new().hash_one((time, count, std::process::id()));
    let mut text = format!("{prefix}-");
    for _ in 0..10 {
        text.push(char::from(DIGITS[usize::from((bits & 31) as u8)]));
        bits >>= 5;
    }
    text
}

/// True if a caller may supply this id: `a-z`, `0-9` and `-`, a letter first, at most [`MAX_ID_BYTES`].
pub fn is_valid(id: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    id.starts_with(|c: char| c.is_ascii_lowercase()) && id.len() <= MAX_ID_BYTES && id.chars().all(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_ids_differ_and_are_valid() {
        let ids: std::collections::HashSet<String> = (0..1000).map(|_| unique("task")).collect();
        assert_eq!(ids.len(), 1000);
        for id in &ids {
            assert!(is_valid(id), "{id}");
            assert_eq!(id.len(), "task-".len() + 10);
        }
    }
}
