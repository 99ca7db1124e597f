//! A program's output: bounded in size and memory, followed while it comes.

use hybrid_cache_driver::Driver;
use hybrid_cache_model::TaskSpec;
use hybrid_cache_model::protocol::Limits;

use crate::bench::{Bench, machine};
use crate::roles::Play;

/// Most memory that a driver in a process of its own may ever have used, in KiB, with 16 MiB of output held.
const MAX_DRIVER_KIB: u64 = 96 << 10;

/// Runs a task in a driver of its own; the outcome, and the most memory that driver used in KiB.
fn run_alone(bench: &Bench, code: &str) -> (serde_json::Value, u64) {
    let reported = Play::new(&bench.config, &[TaskSpec::new(code)]).run(&[]);
    let lines: Vec<serde_json::Value> = reported
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let [ran, end] = &lines[..] else { panic!("{reported}") };
    (ran["outcome"].clone(), end["most_memory_kib"].as_u64().unwrap())
}

#[tokio::test]
async fn a_gigabyte_is_cut_and_the_driver_stays_small() {
    let Some(config) = machine("a_gigabyte_is_cut_and_the_driver_stays_small") else {
        return;
    };
    let bench = Bench::shared(config);
    let code = "import os\nblock = b'x' * (1 << 20)\nfor _ in range(1024):\n    n = 0\n    while n < len(block): n += os.write(1, block[n:])";
    let (outcome, most_kib) = run_alone(&bench, code);
    let limit = Limits::default().output_bytes;
    assert_eq!(outcome["end"], "exited", "{outcome}");
    assert_eq!(outcome["stdout"]["written_bytes"], 1u64 << 30);
    assert_eq!(outcome["stdout"]["passed_bytes"], limit);
    assert!(
        outcome["warnings"][0]
            .as_str()
            .unwrap()
            .contains("standard output was cut"),
        "{outcome}"
    );
    assert!(most_kib < MAX_DRIVER_KIB, "{most_kib} KiB");
}

#[tokio::test]
async fn a_million_single_bytes_cost_the_driver_no_more() {
    let Some(config) = machine("a_million_single_bytes_cost_the_driver_no_more") else {
        return;
    };
    let bench = Bench::shared(config);
    // A pause after each, so that the runner passes most of them on one by one.
    let code = "import os, time\nfor _ in range(300_000):\n    os.write(1, b'x')\n    os.sched_yield()";
    let (outcome, most_kib) = run_alone(&bench, code);
    assert_eq!(outcome["stdout"]["passed_bytes"], 300_000, "{outcome}");
    assert!(most_kib < 40 << 10, "{most_kib} KiB");
}

#[tokio::test]
async fn the_first_line_arrives_before_the_program_ends() {
    let Some(config) = machine("the_first_line_arrives_before_the_program_ends") else {
        return;
    };
    let bench = Bench::shared(config);
    let ticket = bench
        .submit(&TaskSpec::new(
            "import time; print('first'); time.sleep(600); print('last')",
        ))
        .await;
    bench.until_printed(&ticket, "first\n").await;
    let now = std::time::Duration::ZERO;
    assert!(
        tokio::time::timeout(now, bench.driver.wait(&ticket)).await.is_err(),
        "it has ended already"
    );
    bench.driver.cancel(&ticket).await.unwrap();
    assert_eq!(bench.finish(&ticket).await.stdout, "first\n");
}

#[tokio::test]
async fn bytes_that_are_not_text_pass_in_both_streams() {
    let Some(config) = machine("bytes_that_are_not_text_pass_in_both_streams") else {
        return;
    };
    let bench = Bench::shared(config);
    let ticket = bench
        .submit(&TaskSpec::new(
            "import os; os.write(1, bytes(range(256))); os.write(2, b'\\xff\\x00')",
        ))
        .await;
    bench.finish(&ticket).await;
    let log = bench.driver.logs(&ticket).unwrap();
    assert_eq!(
        log.collect(hybrid_cache_driver::log::Stream::Stdout),
        (0..=255).collect::<Vec<u8>>()
    );
    assert_eq!(log.collect(hybrid_cache_driver::log::Stream::Stderr), [255, 0]);
}
