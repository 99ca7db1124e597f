//! Checks that the example workflows are YAML of the expected structure, and that they use only existing commands of ours.

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
struct Step {
    uses: Option<String>,
    run: Option<String>,
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

/// The commands of ours in a step, split as the shell would split them.
fn commands(step: &Step) -> Vec<Vec<String>> {
    let script = step.run.as_deref().unwrap_or_default().replace("\\\n", " ");
    let ends = |word: &&str| ["&&", "||", "|", ";", ">", ">>"].contains(word);
    let lines = script.lines().filter_map(|line| {
        let (_, rest) = line.split_once("cargo xtask ")?;
        let words = rest.split_whitespace().take_while(|word| !ends(word));
        Some(words.map(|word| word.trim_matches(['"', '\'']).to_owned()).collect())
    });
    lines.collect()
}

fn parsed(words: &[String]) -> Command {
    let all = std::iter::once("cargo xtask").chain(words.iter().map(String::as_str));
    let flags = Flags::try_parse_from(all).unwrap_or_else(|error| panic!("cargo xtask {}: {error}", words.join(" ")));
    flags.command
}

#[test]
fn every_command_in_a_workflow_is_one_of_ours() {
    let mut count = 0;
    for (_, workflow) in workflows() {
        for words in workflow.jobs.values().flat_map(|job| &job.steps).flat_map(commands) {
            parsed(&words);
            count += 1;
        }
    }
    assert!(count >= 4, "{count}");
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
