//! Charts of the hit rate and volume use of the last day: inline SVG, with the figures as text.

use jiff::Timestamp;
use maud::{Markup, html};

use super::history::{Figures, SPAN_S, STRETCH_S};
use super::units;
use crate::store::history::HitRate;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 140.0;
/// Most points of a line; more of them would overlap.
const MAX_POINTS: usize = 480;

/// Both charts.
pub fn charts(figures: &Figures) -> Markup {
    html! {
        div class="charts" {
            figure class="chart" {
                figcaption { (hits_caption(&figures.hits)) }
                (hits(figures))
                (hours())
            }
            figure class="chart" {
                figcaption { "Volume use " (volume_legend(figures)) }
                (volumes(figures))
                (hours())
            }
        }
    }
}

fn hours() -> Markup {
    html! { div class="axis" aria-hidden="true" { span { "24 h ago" } span { "12 h" } span { "now" } } }
}

fn at_us(text: &str) -> Option<i64> {
    text.parse::<Timestamp>().ok().map(Timestamp::as_microsecond)
}

/// The horizontal position of a moment: 0 is the left edge.
fn place(at_us: i64, now_us: i64) -> f64 {
    let age = (now_us - at_us) as f64 / (SPAN_S as f64 * 1e6);
    (1.0 - age).clamp(0.0, 1.0) * WIDTH
}

fn hits_caption(hits: &[HitRate]) -> Markup {
    let (hit, missed) = hits
        .iter()
        .fold((0, 0), |(hit, missed), one| (hit + one.hits, missed + one.misses));
    html! {
        "Cache hit rate "
        @if hit + missed == 0 {
            span class="muted" { "no task has asked a cache yet" }
        } @else {
            strong { (percent(hit, hit + missed)) }
            span class="muted" { " of " (units::count(hit + missed)) " tasks in 24 h" }
            span class="keys" { span class="key k-hit" { "hit" } span class="key k-built" { "filled" } }
        }
    }
}

fn percent(part: u64, whole: u64) -> String {
    format!("{:.0} %", 100.0 * part as f64 / whole.max(1) as f64)
}

/// One bar for each hour: its height is the tasks that used a cache, hits below and misses on top.
fn hits(figures: &Figures) -> Markup {
    let most = figures
        .hits
        .iter()
        .map(|one| one.hits + one.misses)
        .max()
        .unwrap_or(0)
        .max(1) as f64;
    let width = WIDTH * STRETCH_S as f64 / SPAN_S as f64;
    html! {
        svg class="plot" viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) preserveAspectRatio="none" role="img"
            aria-label="Tasks by hour, hits and fills" {
            @for one in &figures.hits {
                @if let Some(from_us) = at_us(&one.from) {
                    @let left = place(from_us, figures.now_us);
                    @let right = place(from_us + STRETCH_S * 1_000_000, figures.now_us);
                    @let high = |count: u64| count as f64 / most * HEIGHT;
                    @let (hit, missed) = (high(one.hits), high(one.misses));
                    g {
                        title { (units::clock(&one.from)) ": " (one.hits) " hits, " (one.misses) " fills" }
                        rect class="b-hit" x=(left) y=(HEIGHT - hit) width=((right - left).min(width) - 2.0) height=(hit) {}
                        rect class="b-built" x=(left) y=(HEIGHT - hit - missed) width=((right - left).min(width) - 2.0) height=(missed) {}
                    }
                }
            }
            line class="ground" x1="0" x2=(WIDTH) y1=(HEIGHT) y2=(HEIGHT) {}
        }
    }
}

/// The volumes that have figures.
fn volume_names(figures: &Figures) -> Vec<&str> {
    let mut names: Vec<&str> = figures.volumes.iter().map(|one| one.volume.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn volume_legend(figures: &Figures) -> Markup {
    let names = volume_names(figures);
    html! {
        @if names.is_empty() { span class="muted" { "not measured yet" } }
        @for (at, name) in names.iter().enumerate() {
            @if let Some(last) = figures.volumes.iter().rfind(|one| one.volume == *name) {
                span class=(format!("key k-volume-{at}")) {
                    (name) " " strong { (units::bytes(last.bytes)) }
                    span class="muted" { " " (units::count(last.inodes)) " files" }
                }
            }
        }
    }
}

fn volumes(figures: &Figures) -> Markup {
    let most = figures.volumes.iter().map(|one| one.bytes).max().unwrap_or(0).max(1) as f64;
    html! {
        svg class="plot" viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) preserveAspectRatio="none" role="img"
            aria-label="Bytes of each volume over the last day" {
            @for (at, name) in volume_names(figures).iter().enumerate() {
                @let own: Vec<_> = figures.volumes.iter().filter(|one| one.volume == *name).collect();
                @let every = own.len().div_ceil(MAX_POINTS).max(1);
                @let points: Vec<String> = own.iter().rev().step_by(every).rev().filter_map(|one| {
                    let high = one.bytes as f64 / most * (HEIGHT - 8.0);
                    Some(format!("{:.1},{:.1}", place(at_us(&one.at)?, figures.now_us), HEIGHT - high))
                }).collect();
                polyline class=(format!("line l-volume-{at}")) points=(points.join(" ")) {}
            }
            line class="ground" x1="0" x2=(WIDTH) y1=(HEIGHT) y2=(HEIGHT) {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::history::VolumeUse;

    #[test]
    fn charts_of_a_day_stay_within_the_plot_and_no_data_draws_no_chart() {
        let now_us = "2026-11-22T18:00:00Z".parse::<Timestamp>().unwrap().as_microsecond();
        let figures = Figures {
            now_us,
            hits: vec![HitRate {
                from: "2026-11-22T17:00:00Z".into(),
                hits: 3,
                misses: 1,
            }],
            volumes: (0..2000)
                .map(|second| VolumeUse {
                    at: Timestamp::from_microsecond(now_us - second * 1_000_000)
                        .unwrap()
                        .to_string(),
                    volume: "python".into(),
                    bytes: 5 << 20,
                    inodes: 7,
                })
                .collect(),
        };
        let drawn = charts(&figures).into_string();
        assert!(drawn.contains("75 %") && drawn.contains("5.0 MiB"), "{drawn}");
        let points = drawn.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
        assert!(points.split(' ').count() <= MAX_POINTS);
        let empty = charts(&Figures::default()).into_string();
        assert!(empty.contains("not measured yet") && empty.contains("no task has asked a cache yet"));
    }
}
