//! Builds of the image by a real Docker engine.
//!
//! Without an engine that the docker CLI reaches, a test says `skipped: <test>: <why>` and ends.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const TEST: &str = "the image";

pub fn docker(arguments: &[&str]) -> Output {
    Command::new("docker")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn engine_answers() -> bool {
    let asked = Command::new("docker")
        .args(["version", "--format", "{{.Server.Version}}"])
        .stdin(Stdio::null())
        .output();
    asked.is_ok_and(|output| output.status.success())
}

/// Builds with `--base debian`; none where this machine cannot.
pub fn build(more: &[&str]) -> Option<Value> {
    build_with(None, more)
}

/// The same, with a settings file of an operator.
pub fn build_with(settings: Option<&Path>, more: &[&str]) -> Option<Value> {
    if !engine_answers() {
        println!("skipped: {TEST}: `docker version` reaches no engine");
        return None;
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(["image", "--base", "debian", "--json"]).args(more);
    match settings {
        Some(file) => command.env("HYBRID_CACHE_SETTINGS", file),
        None => command.env_remove("HYBRID_CACHE_SETTINGS"),
    };
    let output = command.stdin(Stdio::null()).output().unwrap();
    let reported = String::from_utf8_lossy(&output.stderr);
    // 4: something is missing on this machine.
    if output.status.code() == Some(4) {
        println!("skipped: {TEST}: {reported}");
        return None;
    }
    assert!(output.status.success(), "{reported}");
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// When the engine gave the image its name, which it does at the end of each build.
pub fn tagged_at(image: &str) -> String {
    let output = docker(&["image", "inspect", "--format", "{{.Metadata.LastTagTime}}", image]);
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}
