//! How spans add up, nest and are laid on one clock.

use super::*;

fn timeline(total_us: u64, spans: &[(Phase, Lane, u64, u64)]) -> Timeline {
    let mut timeline = Timeline {
        total_us,
        spans: Vec::new(),
    };
    for &(phase, lane, start_us, duration_us) in spans {
        timeline.push(phase, lane, start_us, duration_us);
    }
    timeline
}

#[test]
fn overlapping_lanes_count_once_for_the_one_waited_for() {
    let timeline = timeline(
        100,
        &[
            (Phase::PythonInstall, Lane::Python, 10, 30),
            (Phase::SystemRealise, Lane::System, 10, 70),
        ],
    );
    assert_eq!(timeline.critical_path(), [(None, 30), (Some(Phase::SystemRealise), 70)]);
}

#[test]
fn a_long_phase_of_the_half_that_is_ready_first_hides_behind_the_other_half() {
    let timeline = timeline(
        100,
        &[
            (Phase::PythonInstall, Lane::Python, 0, 50),
            (Phase::SystemBootstrap, Lane::System, 0, 10),
            (Phase::SystemRealise, Lane::System, 10, 80),
        ],
    );
    let expected = [
        (Some(Phase::SystemBootstrap), 10),
        (Some(Phase::SystemRealise), 80),
        (None, 10),
    ];
    assert_eq!(timeline.critical_path(), expected);
}

#[test]
fn the_half_that_is_ready_first_counts_while_the_other_one_rests() {
    let timeline = timeline(
        100,
        &[
            (Phase::PythonInstall, Lane::Python, 0, 50),
            (Phase::SystemRealise, Lane::System, 30, 70),
        ],
    );
    let expected = [(Some(Phase::PythonInstall), 30), (Some(Phase::SystemRealise), 70)];
    assert_eq!(timeline.critical_path(), expected);
}

#[test]
fn publishing_during_user_code_does_not_count() {
    let beside = [
        (Phase::UserCode, Lane::Runner, 0, 60),
        (Phase::Drain, Lane::Runner, 60, 20),
        (Phase::PythonBytecode, Lane::Publish, 10, 85),
    ];
    let expected = [
        (Some(Phase::UserCode), 60),
        (Some(Phase::Drain), 20),
        (Some(Phase::PythonBytecode), 15),
        (None, 5),
    ];
    assert_eq!(timeline(100, &beside).critical_path(), expected);
}

#[test]
fn publishing_after_the_answer_does_not_count() {
    let timeline = timeline(
        100,
        &[
            (Phase::UserCode, Lane::Runner, 0, 90),
            (Phase::PythonPublish, Lane::Publish, 10, 91),
        ],
    );
    assert_eq!(timeline.critical_path(), [(Some(Phase::UserCode), 90), (None, 10)]);
}

#[test]
fn the_critical_path_adds_up_to_the_total_even_if_spans_overhang() {
    let timeline = timeline(
        100,
        &[
            (Phase::UserCode, Lane::Runner, 40, 50),
            (Phase::PythonPublish, Lane::Publish, 45, 500),
        ],
    );
    let path = timeline.critical_path();
    assert_eq!(path.iter().map(|(_, spent_us)| spent_us).sum::<u64>(), 100);
}

#[test]
fn nesting_counts_time_outside_of_the_inner_clock_as_sandbox_time() {
    let inner = timeline(80, &[(Phase::UserCode, Lane::Runner, 5, 70)]);
    let mut outer = timeline(100, &[]);
    outer.nest(&inner, 2, 90);
    assert_eq!(outer.phase_us(Phase::Sandbox), 10);
    assert_eq!(outer.spans[1].start_us, 2 + 10 + 5);
}

#[test]
fn the_list_of_phases_is_complete_and_without_repeats() {
    let mut labels: Vec<_> = Phase::ALL.iter().map(|phase| phase.label()).collect();
    labels.sort_unstable();
    labels.dedup();
    assert_eq!(labels.len(), Phase::ALL.len());
    let last = Phase::Observe as usize;
    assert_eq!(
        last + 1,
        Phase::ALL.len(),
        "a phase was added after Observe without a row in ALL"
    );
}

#[test]
fn the_service_phase_is_the_rest_of_driver_and_queue() {
    let driver = timeline(80, &[(Phase::UserCode, Lane::Runner, 5, 70)]);
    let seen = Timeline::through_service(&driver, 100, 4);
    assert_eq!(seen.total_us, 100);
    let spent = [Phase::Service, Phase::Queue, Phase::UserCode].map(|phase| seen.phase_us(phase));
    assert_eq!(spent, [16, 4, 70]);
    assert_eq!(seen.spans[2].start_us, 16 + 4 + 5);
    assert_eq!(seen.critical_path().iter().map(|(_, us)| us).sum::<u64>(), 100);
}

#[test]
fn a_service_that_reports_more_than_its_client_saw_has_no_service_phase() {
    let driver = timeline(120, &[(Phase::UserCode, Lane::Runner, 0, 120)]);
    let seen = Timeline::through_service(&driver, 100, 50);
    assert_eq!(seen.phase_us(Phase::Service) + seen.phase_us(Phase::Queue), 0);
    // What waits longer than there is time outside the driver waited while the client was not looking.
    let driver = timeline(80, &[]);
    let seen = Timeline::through_service(&driver, 100, 50);
    assert_eq!(
        [Phase::Service, Phase::Queue].map(|phase| seen.phase_us(phase)),
        [0, 20]
    );
}
