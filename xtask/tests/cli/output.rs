//! Standard output that is full or closed: no panic, and never the exit code of success.

use std::fs::File;
use std::process::Stdio;

use crate::program::{Ended, wait, xtask};

/// Commands that print to standard output and need nothing.
const PRINTING: [&[&str]; 3] = [&["help"], &["run", "--help"], &["--version"]];

fn with_stdout(arguments: &[&str], stdout: impl Into<Stdio>) -> Ended {
    let mut command = xtask(arguments);
    wait(command.stdout(stdout).stderr(Stdio::piped()).spawn().unwrap())
}

#[test]
fn a_full_disk_fails_and_says_what_was_lost() {
    for arguments in PRINTING {
        let full = File::options().write(true).open("/dev/full").unwrap();
        with_stdout(arguments, full).with(1, &["error: output is lost", "No space left on device"]);
    }
}

#[test]
fn a_reader_that_has_gone_ends_as_after_sigpipe() {
    for arguments in PRINTING {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ended = with_stdout(arguments, writer);
        ended.with(141, &[]);
        assert_eq!(ended.stderr, "");
    }
}

#[test]
fn a_reports_text_that_is_lost_is_no_success() {
    let baseline = concat!(env!("CARGO_MANIFEST_DIR"), "/../reports/baseline");
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(baseline)
        .unwrap()
        .flatten()
        .filter(|entry| entry.path().is_file())
    {
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let run = copy.path().to_str().unwrap();
    for arguments in [&["report", run][..], &["report", run, "--json"], &["compare", run, run]] {
        with_stdout(arguments, Stdio::null()).with(0, &[]);
        let full = File::options().write(true).open("/dev/full").unwrap();
        with_stdout(arguments, full).with(1, &["error: output is lost"]);
    }
}
