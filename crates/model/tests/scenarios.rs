//! The committed scenarios: all of them load, and the three documented requests stand there word for word.
#![cfg(feature = "yaml")]

use std::path::{Path, PathBuf};

use hybrid_cache_model::scenario::ExpectedOutput;
use hybrid_cache_model::{Claim, Scenario, TaskSpec};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bench-scenarios")
}

fn load(path: &Path) -> Scenario {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Scenario::from_yaml(&path.display().to_string(), &text).unwrap_or_else(|error| panic!("{error}"))
}

fn named(name: &str) -> Scenario {
    load(&folder().join(format!("{name}.yaml")))
}

fn claims(scenario: &Scenario) -> [(f64, f64); 2] {
    let range = |claim: Option<Claim>| claim.map(|claim| (claim.min_s, claim.max_s)).expect("a claim");
    [range(scenario.expect.first), range(scenario.expect.cached)]
}

#[test]
fn every_file_of_the_folder_is_a_scenario_and_the_page_lists_it() {
    let readme = std::fs::read_to_string(folder().join("README.md")).unwrap();
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            names.push(load(&path).name);
        }
    }
    let count = names.len();
    assert!(count >= 3, "{names:?}");
    for name in names {
        assert!(
            readme.contains(&format!("`{name}.yaml`")),
            "bench-scenarios/README.md does not list {name}"
        );
    }
    let rows = readme.matches(".yaml` |").count();
    assert_eq!(rows, count, "bench-scenarios/README.md lists what is not there");
}

#[test]
fn python_only_is_the_documented_request() {
    let scenario = named("python-only");
    let code = "import numpy as np; print(np.array([1,2,3]))";
    assert_eq!(
        scenario.request,
        TaskSpec {
            dependencies: "numpy".into(),
            ..TaskSpec::new(code)
        }
    );
    assert_eq!(scenario.expect.stdout, ExpectedOutput::Equals("[1 2 3]".into()));
    assert_eq!(claims(&scenario), [(10.0, 60.0), (2.0, 5.0)]);
}

#[test]
fn system_only_is_the_documented_request() {
    let scenario = named("system-only");
    let code = r#"import subprocess; print(subprocess.run(["gcc", "--version"], capture_output=True).stdout.decode())"#;
    assert_eq!(
        scenario.request,
        TaskSpec {
            system_dependencies: "gcc".into(),
            ..TaskSpec::new(code)
        }
    );
    assert_eq!(claims(&scenario), [(5.0, 15.0), (2.0, 5.0)]);
    for first in ["gcc (GCC) 14.2.0", "gcc (Debian 12.2.0-14) 12.2.0"] {
        let output = format!("{first}\nCopyright (C) 2024 Free Software Foundation, Inc.\n");
        scenario.expect.stdout.check(&output).unwrap();
    }
    assert!(scenario.expect.stdout.check("").is_err());
}

#[test]
fn hybrid_is_the_documented_request() {
    let scenario = named("hybrid");
    let code = concat!(
        r#"import numpy as np; import subprocess; print("GCC:", subprocess.run(["gcc", "--version"], "#,
        r#"capture_output=True).stdout.decode()[:50]); print("NumPy:", np.array([1,2,3]))"#
    );
    let request = TaskSpec {
        dependencies: "numpy".into(),
        system_dependencies: "gcc".into(),
        ..TaskSpec::new(code)
    };
    assert_eq!(scenario.request, request);
    assert_eq!(claims(&scenario), [(15.0, 75.0), (4.0, 10.0)]);
    scenario
        .expect
        .stdout
        .check("GCC: gcc (GCC) 14.2.0\nCopyright (C) 2024 Free So\nNumPy: [1 2 3]\n")
        .unwrap();
}

#[test]
fn the_requirements_file_names_twenty_packages() {
    let task = named("requirements-file").request.check().unwrap();
    assert_eq!(task.requirements.len(), 20);
    assert!(
        task.requirements
            .iter()
            .any(|one| one.as_str() == "tqdm>=4.66,<5 ; sys_platform == \"linux\"")
    );
}
