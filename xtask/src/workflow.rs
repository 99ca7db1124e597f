//! Checks that the example workflows and the action are YAML of the expected structure, and that they use only existing commands
//! of ours.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use serde::Deserialize;

use crate::flags::{Command, Flags};

#[derive(Deserialize)]
struct Workflow {
    name: String,
    permissions: BTreeMap<String, String>,
    jobs: BTreeMap<String, Job>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Job {
    runs_on: String,
    timeout_minutes: u32,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Action {
    inputs: BTreeMap<String, BTreeMap<String, serde_json::Value>>,
    outputs: BTreeMap<String, BTreeMap<String, String>>,
    runs: ActionRuns,
}

#[derive(Deserialize)]
struct ActionRuns {
    using: String,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    id: Option<String>,
    uses: Option<String>,
    run: Option<String>,
    shell: Option<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(rename = "if")]
    condition: Option<String>,
}

fn workflows() -> Vec<(PathBuf, Workflow)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.github/workflows");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let read = |file: PathBuf| {
        let text = fs::read_to_string(&file).unwrap();
        let workflow = serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        (file, workflow)
    };
    files.map(read).collect()
}

fn action() -> Action {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.github/actions/bench/action.yml");
    serde_yaml::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

/// Every step of the workflows and of the action.
fn steps() -> Vec<Step> {
    let jobs = workflows()
        .into_iter()
        .flat_map(|(_, workflow)| workflow.jobs.into_values());
    jobs.flat_map(|job| job.steps).chain(action().runs.steps).collect()
}

/// A word without its quotes, and without the `${NAME:+…}` that adds it if a variable is set.
fn bare(word: &str) -> String {
    let optional = word.strip_prefix("${").and_then(|rest| rest.split_once(":+"));
    let word = optional.map_or(word, |(_, rest)| rest);
    let word = word
        .strip_suffix('}')
        .filter(|rest| !rest.contains("${"))
        .unwrap_or(word);
    let word = word.replace(['"', '\''], "");
    // A number that a variable holds.
    match word.split_once("-runs=$") {
        Some((flag, _)) => format!("{flag}-runs=1"),
        None => word,
    }
}

/// The command, or two if it may have one of two options that exclude each other.
fn variants(words: Vec<String>) -> Vec<Vec<String>> {
    let without = |flag: &str| -> Vec<String> {
        let others = words.iter().filter(|word| !word.starts_with(flag));
        others.cloned().collect()
    };
    let has = |flag: &str| words.iter().any(|word| word.starts_with(flag));
    if has("--against") && has("--baseline") {
        return vec![without("--against"), without("--baseline")];
    }
    vec![words]
}

/// The commands of ours in a step, split as the shell would split them.
fn commands(step: &Step) -> Vec<Vec<String>> {
    let script = step.run.as_deref().unwrap_or_default().replace("\\\n", " ");
    let ends = |word: &&str| ["&&", "||", "|", ";", ">", ">>"].contains(word);
    let lines = script.lines().filter_map(|line| {
        let (_, rest) = line.split_once("cargo xtask ")?;
        let words = rest.split_whitespace().take_while(|word| !ends(word));
        Some(words.map(bare).collect())
    });
    lines.flat_map(variants).collect()
}

fn parsed(words: &[String]) -> Command {
    let all = std::iter::once("cargo xtask").chain(words.iter().map(String::as_str));
    let flags = Flags::try_parse_from(all).unwrap_or_else(|error| panic!("cargo xtask {}: {error}", words.join(" ")));
    flags.command
}

#[test]
fn every_command_in_a_workflow_is_one_of_ours() {
    let all: Vec<Vec<String>> = steps().iter().flat_map(commands).collect();
    all.iter().for_each(|words| drop(parsed(words)));
    let of = |flag: &str| {
        all.iter()
            .filter(|words| words.iter().any(|word| word.starts_with(flag)))
            .count()
    };
    assert!(all.len() >= 6, "{all:?}");
    assert_eq!(
        [of("--against"), of("--summary"), of("--allow-undecided")],
        [2, 3, 3],
        "{all:?}"
    );
}

#[test]
fn no_value_from_outside_becomes_part_of_a_script() {
    for step in steps() {
        let script = step.run.unwrap_or_default();
        assert!(!script.contains("${{"), "give it as a variable: {script}");
    }
}

#[test]
fn the_action_uses_each_of_its_inputs_and_gives_each_of_its_outputs() {
    let Action { inputs, outputs, runs } = action();
    assert_eq!(runs.using, "composite");
    let scripts = runs.steps.iter().filter(|step| step.run.is_some());
    assert!(scripts.clone().all(|step| step.shell.as_deref() == Some("bash")));
    let used: Vec<&String> = runs.steps.iter().flat_map(|step| step.env.values()).collect();
    for (name, input) in &inputs {
        let uses = |value: &&&String| value.contains(&format!("inputs.{name} "));
        assert_eq!(used.iter().filter(uses).count(), 1, "{name}");
        assert!(input.contains_key("default") || input["required"] == true, "{name}");
    }
    for (name, output) in &outputs {
        let given = output["value"].trim_matches(['$', '{', '}', ' ']);
        let (step, output) = given.strip_prefix("steps.").unwrap().split_once(".outputs.").unwrap();
        let step = runs.steps.iter().find(|own| own.id.as_deref() == Some(step)).unwrap();
        assert!(
            step.run.as_ref().unwrap().contains(&format!("echo \"{output}=")),
            "{name}"
        );
    }
}

#[test]
fn what_a_workflow_makes_it_takes_down_and_what_it_uses_is_pinned() {
    for (file, workflow) in workflows() {
        let name = format!("{}: {}", file.display(), workflow.name);
        assert_eq!(
            workflow.permissions.get("contents").map(String::as_str),
            Some("read"),
            "{name}"
        );
        for job in workflow.jobs.values() {
            assert!(
                job.runs_on.contains('-') && job.timeout_minutes <= 120,
                "{name}: a fixed image, a deadline"
            );
            let ours = |step: &Step| -> Vec<Command> { commands(step).iter().map(|words| parsed(words)).collect() };
            let makes = |step: &Step| ours(step).iter().any(|command| matches!(command, Command::Up(_)));
            let ends = |step: &Step| ours(step).iter().any(|command| matches!(command, Command::Down(_)));
            if job.steps.iter().any(makes) {
                let last = job.steps.last().unwrap();
                assert!(ends(last) && last.condition.as_deref() == Some("always()"), "{name}");
            }
            for action in job.steps.iter().filter_map(|step| step.uses.as_deref()) {
                let (_, version) = action
                    .split_once('@')
                    .unwrap_or_else(|| panic!("{name}: {action} is not pinned"));
                let is_hash = version.len() == 40 && version.bytes().all(|byte| byte.is_ascii_hexdigit());
                let is_tag = version
                    .strip_prefix('v')
                    .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
                assert!(is_hash || is_tag, "{name}: {action} follows a branch");
            }
        }
    }
}
