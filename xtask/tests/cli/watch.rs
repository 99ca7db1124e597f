//! `watch-test`, with programs that print what libtest prints.

use std::time::{Duration, Instant};

use crate::program::ended;

fn watched(script: &str) -> crate::program::Ended {
    ended(&["watch-test", "--seconds", "2", "/bin/sh", "-c", script])
}

#[test]
fn a_test_that_hangs_fails_in_time_and_is_named() {
    let began = Instant::now();
    let hanging =
        watched("echo 'running 2 tests'; echo 'test a::good ... ok'; printf 'test a::stuck ... '; exec sleep 60");
    hanging.with(1, &["a::stuck: not done after 2 s", "hint: ", "test --limit"]);
    assert!(hanging.stdout.contains("test a::good ... ok\n"), "{}", hanging.stdout);
    let known = watched("echo 'test a::stuck has been running for over 60 seconds'; exec sleep 60");
    known.with(1, &["a::stuck: not done after 2 s"]);
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
}

#[test]
fn output_and_end_of_a_test_program_are_passed_on() {
    let good = watched("echo to stdout; echo to stderr >&2; sleep 1.5; sleep 1 & echo more");
    good.with(0, &["to stderr"]);
    assert_eq!(good.stdout, "to stdout\nmore\n");
    watched("echo 'test a ... FAILED'; exit 101").with(1, &[]);
    watched("kill -KILL $$").with(1, &["signal: 9"]);
}
