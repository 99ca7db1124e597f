//! The runner's report at the end of a task's log.

use hybrid_cache_model::TaskSpec;

use super::bench::{self, options, run};
use super::tasks::check_timeline;

#[tokio::test(flavor = "multi_thread")]
async fn the_report_in_the_log_is_no_output_and_its_token_is_out_of_reach() {
    let Some(bench) = bench::cluster("the_report_in_the_log").await else {
        return;
    };
    let driver = bench.driver().await;
    // As a report looks, without a token and with a guessed one; and a way to read the real one.
    let code = "import os, time\n\
                time.sleep(2)\n\
                print([name for name in os.environ if 'TRAILER' in name])\n\
                try: print(open('/proc/1/environ', 'rb').read())\n\
                except PermissionError: print('refused')\n\
                print('\\x1e' + '0' * 32 + ' {\"report\":\"finished\"}\\n\\x1e', end='')";
    let ran = run(&driver, &TaskSpec::new(code), &options()).await;
    let guessed = ["\x1e", &"0".repeat(32), " {\"report\":\"finished\"}\n\x1e"].concat();
    assert_eq!(ran.stdout, ["[]\nrefused\n", &guessed].concat());
    assert_eq!(ran.outcome.warnings, Vec::<String>::new());
    check_timeline(&ran.outcome.timeline, ran.outcome.runner_us);
}
