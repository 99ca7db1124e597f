//! The timeline of a task on a cluster: the driver's own moments, with the runner's durations placed between them.

use hybrid_cache_model::{Lane, Phase, Span, Timeline};

/// Moments of one workload, in microseconds on the driver's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// The driver began to create it.
    pub began_us: u64,
    /// The API server accepted it; `None` if another process created it, or if it is a standby pod.
    pub created_us: Option<u64>,
    /// A standby pod was claimed instead.
    pub claimed_us: Option<u64>,
    /// A watch showed that the pod has a node.
    pub scheduled_us: Option<u64>,
    /// A watch showed that the task's container has ended.
    pub ended_us: Option<u64>,
    /// The container's log ended.
    pub log_us: Option<u64>,
    /// The outcome is complete.
    pub done_us: u64,
}

impl Marks {
    /// True if this process has begun the workload, so that its times are known from the beginning.
    pub fn is_own(&self) -> bool {
        self.created_us.or(self.claimed_us).is_some()
    }
}

/// Adds one workload's spans to the timeline. Returns where the runner's own origin lies on the driver's clock.
///
/// `inner` is the runner's own timeline. Only durations are taken from it: between the moment the pod had a node and
/// the moment its end was first noticed, everything that the runner did not see is [`Phase::Sandbox`].
pub fn lay(timeline: &mut Timeline, marks: &Marks, inner: Option<&Timeline>) -> u64 {
    let mut at = marks.began_us;
    if let Some(created_us) = marks.created_us {
        at = mark(timeline, Phase::Submit, at, created_us);
        // Without a node, all of the time was spent waiting for one.
        at = mark(
            timeline,
            Phase::Schedule,
            at,
            marks.scheduled_us.unwrap_or(marks.done_us),
        );
    }
    if let Some(claimed_us) = marks.claimed_us {
        at = mark(timeline, Phase::Claim, at, claimed_us);
    }
    let noticed = [marks.log_us, marks.ended_us].into_iter().flatten().min();
    let noticed = noticed.unwrap_or(marks.done_us).max(at);
    let none = Timeline::default();
    let inner = inner.unwrap_or(&none);
    let outer_us = noticed - at;
    // A process that adopted the running task has seen less of it than the runner has.
    let outer_us = if marks.is_own() {
        outer_us
    } else {
        outer_us.max(inner.total_us)
    };
    timeline.nest(inner, at, outer_us);
    let origin_us = at + outer_us.saturating_sub(inner.total_us);
    let noticed = at + outer_us;
    if marks.done_us > noticed {
        timeline.push(Phase::Observe, Lane::Driver, noticed, marks.done_us - noticed);
    }
    timeline.total_us = marks.done_us.max(noticed);
    origin_us
}

fn mark(timeline: &mut Timeline, phase: Phase, from_us: u64, to_us: u64) -> u64 {
    // A watch may be faster than the answer to the request that caused its event.
    let to_us = to_us.max(from_us);
    timeline.push(phase, Lane::Driver, from_us, to_us - from_us);
    to_us
}

/// The spans of publishing: what the preparing container did after the handover.
///
/// `run` is the timeline of the task's runner, on the runner's clock; it includes what was handed over. `published` is
/// the whole preparation, on the preparing container's clock. A span that both have relates the clocks. Without one, the
/// handover does: that is when the runner went on to its leases.
pub fn publishing(run: &Timeline, published: &Timeline, ready_us: u64, origin_us: u64) -> Vec<Span> {
    let same = |one: &Span, other: &Span| {
        (one.phase, one.lane, one.duration_us) == (other.phase, other.lane, other.duration_us)
    };
    let tie = published.spans.iter().find_map(|span| {
        let twin = run.spans.iter().find(|twin| twin.duration_us > 0 && same(twin, span))?;
        Some((twin.start_us, span.start_us))
    });
    let continued = run
        .spans
        .iter()
        .find(|span| matches!(span.phase, Phase::Lease | Phase::Start));
    let (run_us, published_us) = tie.unwrap_or((continued.map_or(0, |span| span.start_us), ready_us));
    let known = |span: &Span| run.spans.iter().any(|twin| same(twin, span));
    let news = published
        .spans
        .iter()
        .filter(|span| span.lane == Lane::Publish || span.start_us >= ready_us);
    let news = news.filter(|span| !known(span)).map(|span| Span {
        lane: Lane::Publish,
        start_us: (origin_us + run_us + span.start_us).saturating_sub(published_us),
        ..*span
    });
    news.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(phase: Phase, lane: Lane, start_us: u64, duration_us: u64) -> Span {
        Span {
            phase,
            lane,
            start_us,
            duration_us,
        }
    }

    fn run() -> Timeline {
        Timeline {
            total_us: 300,
            spans: vec![
                span(Phase::PythonInstall, Lane::Python, 20, 80),
                span(Phase::Lease, Lane::Runner, 110, 10),
                span(Phase::UserCode, Lane::Runner, 130, 150),
            ],
        }
    }

    const MARKS: Marks = Marks {
        began_us: 0,
        created_us: Some(40),
        claimed_us: None,
        scheduled_us: Some(100),
        ended_us: Some(1000),
        log_us: None,
        done_us: 1020,
    };

    #[test]
    fn everything_adds_up_and_the_runner_is_placed_by_durations_alone() {
        let mut timeline = Timeline::default();
        assert_eq!(lay(&mut timeline, &MARKS, Some(&run())), 700);
        assert_eq!(timeline.total_us, 1020);
        let us = |phase| timeline.phase_us(phase);
        let outside = [Phase::Submit, Phase::Schedule, Phase::Sandbox, Phase::Observe].map(us);
        assert_eq!(outside, [40, 60, 600, 20]);
        assert_eq!(timeline.spans[3].start_us, 720);
    }

    #[test]
    fn a_log_that_ends_before_the_watch_shows_it_leaves_the_rest_to_observing() {
        let marks = Marks {
            log_us: Some(800),
            ..MARKS
        };
        let mut timeline = Timeline::default();
        lay(&mut timeline, &marks, Some(&run()));
        assert_eq!(timeline.phase_us(Phase::Sandbox), 400);
        assert_eq!(timeline.phase_us(Phase::Observe), 220);
    }

    #[test]
    fn a_standby_pod_is_claimed_instead_of_submitted_and_scheduled() {
        let marks = Marks {
            created_us: None,
            claimed_us: Some(15),
            scheduled_us: None,
            log_us: Some(400),
            ..MARKS
        };
        let mut timeline = Timeline::default();
        assert_eq!(lay(&mut timeline, &marks, Some(&run())), 100);
        let us = |phase| timeline.phase_us(phase);
        let outside = [
            Phase::Claim,
            Phase::Submit,
            Phase::Schedule,
            Phase::Sandbox,
            Phase::Observe,
        ]
        .map(us);
        assert_eq!(outside, [15, 0, 0, 85, 620]);
    }

    #[test]
    fn a_watch_that_is_faster_than_the_answer_makes_no_negative_span() {
        let marks = Marks {
            scheduled_us: Some(30),
            ..MARKS
        };
        let mut timeline = Timeline::default();
        lay(&mut timeline, &marks, None);
        assert_eq!(timeline.phase_us(Phase::Schedule), 0);
        let path: u64 = timeline.critical_path().iter().map(|(_, us)| us).sum();
        assert_eq!(path, 1020);
    }

    #[test]
    fn a_task_adopted_at_its_end_has_the_runners_time_and_nothing_before_it() {
        let marks = Marks {
            began_us: 0,
            created_us: None,
            claimed_us: None,
            scheduled_us: None,
            ended_us: Some(5),
            log_us: None,
            done_us: 9,
        };
        let mut timeline = Timeline::default();
        assert_eq!(lay(&mut timeline, &marks, Some(&run())), 0);
        assert_eq!(timeline.total_us, 300);
        assert_eq!(timeline.phase_us(Phase::Submit), 0);
    }

    #[test]
    fn publishing_is_placed_by_a_span_that_both_clocks_have() {
        let published = Timeline {
            total_us: 500,
            spans: vec![
                span(Phase::PythonInstall, Lane::Python, 5, 80),
                span(Phase::PythonPublish, Lane::Publish, 95, 40),
            ],
        };
        let spans = publishing(&run(), &published, 90, 700);
        assert_eq!(spans, [span(Phase::PythonPublish, Lane::Publish, 700 + 95 + 15, 40)]);
    }

    #[test]
    fn without_such_a_span_publishing_begins_where_the_runner_continued() {
        let published = Timeline {
            total_us: 500,
            spans: vec![span(Phase::SystemPublish, Lane::Publish, 95, 40)],
        };
        let spans = publishing(&run(), &published, 90, 700);
        assert_eq!(spans[0].start_us, 700 + 110 + 5);
    }
}
