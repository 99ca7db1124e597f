//! The program itself, started as `cargo xtask` starts it.

use std::io::Write;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Names the configuration that `cargo xtask test` writes once all tools are there.
const CONFIG_VARIABLE: &str = "HYBRID_CACHE_LOCAL_CONFIG";
/// No test waits longer than this for anything.
pub const PATIENCE: Duration = Duration::from_secs(120);

pub fn xtask(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// What a command came to.
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Ended {
        Ended {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ended {
    /// Ended with this code and printed all of this.
    pub fn with(&self, code: i32, reported: &[&str]) -> &Ended {
        assert_eq!(self.code, Some(code), "{}{}", self.stdout, self.stderr);
        for words in reported {
            assert!(self.stderr.contains(words), "{words:?} is not in: {}", self.stderr);
        }
        self
    }
}

pub fn ended(arguments: &[&str]) -> Ended {
    xtask(arguments).output().unwrap().into()
}

/// The same with something on standard input.
pub fn ended_with_input(arguments: &[&str], input: &[u8]) -> Ended {
    let mut command = xtask(arguments);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // One that refuses early does not read to the end.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap().into()
}

/// True, and a word about it, where nobody provisioned the tools: these tests would bring them otherwise.
pub fn no_tools(test: &str) -> bool {
    let missing = std::env::var_os(CONFIG_VARIABLE).is_none();
    if missing {
        println!("skipped: {test}: {CONFIG_VARIABLE} is not set; `cargo xtask test` sets it");
    }
    missing
}

/// Where the tools cannot make system packages either.
pub fn no_nix(test: &str) -> bool {
    let Some(file) = std::env::var_os(CONFIG_VARIABLE) else {
        return no_tools(test);
    };
    let config: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let missing = config["system"].is_null();
    if missing {
        println!("skipped: {test}: this machine has no Nix");
    }
    missing
}

/// Waits until `has_come` is true, and kills the child if it never is.
pub fn wait_until(child: &mut Child, what: &str, has_come: impl Fn() -> bool) {
    let began = Instant::now();
    while !has_come() {
        if began.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("{what} did not come");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits for the end of a child, and kills it where there is none.
pub fn wait(mut child: Child) -> Ended {
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if began.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!(
                "it does not end: {}",
                Ended::from(child.wait_with_output().unwrap()).stderr
            );
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap().into()
}
