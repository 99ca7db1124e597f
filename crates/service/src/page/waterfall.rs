//! Where a task's time went: its spans by lane, each a bar at its time.

use hybrid_cache_api::{SpanView, TimelineView};
use hybrid_cache_model::{Lane, Phase};
use maud::{Markup, html};

use super::units;

const LANES: [(Lane, &str); 5] = [
    (Lane::Driver, "Driver"),
    (Lane::Runner, "Runner"),
    (Lane::Python, "Prepare Python"),
    (Lane::System, "Prepare system"),
    (Lane::Publish, "Publish"),
];
/// The drawing width of the bars; the browser stretches it.
const WIDTH: f64 = 1000.0;
/// A bar narrower than this would be invisible.
const VISIBLE: f64 = 3.0;

/// The figure; empty if there are no spans.
pub fn waterfall(timeline: &TimelineView) -> Markup {
    let end_of = |span: &SpanView| span.start_us.saturating_add(span.duration_us);
    let last_us = timeline
        .spans
        .iter()
        .map(end_of)
        .max()
        .unwrap_or(0)
        .max(timeline.total_us);
    if timeline.spans.is_empty() || last_us == 0 {
        return html! {};
    }
    let scale = |us: u64| us as f64 / last_us as f64 * WIDTH;
    html! {
        div class="waterfall" {
            @for (lane, name) in LANES {
                @let spans = of_lane(&timeline.spans, lane);
                @if !spans.is_empty() {
                    h3 class="lane" { (name) }
                    ol {
                        @for span in spans { (row(span, timeline.total_us, scale)) }
                    }
                }
            }
        }
    }
}

fn of_lane(spans: &[SpanView], lane: Lane) -> Vec<&SpanView> {
    let mut own: Vec<&SpanView> = spans.iter().filter(|span| span.lane == lane).collect();
    own.sort_by_key(|span| span.start_us);
    own
}

fn row(span: &SpanView, total_us: u64, scale: impl Fn(u64) -> f64) -> Markup {
    let (answer, width) = (scale(total_us), scale(span.duration_us).max(VISIBLE));
    let left = scale(span.start_us).min(WIDTH - width);
    html! {
        li {
            span class="what" { (span.phase.label()) }
            svg class="bar" viewBox=(format!("0 0 {WIDTH} 10")) preserveAspectRatio="none" aria-hidden="true" {
                rect class="track" width=(WIDTH) height="10" {}
                @if answer < WIDTH { rect class="after" x=(round(answer)) width=(round(WIDTH - answer)) height="10" {} }
                rect class=(colour(span.phase)) x=(round(left)) width=(round(width)) height="10" {}
            }
            span class="n" {
                (units::duration(span.duration_us))
                span class="aside" { " from " (units::duration(span.start_us)) }
            }
        }
    }
}

fn round(value: f64) -> String {
    format!("{value:.1}")
}

/// Colours by family: the hue shows the family, the lightness the member.
fn colour(phase: Phase) -> &'static str {
    match phase {
        Phase::Service
        | Phase::Queue
        | Phase::BringTools
        | Phase::Submit
        | Phase::Claim
        | Phase::Schedule
        | Phase::Observe => "p-driver",
        Phase::Sandbox => "p-sandbox",
        Phase::Lookup | Phase::Lease | Phase::LockWait => "p-lookup",
        Phase::PythonVenv | Phase::PythonVerify => "p-python-light",
        Phase::PythonInstall => "p-python",
        Phase::PythonBuild | Phase::PythonBytecode | Phase::PythonPublish => "p-python-dark",
        Phase::SystemBootstrap => "p-system-light",
        Phase::SystemRealise => "p-system",
        Phase::SystemPublish => "p-system-dark",
        Phase::Start | Phase::Drain => "p-user-light",
        Phase::UserCode => "p-user",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_stay_within_the_figure_and_lanes_keep_their_order() {
        let span = |phase, lane, start_us, duration_us| SpanView {
            phase,
            lane,
            start_us,
            duration_us,
        };
        let drawn = waterfall(&TimelineView {
            total_us: 100,
            spans: vec![
                span(Phase::PythonPublish, Lane::Publish, 90, 60),
                span(Phase::UserCode, Lane::Runner, 10, 80),
                span(Phase::Observe, Lane::Driver, 150, 0),
            ],
        })
        .into_string();
        let places: Vec<_> = ["Driver", "user code", "publish environment"]
            .map(|name| drawn.find(name))
            .into();
        assert!(places.is_sorted() && places[0].is_some(), "{drawn}");
        assert!(drawn.contains(r#"x="997.0" width="3.0""#), "{drawn}");
        assert!(drawn.contains("class=\"after\""));
        assert_eq!(
            waterfall(&TimelineView {
                total_us: 0,
                spans: vec![]
            })
            .into_string(),
            ""
        );
    }
}
