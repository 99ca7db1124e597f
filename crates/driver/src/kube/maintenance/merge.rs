//! Joins the answers of several volume sets into one. Paths and lists name the set; figures are added up.

use std::collections::BTreeMap;

use hybrid_cache_model::contents::{Contents, EnvironmentContents, PartContents, VolumeContents};
use hybrid_cache_model::maintain::{GcReport, MaintainReport, Problem, UsageReport, VerifyReport};
use hybrid_cache_model::pod::PodMaintainReport;
use hybrid_cache_model::{Failure, FailureKind};

/// What one volume set answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetReport {
    /// The set's name.
    pub set: String,
    /// Its answer, or why there is none.
    pub report: Result<PodMaintainReport, Failure>,
}

/// The answers of all sets as one. That of a single set stays as it is.
///
/// # Errors
/// A set did not answer; the failure names all of these.
pub fn joined(reports: Vec<SetReport>) -> Result<PodMaintainReport, Failure> {
    if reports.len() <= 1 {
        let none = || Err(Failure::new(FailureKind::Internal, "no volume set was asked"));
        return reports.into_iter().next().map_or_else(none, |one| one.report);
    }
    let mut answers = Vec::new();
    let mut failures: Vec<(String, Failure)> = Vec::new();
    for SetReport { set, report } in reports {
        match report {
            Ok(PodMaintainReport::Failed { failure }) | Err(failure) => failures.push((set, failure)),
            Ok(report) => answers.push((set, report)),
        }
    }
    if let Some((_, first)) = failures.first() {
        let each = failures
            .iter()
            .map(|(set, failure)| format!("volume set {set}: {}", failure.message));
        return Err(Failure {
            message: each.collect::<Vec<_>>().join("; "),
            ..first.clone()
        });
    }
    let mut all = answers.into_iter().map(|(set, report)| named(&set, report));
    let first = all.next().unwrap_or(PodMaintainReport::Done);
    all.try_fold(first, add)
}

/// An answer with the set's name wherever it names something of its volumes.
fn named(set: &str, report: PodMaintainReport) -> PodMaintainReport {
    let name = |path: &mut String| *path = format!("set {set}: {path}");
    let problems = |problems: &mut Vec<Problem>| problems.iter_mut().for_each(|problem| name(&mut problem.path));
    let mut report = report;
    match &mut report {
        PodMaintainReport::SetAside { folders } => folders.iter_mut().for_each(name),
        PodMaintainReport::Maintained { report } => match report {
            MaintainReport::Usage(usage) => usage.largest.iter_mut().for_each(|one| name(&mut one.path)),
            MaintainReport::Gc(gc) => gc.warnings.iter_mut().for_each(name),
            MaintainReport::Verify(verify) => {
                problems(&mut verify.problems);
                problems(&mut verify.left_overs);
                verify.repaired.iter_mut().for_each(name);
            }
            MaintainReport::Contents(_) | MaintainReport::Failed { .. } => {}
        },
        PodMaintainReport::Done | PodMaintainReport::Failed { .. } => {}
    }
    report
}

fn add(one: PodMaintainReport, other: PodMaintainReport) -> Result<PodMaintainReport, Failure> {
    use PodMaintainReport::{Done, Maintained, SetAside};
    match (one, other) {
        (Done, Done) => Ok(Done),
        (SetAside { folders: one }, SetAside { folders: other }) => Ok(SetAside {
            folders: [one, other].concat(),
        }),
        (Maintained { report: one }, Maintained { report: other }) => Ok(Maintained {
            report: add_maintained(one, other)?,
        }),
        _ => Err(differs()),
    }
}

fn add_maintained(one: MaintainReport, other: MaintainReport) -> Result<MaintainReport, Failure> {
    use MaintainReport::{Contents, Gc, Usage, Verify};
    match (one, other) {
        (Usage(one), Usage(other)) => Ok(Usage(usage(one, other))),
        (Gc(mut one), Gc(other)) => {
            GcReport::add(&mut one, other);
            Ok(Gc(one))
        }
        (Verify(mut one), Verify(other)) => {
            VerifyReport::add(&mut one, other);
            Ok(Verify(one))
        }
        (Contents(one), Contents(other)) => Ok(Contents(contents(vec![one, other]))),
        _ => Err(differs()),
    }
}

fn differs() -> Failure {
    Failure::new(
        FailureKind::Internal,
        "the volume sets answered the same question differently",
    )
}

/// The usage of both: the layers, garbage and file systems of the same volume are added up.
fn usage(mut one: UsageReport, other: UsageReport) -> UsageReport {
    one.add(other);
    let layers = std::mem::take(&mut one.layers);
    for layer in layers {
        match one.layers.iter_mut().find(|known| known.layer == layer.layer) {
            Some(known) => {
                known.bytes += layer.bytes;
                known.inodes += layer.inodes;
                known.entries += layer.entries;
            }
            None => one.layers.push(layer),
        }
    }
    for garbage in std::mem::take(&mut one.garbage) {
        match one.garbage.iter_mut().find(|known| known.volume == garbage.volume) {
            Some(known) => {
                known.bytes += garbage.bytes;
                known.inodes += garbage.inodes;
            }
            None => one.garbage.push(garbage),
        }
    }
    for system in std::mem::take(&mut one.file_systems) {
        match one.file_systems.iter_mut().find(|known| known.volume == system.volume) {
            Some(known) => {
                known.total_bytes += system.total_bytes;
                known.free_bytes += system.free_bytes;
                known.total_inodes += system.total_inodes;
                known.free_inodes += system.free_inodes;
            }
            None => one.file_systems.push(system),
        }
    }
    one
}

/// What several sets hold, as if one volume held it: an environment that two sets have counts once, with its last use.
pub fn contents(all: Vec<Contents>) -> Contents {
    let volume = |pick: fn(&Contents) -> Option<&VolumeContents>| {
        let listed: Vec<&VolumeContents> = all.iter().filter_map(pick).collect();
        (!listed.is_empty()).then(|| volume_contents(&listed))
    };
    Contents {
        python: volume(|contents| contents.python.as_ref()),
        system: volume(|contents| contents.system.as_ref()),
    }
}

fn volume_contents(all: &[&VolumeContents]) -> VolumeContents {
    let mut rest = (0, 0);
    let mut parts: Vec<PartContents> = Vec::new();
    let mut places: BTreeMap<&str, u32> = BTreeMap::new();
    let mut environments: BTreeMap<&str, EnvironmentContents> = BTreeMap::new();
    for volume in all {
        rest = (rest.0 + volume.rest.0, rest.1 + volume.rest.1);
        for environment in &volume.environments {
            let known = environments.get(environment.name.as_str());
            if known.is_some_and(|known| known.used_us >= environment.used_us) {
                continue;
            }
            let own_parts = volume.parts_of(environment).map(|part| {
                *places.entry(part.0.as_str()).or_insert_with(|| {
                    parts.push(part.clone());
                    u32::try_from(parts.len() - 1).unwrap_or(u32::MAX)
                })
            });
            let environment = EnvironmentContents {
                parts: own_parts.collect(),
                ..environment.clone()
            };
            let name = volume.find(&environment.name).map_or("", |found| found.name.as_str());
            environments.insert(name, environment);
        }
    }
    VolumeContents {
        rest,
        parts,
        environments: environments.into_values().collect(),
    }
}

#[cfg(test)]
mod tests;
