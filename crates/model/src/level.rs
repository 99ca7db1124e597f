//! Cold, in levels: what there is before a run, and what the runner and the kernel saw of it.

use serde::{Deserialize, Serialize};

use crate::timeline::Temperature;

/// Largest share of the pages of a task's files that may be left in memory before a run whose page cache is cold, of those that were
/// in memory before they were dropped.
pub const MAX_RESIDENT_SHARE: f64 = 0.05;
/// Most bytes that a run may read from the disk if everything is warm.
pub const MAX_WARM_READ_BYTES: u64 = 1 << 20;

/// [`PagesSeen::of`] for the files of the task's environment.
pub const ENVIRONMENT: &str = "environment";

/// What there is before a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Neither tools nor caches: the run waits for both.
    Nothing,
    /// The tools, with empty caches.
    Tools,
    /// The tools and the downloaded packages, without an environment.
    Downloads,
    /// The environment, with none of its files in the page cache.
    Environment,
    /// Everything, in the page cache as well.
    Warm,
}

impl Level {
    /// All levels, coldest first.
    pub const ALL: [Level; 5] = [
        Level::Nothing,
        Level::Tools,
        Level::Downloads,
        Level::Environment,
        Level::Warm,
    ];

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Level::Nothing => "nothing",
            Level::Tools => "tools",
            Level::Downloads => "downloads",
            Level::Environment => "environment",
            Level::Warm => "warm",
        }
    }

    /// What there is before the run, in a phrase.
    pub fn explanation(self) -> &'static str {
        match self {
            Level::Nothing => "neither tools nor caches",
            Level::Tools => "tools, empty caches",
            Level::Downloads => "packages downloaded, no environment",
            Level::Environment => "environment, page cache cold",
            Level::Warm => "all warm",
        }
    }

    /// What the caches answer at this level.
    pub fn temperature(self) -> Temperature {
        match self {
            Level::Nothing | Level::Tools | Level::Downloads => Temperature::First,
            Level::Environment | Level::Warm => Temperature::Cached,
        }
    }

    /// The levels with more than this one, the next one first.
    pub fn warmer(self) -> impl Iterator<Item = Level> {
        Level::ALL.into_iter().filter(move |level| *level > self)
    }
}

/// What was seen of a run: by the folders of the caches and by the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LevelSeen {
    /// The Python cache; absent if the task asks for no Python packages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub python: Option<CacheSeen>,
    /// The system cache; absent if the task asks for no system packages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<CacheSeen>,
    /// The pages of the task's files just before the run, by kind of file; empty if they were not counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pages: Vec<PagesSeen>,
    /// Bytes that the run read from the disk, by the kernel's count for its processes; absent if the kernel does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_bytes: Option<u64>,
    /// Page faults of the run's processes that waited for the disk; absent if the kernel does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub major_faults: Option<u64>,
    /// The tools that were brought for this run; absent at all other levels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<ToolsSeen>,
}

/// What a cache held before a run, and what the run added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheSeen {
    /// Downloaded packages before the run: unpacked wheels, Debian packages, or store paths of nixpkgs.
    pub downloads: u64,
    /// Environments before the run: published ones, and store paths that were built for the task.
    pub environments: u64,
    /// Downloaded packages that came with the run.
    pub fetched: u64,
}

/// Pages of one kind of file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PagesSeen {
    /// Which files: `environment`, `interpreter` or `programs`.
    pub of: String,
    /// Number of files that are not empty.
    pub files: u64,
    /// Number of their pages.
    pub pages: u64,
    /// Pages in memory before they were dropped; absent if none were dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resident_before: Option<u64>,
    /// Pages in memory just before the run.
    pub resident: u64,
    /// Pages of which the kernel reports nothing to this user: those of other users' files. They count as
    /// in memory.
    #[serde(default)]
    pub unknown: u64,
}

/// Tools that were brought for one run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolsSeen {
    /// Microseconds that bringing them took; part of the run's time.
    pub bring_us: u64,
    /// Bytes that were brought, unpacked.
    pub bytes: u64,
    /// Tools that were brought.
    pub brought: Vec<String>,
    /// Tools that the machine has and that were not brought: these are not part of the time.
    pub found: Vec<String>,
}

impl LevelSeen {
    /// Share of the pages of a kind of file that were in memory before they were dropped and that still are just before the run, of
    /// the kind with the largest; `None` if none were
    /// counted. Pages that no run has brought into memory do not count, such as most of the interpreter's library.
    pub fn left_share(&self) -> Option<f64> {
        self.pages.iter().map(left_share).reduce(f64::max)
    }

    /// What was seen that cannot be at this level; empty if nothing contradicts it.
    pub fn contradictions(&self, level: Level) -> Vec<String> {
        let mut found = Vec::new();
        for (cache, seen) in [("python", self.python), ("system", self.system)] {
            if let Some(seen) = seen {
                found.extend(seen.contradictions(level).map(|what| format!("{cache} cache: {what}")));
            }
        }
        match level {
            Level::Nothing if self.tools.as_ref().is_none_or(|tools| tools.brought.is_empty()) => {
                found.push("no tool was brought, the machine has them all".to_owned());
            }
            Level::Environment => found.extend(self.is_not_cold()),
            Level::Warm => {
                let read = self.read_bytes.filter(|bytes| *bytes > MAX_WARM_READ_BYTES);
                found.extend(read.map(|bytes| format!("the run read {bytes} bytes from the disk")));
            }
            _ => {}
        }
        found
    }

    fn is_not_cold(&self) -> Option<String> {
        // Each kind by itself: one may be small beside another.
        let Some(share) = self.left_share() else {
            return Some("the pages of its files were not counted".to_owned());
        };
        if share <= MAX_RESIDENT_SHARE {
            return (self.read_bytes == Some(0)).then(|| "the run read nothing from the disk".to_owned());
        }
        let by_kind = self.pages.iter().map(|seen| {
            let unknown = match seen.unknown {
                0 => String::new(),
                pages => format!(" and {pages} unknown"),
            };
            let before = seen.resident_before.unwrap_or(seen.pages);
            format!("{} {} of {before}{unknown}", seen.of, seen.resident)
        });
        Some(format!(
            "{:.1} % of the pages of one kind were still in memory, at most {} % may be: {}",
            share * 100.0,
            MAX_RESIDENT_SHARE * 100.0,
            by_kind.collect::<Vec<_>>().join(", ")
        ))
    }
}

fn left_share(seen: &PagesSeen) -> f64 {
    let before = seen.resident_before.unwrap_or(seen.pages) + seen.unknown;
    // Page counts are far below 2^52.
    (seen.resident + seen.unknown) as f64 / before.max(1) as f64
}

impl CacheSeen {
    fn contradictions(self, level: Level) -> impl Iterator<Item = &'static str> {
        let empty = matches!(level, Level::Nothing | Level::Tools);
        let has_environment = matches!(level, Level::Environment | Level::Warm);
        [
            (empty && self.downloads > 0, "it held downloaded packages"),
            (!has_environment && self.environments > 0, "it held an environment"),
            (has_environment && self.environments == 0, "it held no environment"),
            (
                level == Level::Downloads && self.downloads == 0,
                "it held no downloaded package",
            ),
            (empty && self.fetched == 0, "the run downloaded nothing"),
            (!empty && self.fetched > 0, "the run downloaded packages"),
        ]
        .into_iter()
        .filter_map(|(is_so, what)| is_so.then_some(what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(downloads: u64, environments: u64, fetched: u64) -> Option<CacheSeen> {
        Some(CacheSeen {
            downloads,
            environments,
            fetched,
        })
    }

    fn pages(pages: u64, resident: u64, unknown: u64) -> Vec<PagesSeen> {
        vec![PagesSeen {
            of: ENVIRONMENT.to_owned(),
            files: 1,
            pages,
            resident_before: Some(pages),
            resident,
            unknown,
        }]
    }

    fn good(level: Level) -> LevelSeen {
        let tools = ToolsSeen {
            brought: vec!["uv".to_owned()],
            ..ToolsSeen::default()
        };
        LevelSeen {
            python: match level {
                Level::Nothing | Level::Tools => cache(0, 0, 3),
                Level::Downloads => cache(3, 0, 0),
                Level::Environment | Level::Warm => cache(3, 1, 0),
            },
            system: None,
            pages: pages(1000, if level == Level::Environment { 50 } else { 1000 }, 0),
            read_bytes: Some(if level == Level::Warm { 0 } else { 1 << 22 }),
            major_faults: Some(7),
            tools: (level == Level::Nothing).then_some(tools),
        }
    }

    #[test]
    fn each_level_is_distinct_from_every_other_by_what_was_seen() {
        for level in Level::ALL {
            assert_eq!(good(level).contradictions(level), Vec::<String>::new(), "{level:?}");
            for other in Level::ALL.into_iter().filter(|other| *other != level) {
                // Nothing is what tools are, with tools that were brought before.
                let is_alike = (level, other) == (Level::Nothing, Level::Tools);
                let found = good(level).contradictions(other);
                assert_eq!(found.is_empty(), is_alike, "{level:?} as {other:?}: {found:?}");
            }
        }
    }

    #[test]
    fn what_is_resident_or_unknown_does_not_count_as_cold() {
        let with = |seen: Vec<PagesSeen>, read_bytes| LevelSeen {
            pages: seen,
            read_bytes,
            ..good(Level::Environment)
        };
        let reported = |seen: &LevelSeen| seen.contradictions(Level::Environment).join("; ");
        assert!(
            reported(&with(pages(1000, 51, 0), None))
                .contains("5.1 % of the pages of one kind were still in memory, at most 5 %")
        );
        assert!(reported(&with(pages(1000, 0, 60), None)).contains("environment 0 of 1000 and 60 unknown"));
        for (environment, interpreter) in [((1000, 100), (100_000, 0)), ((100_000, 0), (1000, 100))] {
            let mut beside = pages(environment.0, environment.1, 0);
            beside.extend(pages(interpreter.0, interpreter.1, 0));
            beside[1].of = "interpreter".to_owned();
            assert!(
                reported(&with(beside, None)).contains("10.0 % of the pages"),
                "a small kind counts by itself"
            );
        }
        assert!(reported(&with(Vec::new(), None)).contains("not counted"));
        assert!(reported(&with(pages(1000, 0, 0), Some(0))).contains("read nothing"));
        assert_eq!(reported(&with(pages(1000, 0, 0), None)), "");
    }

    #[test]
    fn the_levels_are_ordered_from_cold_to_warm() {
        let warmer: Vec<Level> = Level::Downloads.warmer().collect();
        assert_eq!(warmer, [Level::Environment, Level::Warm]);
        assert_eq!(Level::Warm.warmer().count(), 0);
    }
}
