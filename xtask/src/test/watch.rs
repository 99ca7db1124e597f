//! Runs one test program for cargo and gives each of its tests a time limit, so that a test that hangs fails and is named.
//!
//! libtest has no limit of its own. It reports a test that has run for 60 s, and it reports each end; a program that reports
//! nothing for longer than the limit hangs as well. Both together also hold if tests run one after another.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use hybrid_cache_tools::failed;
use hybrid_cache_tools::{ErrorContext, Result};

use crate::exit::Exit;
use crate::flags;

/// After this long libtest says that a test is still running.
const LIBTEST_REPORTS_AFTER: Duration = Duration::from_secs(60);
/// How often the limit is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is known of the tests of one program that have not ended.
struct TestProgress {
    limit: Duration,
    /// When a line came last.
    heard: Instant,
    /// Tests that libtest has reported as still running, with the time at which each began.
    slow: BTreeMap<String, Instant>,
    /// The last line, if it is not complete: the name of the one test that runs.
    open: String,
}

impl TestProgress {
    fn new(limit: Duration, now: Instant) -> TestProgress {
        TestProgress {
            limit,
            heard: now,
            slow: BTreeMap::new(),
            open: String::new(),
        }
    }

    /// Takes a piece of output, which ends with a line break or is the open end of what came so far.
    fn take(&mut self, piece: &str, now: Instant) {
        self.heard = now;
        self.open.push_str(piece);
        if !self.open.ends_with('\n') {
            return;
        }
        let line = std::mem::take(&mut self.open);
        let Some(rest) = line.trim_end().strip_prefix("test ") else {
            return;
        };
        if let Some((name, _)) = rest.split_once(" has been running for over ") {
            let began = now.checked_sub(LIBTEST_REPORTS_AFTER).unwrap_or(now);
            self.slow.insert(name.to_owned(), began);
        } else if let Some((name, _)) = rest.split_once(" ... ") {
            self.slow.remove(name);
        }
    }

    /// The tests that have run for too long; empty names nobody, but the program hangs. `None`: all is well.
    fn hanging(&self, now: Instant) -> Option<Vec<String>> {
        let beyond = |began: &Instant| now.duration_since(*began) > self.limit;
        let slow: Vec<_> = self.slow.iter().filter(|(_, began)| beyond(began)).collect();
        if !slow.is_empty() {
            return Some(slow.into_iter().map(|(name, _)| name.clone()).collect());
        }
        if now.duration_since(self.heard) <= self.limit {
            return None;
        }
        let open = self
            .open
            .strip_prefix("test ")
            .and_then(|rest| rest.split_once(" ... "));
        let running = open.map(|(name, _)| name.to_owned()).into_iter();
        Some(running.chain(self.slow.keys().cloned()).collect())
    }
}

/// Runs the command.
///
/// # Errors
/// The program cannot be started.
pub fn run(flags: &flags::WatchTest) -> Result<Exit> {
    let limit = Duration::from_secs(flags.seconds);
    let (program, name) = (&flags.program, flags.program.display());
    let mut child = Command::new(program)
        .args(&flags.arguments)
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {name}"))?;
    let stdout = child.stdout.take().context("a test program without standard output")?;
    let (send, pieces) = mpsc::sync_channel(64);
    // Ends with the program's output, or with this process.
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stdout);
        while let Ok(bytes) = reader.fill_buf() {
            // Up to the end of a line, or what there is of one.
            let length = bytes
                .iter()
                .position(|byte| *byte == b'\n')
                .map_or(bytes.len(), |at| at + 1);
            let piece = bytes.get(..length).unwrap_or_default().to_vec();
            reader.consume(length);
            if piece.is_empty() || send.send(piece).is_err() {
                return;
            }
        }
    });
    let mut progress = TestProgress::new(limit, Instant::now());
    let mut ended = None;
    loop {
        match pieces.recv_timeout(LOOK_EVERY) {
            Ok(piece) => {
                // A reader that has gone does not end the tests.
                let mut to = std::io::stdout().lock();
                let _ = to.write_all(&piece).and_then(|()| to.flush());
                progress.take(&String::from_utf8_lossy(&piece), Instant::now());
            }
            // What the program left running may keep its output open.
            Err(RecvTimeoutError::Timeout) if ended.is_some() => break,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if let Some(tests) = progress.hanging(Instant::now()) {
            child.kill().with_context(|| format!("ending {name}"))?;
            let who = if tests.is_empty() {
                "a test".to_owned()
            } else {
                tests.join(", ")
            };
            println!();
            return Err(failed!(
                "{name}: {who}: not done after {} s, so its program was killed\nhint: \
                 `cargo xtask test --limit SECONDS` allows more",
                limit.as_secs()
            ));
        }
        ended = child.try_wait()?;
    }
    let status = child.wait().with_context(|| format!("waiting for {name}"))?;
    if status.code().is_none() {
        eprintln!("{name}: {status}");
    }
    Ok(if status.success() { Exit::Good } else { Exit::Failed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_beyond_its_limit_is_named_and_others_are_not() {
        let began = Instant::now();
        let at = |seconds: u64| began + Duration::from_secs(seconds);
        let mut progress = TestProgress::new(Duration::from_secs(100), began);
        progress.take("running 3 tests\n", at(0));
        for name in ["stuck", "slow"] {
            progress.take(
                &format!("test a::{name} has been running for over 60 seconds\n"),
                at(60),
            );
        }
        progress.take("test a::slow ... ok\n", at(90));
        assert_eq!(progress.hanging(at(100)), None);
        progress.take("test a::quick ... ok\n", at(101));
        assert_eq!(progress.hanging(at(101)), Some(vec!["a::stuck".to_owned()]));
    }

    #[test]
    fn a_silent_program_hangs_and_its_open_line_names_the_test() {
        let began = Instant::now();
        let mut progress = TestProgress::new(Duration::from_secs(5), began);
        let late = began + Duration::from_secs(6);
        assert_eq!(progress.hanging(late), Some(Vec::new()));
        progress.take("test one ... ", began);
        assert_eq!(progress.hanging(began + Duration::from_secs(5)), None);
        assert_eq!(progress.hanging(late), Some(vec!["one".to_owned()]));
        progress.take("ok\n", late);
        assert_eq!(progress.hanging(late), None);
    }
}
