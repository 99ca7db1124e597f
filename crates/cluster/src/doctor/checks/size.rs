//! Formats sizes in messages.

/// Formats a size as `1536 MiB` or `12 GiB`: two significant figures are enough to act on.
pub fn size(bytes: u64) -> String {
    match bytes >> 20 {
        mib @ 0..=9999 => format!("{mib} MiB"),
        mib => format!("{} GiB", mib >> 10),
    }
}
