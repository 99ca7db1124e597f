//! What else the machine did: how it is shown, when it is too much, and what records from before say.

#[expect(dead_code, reason = "these tests need no cluster")]
mod fixture;

use hybrid_cache_model::Temperature;
use hybrid_cache_model::host_noise::HostNoise;
use hybrid_cache_model::sample::{RunRecord, Sample};
use hybrid_cache_report::warning::{Warning, WarningKind};
use hybrid_cache_report::{Color, GateOutcome, Summary, gate_run, gate_runs, html, markdown, terminal};

fn quiet() -> HostNoise {
    HostNoise {
        window_us: 100_000,
        cpu_some_us: Some(2000),
        ..HostNoise::default()
    }
}

/// The fixture with other noise in so many of its cached samples.
fn with(change: fn(&mut HostNoise), one_in: usize) -> RunRecord {
    let mut record = fixture::record();
    let is_cached = |sample: &&mut Sample| sample.temperature == Temperature::Cached;
    for sample in record.samples.iter_mut().filter(is_cached).step_by(one_in) {
        let noise = sample.noise.insert(quiet());
        change(noise);
    }
    record
}

fn without(change: fn(&mut Sample)) -> RunRecord {
    let mut record = fixture::record();
    record.samples.iter_mut().for_each(change);
    record
}

fn warning(record: &RunRecord) -> Option<Warning> {
    let warnings = Summary::from_record(record).warnings;
    warnings
        .into_iter()
        .find(|warning| warning.kind == WarningKind::HostNoise)
}

/// The line of the terminal.
fn line(record: &RunRecord) -> String {
    let text = terminal(record, 200, Color::Plain);
    let line = text.lines().find_map(|line| line.strip_prefix("host noise: "));
    line.unwrap_or_default().to_owned()
}

#[test]
fn every_form_has_the_line_and_the_page_has_it_with_each_sample() {
    let record = fixture::record();
    let line = line(&record);
    for part in [
        "CPU pressure ",
        " of the time of cached samples (up to ",
        "I/O pressure ",
        "memory pressure 0 %",
        "run-queue delay of the bench ",
        "steal ",
        "not reported by this kernel: throttling, frequency",
    ] {
        assert!(line.contains(part), "{part:?} is missing in {line:?}");
    }
    assert!(markdown(&record).contains(&format!("\nHost noise: {line}.\n")));
    let page = html(&record);
    assert!(page.contains("<dt>host noise</dt>") && page.contains(&line.replace('<', "&lt;")));
    let tips = page.matches("; host noise: CPU pressure ").count();
    assert_eq!(tips, record.samples.len(), "every point of the plots has a tooltip");
}

#[test]
fn a_kernel_without_pressure_is_said_to_have_none() {
    let record = without(|sample| {
        let (window_us, run_delay_us) = (sample.wall_us, Some(sample.wall_us / 10));
        sample.noise = Some(HostNoise {
            window_us,
            run_delay_us,
            ..HostNoise::default()
        });
    });
    let line = line(&record);
    assert!(
        line.starts_with("run-queue delay of the bench 10.0 % of the time of cached"),
        "{line}"
    );
    let absent = "not reported by this kernel: CPU pressure, I/O pressure, all stopped for I/O, memory pressure, throttling, frequency";
    assert!(line.ends_with(absent), "{line}");
}

#[test]
fn a_machine_with_frequencies_shows_them_and_heat_is_warned_about() {
    let record = without(|sample| {
        let noise = sample.noise.get_or_insert_default();
        (noise.slowest_khz, noise.fastest_khz) = (Some(1_800_000), Some(3_400_000));
        noise.throttled = Some(u64::from(sample.sequence == 7));
    });
    let line = line(&record);
    assert!(line.ends_with("throttled 1×, 1.80 to 3.40 GHz"), "{line}");
    let message = warning(&record).unwrap().message;
    let all = record.samples.len();
    assert_eq!(
        message,
        format!("processors were slowed down by heat during 1 of {all} samples")
    );
}

#[test]
fn a_record_from_before_loads_and_is_not_said_to_come_from_a_poor_kernel() {
    let record = without(|sample| sample.noise = None);
    let text = serde_json::to_string(&record).unwrap();
    assert!(!text.contains("\"noise\""), "the form from before has no such field");
    assert_eq!(serde_json::from_str::<RunRecord>(&text).unwrap(), record);
    let found = line(&record);
    assert!(
        found.starts_with("steal ") && found.ends_with("nothing else was recorded"),
        "{found}"
    );
    assert_eq!(warning(&record), None);
    assert!(!html(&record).contains("CPU pressure"));
    let nothing = without(|sample| (sample.noise, sample.steal) = (None, None));
    assert_eq!(line(&nothing), "nothing else was recorded");
    let empty = RunRecord {
        samples: Vec::new(),
        ..fixture::record()
    };
    assert_eq!(line(&empty), "");
}

#[test]
fn waiting_of_cached_runs_is_warned_about_and_that_of_first_runs_is_not() {
    assert_eq!(
        warning(&fixture::record()),
        None,
        "first runs do several things at once"
    );
    let busy = warning(&with(|noise| noise.cpu_some_us = Some(60_000), 2)).unwrap();
    assert!(
        busy.message
            .starts_with("programs waited for a processor for more than 25.0 % of the time during 1")
            && busy.message.ends_with("cached samples (up to 60.0 %)"),
        "{busy:?}"
    );
    assert!(
        busy.remedy.contains("stop other work") && busy.remedy.contains("--against"),
        "{busy:?}"
    );
    assert_eq!(
        warning(&with(|noise| noise.cpu_some_us = Some(60_000), 20)),
        None,
        "one in twenty"
    );
    let disk = warning(&with(|noise| noise.io_full_us = Some(20_000), 3))
        .unwrap()
        .message;
    assert!(
        disk.starts_with("everything waited for the disk for more than 10.0 %"),
        "{disk}"
    );
    let memory = warning(&with(|noise| noise.memory_some_us = Some(10_000), 3))
        .unwrap()
        .message;
    assert!(
        memory.starts_with("programs waited for memory for more than 5.0 %"),
        "{memory}"
    );
}

#[test]
fn run_queue_delay_counts_only_where_there_is_no_pressure() {
    let delayed = |noise: &mut HostNoise| noise.run_delay_us = Some(30_000);
    assert_eq!(warning(&with(delayed, 1)), None);
    let message = warning(&with(
        |noise| {
            *noise = HostNoise {
                window_us: 100_000,
                run_delay_us: Some(30_000),
                ..HostNoise::default()
            }
        },
        1,
    ));
    let message = message.unwrap().message;
    assert!(
        message.starts_with("the measuring process waited for a processor for more than 10.0 %"),
        "{message}"
    );
}

#[test]
fn a_gate_that_cannot_tell_says_what_disturbed_the_machine() {
    let busy = with(|noise| noise.cpu_some_us = Some(60_000), 1);
    let gate = gate_runs(&fixture::record(), &busy, 0.1);
    assert_eq!(gate.outcome, GateOutcome::CannotTell, "{gate:#?}");
    let said = gate.lines();
    let reason = said
        .iter()
        .find(|line| line.starts_with("the machine was disturbed: in the run, programs waited"));
    assert!(reason.is_some() && gate.disturbed.len() == 1, "{said:#?}");
    let quiet = gate_runs(&fixture::record(), &fixture::record(), 0.1);
    assert_eq!(quiet.disturbed, [""; 0]);
    // What is proven stays proven: noise widens intervals, and takes no proof away.
    let proven = gate_run(&busy, None);
    assert_eq!(
        proven.outcome,
        GateOutcome::Regression,
        "a figure of the fixture is missed"
    );
    assert_eq!(
        (proven.failures, proven.disturbed),
        (gate_run(&fixture::record(), None).failures, Vec::new())
    );
}
