//! Sizes in messages.

/// `1536 MiB`, `12 GiB`: two significant figures are enough to act on.
pub fn size(bytes: u64) -> String {
    match bytes >> 20 {
        mib @ 0..=9999 => format!("{mib} MiB"),
        mib => format!("{} GiB", mib >> 10),
    }
}
