//! What the kernel has counted for the ended children of this process: a task's sandbox is one of them.

use hybrid_cache_model::level::LevelSeen;

/// Counters of this process and its ended children, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskReading {
    read_bytes: Option<u64>,
    major_faults: Option<u64>,
}

impl TaskReading {
    /// Reads them now.
    pub fn now() -> TaskReading {
        let text = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        TaskReading {
            read_bytes: read_bytes(&text("io")),
            major_faults: major_faults(&text("stat")),
        }
    }

    /// Adds to what was seen what was counted since `before`.
    pub fn add_since(&self, before: &TaskReading, seen: &mut LevelSeen) {
        let since = |now: Option<u64>, then: Option<u64>| Some(now?.saturating_sub(then?));
        seen.read_bytes = since(self.read_bytes, before.read_bytes);
        seen.major_faults = since(self.major_faults, before.major_faults);
    }
}

/// Bytes that were fetched from a disk (proc(5), `/proc/pid/io`).
fn read_bytes(io: &str) -> Option<u64> {
    io.lines()
        .find_map(|line| line.strip_prefix("read_bytes: "))?
        .trim()
        .parse()
        .ok()
}

/// Major faults of ended children (proc(5), `/proc/pid/stat`): the eleventh field after the program's name.
fn major_faults(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(10)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_counters_are_read_by_their_names_and_places() {
        assert_eq!(read_bytes("rchar: 5\nread_bytes: 4096\nwrite_bytes: 1\n"), Some(4096));
        assert_eq!(major_faults("7 (a) b) S 1 2 3 4 5 6 7 8 9 10 11 12"), Some(10));
        let missing = TaskReading::default();
        let mut seen = LevelSeen::default();
        TaskReading::now().add_since(&missing, &mut seen);
        assert_eq!(
            (seen.read_bytes, seen.major_faults),
            (None, None),
            "what is not counted is not reported"
        );
        assert_eq!((read_bytes(""), major_faults("")), (None, None));
    }
}
