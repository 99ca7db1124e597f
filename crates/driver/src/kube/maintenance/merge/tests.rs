//! Joined answers name the sets, add up figures, and hide no failure.

use hybrid_cache_model::budget::FileSystemUsage;
use hybrid_cache_model::maintain::{EnvironmentUsage, LayerUsage};

use super::*;

fn from(set: &str, report: MaintainReport) -> SetReport {
    SetReport {
        set: set.to_owned(),
        report: Ok(PodMaintainReport::Maintained { report }),
    }
}

fn maintained(reports: Vec<SetReport>) -> MaintainReport {
    match joined(reports).unwrap() {
        PodMaintainReport::Maintained { report } => report,
        other => panic!("{other:?}"),
    }
}

fn usage_of(bytes: u64) -> MaintainReport {
    MaintainReport::Usage(UsageReport {
        layers: vec![LayerUsage {
            layer: "python/envs".to_owned(),
            bytes,
            inodes: 1,
            entries: 1,
        }],
        file_systems: vec![FileSystemUsage {
            volume: "python".to_owned(),
            total_bytes: 10 * bytes,
            ..FileSystemUsage::default()
        }],
        environments: 1,
        largest: vec![EnvironmentUsage {
            path: "envs/a".to_owned(),
            frees_bytes: bytes,
            ..EnvironmentUsage::default()
        }],
        ..UsageReport::default()
    })
}

#[test]
fn usage_is_added_up_and_the_largest_name_their_set() {
    let MaintainReport::Usage(usage) = maintained(vec![from("0", usage_of(1)), from("1", usage_of(2))]) else {
        panic!("it is a usage")
    };
    assert_eq!(
        (usage.layers.len(), usage.volume_bytes("python"), usage.environments),
        (1, 3, 2)
    );
    assert_eq!((usage.file_systems.len(), usage.file_systems[0].total_bytes), (1, 30));
    let paths: Vec<&str> = usage.largest.iter().map(|one| one.path.as_str()).collect();
    assert_eq!(paths, ["set 1: envs/a", "set 0: envs/a"]);
}

#[test]
fn problems_and_warnings_name_their_set() {
    let problem = || Problem {
        path: "envs/a".to_owned(),
        what: "it is damaged".to_owned(),
    };
    let verify = |problems| {
        MaintainReport::Verify(VerifyReport {
            environments: 1,
            problems,
            ..VerifyReport::default()
        })
    };
    let answers = vec![from("0", verify(vec![])), from("left", verify(vec![problem()]))];
    let MaintainReport::Verify(report) = maintained(answers) else {
        panic!("it is a verification")
    };
    assert_eq!(
        (report.environments, report.problems[0].path.as_str()),
        (2, "set left: envs/a")
    );
    let gc = |warning: &str| {
        MaintainReport::Gc(GcReport {
            freed_bytes: 5,
            warnings: vec![warning.to_owned()],
            ..GcReport::default()
        })
    };
    let MaintainReport::Gc(report) = maintained(vec![from("0", gc("a")), from("1", gc("b"))]) else {
        panic!("it is a collection")
    };
    assert_eq!(
        (report.freed_bytes, report.warnings),
        (10, vec!["set 0: a".to_owned(), "set 1: b".to_owned()])
    );
}

#[test]
fn a_set_that_does_not_answer_is_named_and_one_set_is_as_it_was() {
    let lost = SetReport {
        set: "1".to_owned(),
        report: Err(Failure::new(FailureKind::Unschedulable, "no node")),
    };
    let failure = joined(vec![from("0", usage_of(1)), lost.clone()]).unwrap_err();
    assert_eq!(
        (failure.kind, failure.message.as_str()),
        (FailureKind::Unschedulable, "volume set 1: no node")
    );
    assert_eq!(joined(vec![lost]).unwrap_err().message, "no node");
    assert_eq!(maintained(vec![from("0", usage_of(1))]), usage_of(1));
    assert!(
        joined(vec![
            from("0", usage_of(1)),
            from("1", MaintainReport::Gc(GcReport::default()))
        ])
        .is_err()
    );
}

#[test]
fn what_two_sets_hold_counts_once() {
    let listed = |used_us: u64, parts: &[&str]| Contents {
        python: Some(VolumeContents {
            rest: (10, 1),
            parts: parts
                .iter()
                .map(|part| PartContents((*part).to_owned(), 100, 1))
                .collect(),
            environments: vec![
                EnvironmentContents {
                    name: "both".to_owned(),
                    label: String::new(),
                    used_us,
                    own: (1, 1),
                    parts: vec![1],
                },
                EnvironmentContents {
                    name: format!("of {used_us}"),
                    label: String::new(),
                    used_us,
                    own: (1, 1),
                    parts: vec![0, 1],
                },
            ],
        }),
        system: None,
    };
    let joined = contents(vec![listed(1, &["a", "shared"]), listed(2, &["b", "shared"])]);
    assert_eq!(joined.system, None);
    let python = joined.python.unwrap();
    assert_eq!(
        (python.rest, python.parts.len(), python.environments.len()),
        ((20, 2), 3, 3)
    );
    let both = python.find("both").unwrap();
    assert_eq!(both.used_us, 2);
    let parts: Vec<&str> = python.parts_of(both).map(|part| part.0.as_str()).collect();
    assert_eq!(parts, ["shared"]);
    let of_second: Vec<&str> = python
        .parts_of(python.find("of 2").unwrap())
        .map(|part| part.0.as_str())
        .collect();
    assert_eq!(of_second, ["b", "shared"]);
}
