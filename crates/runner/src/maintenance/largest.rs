//! The largest environments, from the ledger alone.

use std::cmp::Reverse;

use hybrid_cache_model::maintain::EnvironmentUsage;

use crate::ledger::{Ledger, Member};
use crate::store::measure::DiskUsage;

/// How many environments are named.
const MAX_ENVIRONMENTS: usize = 10;
/// How many of an environment's packages are named.
const MAX_PACKAGES: usize = 3;
/// Longest package name in characters; a name in a damaged file can be arbitrarily long.
const MAX_NAME_CHARS: usize = 60;

/// The environments whose eviction would free most, in descending order. `packages` lists the packages of one.
pub fn largest(ledger: &Ledger, volume: &str, packages: impl Fn(&Member) -> Vec<String>) -> Vec<EnvironmentUsage> {
    let uses = ledger.uses();
    let weigh = |member: &Member| {
        let (mut all, mut own) = (member.own, member.own);
        for id in &member.parts {
            let size = ledger.parts().get(id).map(|part| part.size).unwrap_or_default();
            all += size;
            if uses.get(id) == Some(&1) {
                own += size;
            }
        }
        (all, own)
    };
    let mut weighed: Vec<(&Member, DiskUsage, DiskUsage)> = ledger
        .members()
        .values()
        .map(|member| {
            let (all, own) = weigh(member);
            (member, all, own)
        })
        .collect();
    weighed.sort_by_key(|(member, _, own)| (Reverse(own.bytes), &member.name));
    weighed.truncate(MAX_ENVIRONMENTS);
    let shown = |(member, all, own): (&Member, DiskUsage, DiskUsage)| {
        let packages = packages(member);
        let few = packages.iter().take(MAX_PACKAGES);
        EnvironmentUsage {
            path: member.name.clone(),
            volume: volume.to_owned(),
            packages: few.map(|name| name.chars().take(MAX_NAME_CHARS).collect()).collect(),
            more_packages: packages.len().saturating_sub(MAX_PACKAGES) as u64,
            bytes: all.bytes,
            inodes: all.inodes,
            frees_bytes: own.bytes,
            frees_inodes: own.inodes,
            used_s: member.used_us / 1_000_000,
        }
    };
    weighed.into_iter().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Part, id};

    fn size(bytes: u64) -> DiskUsage {
        DiskUsage {
            bytes,
            inodes: bytes / 10,
            entries: 0,
        }
    }

    #[test]
    fn an_environments_size_counts_shared_parts_and_its_eviction_frees_only_its_own() {
        let mut ledger = Ledger::default();
        for (name, bytes) in [("wheels/a", 1000), ("wheels/b", 400), ("wheels/nobody", 9000)] {
            ledger.add_part(Part {
                name: name.to_owned(),
                mark: 0,
                size: size(bytes),
            });
        }
        for (name, own, parts) in [
            ("one", 10, vec!["wheels/a"]),
            ("two", 20, vec!["wheels/a", "wheels/b", "wheels/gone"]),
        ] {
            ledger.add_member(Member {
                name: name.to_owned(),
                used_us: 7_000_001,
                stamp: 1,
                own: size(own),
                parts: parts.into_iter().map(id).collect(),
            });
        }
        let packages = |_: &Member| (0..5).map(|number| format!("p{number}==1")).collect();
        let found = largest(&ledger, "python", packages);
        let seen: Vec<_> = found
            .iter()
            .map(|one| (one.path.as_str(), one.bytes, one.frees_bytes, one.frees_inodes))
            .collect();
        assert_eq!(seen, [("two", 1420, 420, 42), ("one", 1010, 10, 1)]);
        assert_eq!(
            (found[0].packages.len(), found[0].more_packages, found[0].used_s),
            (3, 2, 7)
        );
    }

    #[test]
    fn only_the_largest_environments_are_listed() {
        let mut ledger = Ledger::default();
        for number in 0..50_u64 {
            ledger.add_member(Member {
                name: format!("env-{number:02}"),
                used_us: 0,
                stamp: number,
                own: size(number),
                parts: Vec::new(),
            });
        }
        let found = largest(&ledger, "system", |_| Vec::new());
        assert_eq!(found.len(), MAX_ENVIRONMENTS);
        assert!(found[0].path == "env-49" && found[MAX_ENVIRONMENTS - 1].path == "env-40");
    }
}
