//! A curve over the size of a volume, as a figure that keeps its text's size on every width.

use hybrid_cache_sizing::recommend::{Advice, Point};
use maud::{Markup, html};

use crate::html::axis::{LinearAxis, grid, percent};

/// Room for the title and, below it, the label of the recommended size.
const TOP: f64 = 46.0;
const HEIGHT: f64 = 190.0;
/// Width of the inner drawing, which is stretched to the page's.
const WIDTH: f64 = 1000.0;
const GIB: f64 = 1_073_741_824.0;

/// The lower and upper end of an interval.
pub(super) type Ends = fn(&Point) -> (f64, f64);

/// What a figure shows.
pub(super) struct Plot<'a> {
    /// Its id on the page.
    pub id: String,
    /// What it shows, for those who do not see it and as its heading.
    pub title: &'a str,
    /// The value of a point.
    pub value: fn(&Point) -> f64,
    /// The lower and upper end of its interval.
    pub band: Option<Ends>,
    /// How a value is written.
    pub write: fn(f64) -> String,
    /// A value that had to be reached.
    pub target: Option<f64>,
    /// True if the axis begins at zero.
    pub from_zero: bool,
}

fn gib_label(gib: f64) -> String {
    format!("{} GiB", (gib * 100.0).round() / 100.0)
}

/// Where the label of the recommended size begins: it is long, and a page may be narrow.
fn label_anchor(share: f64) -> &'static str {
    match share {
        share if share < 0.35 => "start",
        share if share > 0.65 => "end",
        _ => "middle",
    }
}

impl Plot<'_> {
    /// The figure; empty if there are less than two sizes.
    pub(super) fn draw(&self, advice: &Advice) -> Markup {
        let points = &advice.curve;
        let (Some(first), Some(last)) = (points.first(), points.last()) else {
            return html! {};
        };
        let gib = |point: &Point| point.budget_bytes as f64 / GIB;
        let Some(across) = LinearAxis::around([gib(first), gib(last)].into_iter()) else {
            return html! {};
        };
        let values = points.iter().flat_map(|point| {
            let (low, high) = self
                .band
                .map_or(((self.value)(point), (self.value)(point)), |band| band(point));
            [low, high]
        });
        let values: Vec<f64> = values.chain(self.target).chain(self.from_zero.then_some(0.0)).collect();
        let Some(up) = LinearAxis::around(values.iter().copied()) else {
            return html! {};
        };
        let y = |value: f64| TOP + HEIGHT * (1.0 - up.at(value));
        // Beyond the last point, everything fits and nothing changes.
        let is_beyond = advice.on_claim.budget_bytes > last.budget_bytes;
        let on_claim = if is_beyond { last } else { &advice.on_claim };
        let chosen = across.at(gib(on_claim));
        let path = |value: &dyn Fn(&Point) -> f64| -> Vec<String> {
            points
                .iter()
                .map(|point| format!("{:.1},{:.1}", across.at(gib(point)) * WIDTH, y(value(point)) - TOP))
                .collect()
        };
        html! {
            figure {
                svg class="plot" width="100%" height=(TOP + HEIGHT + 24.0) role="img"
                    aria-labelledby=(format!("{0}-title {0}-desc", self.id)) {
                    title id=(format!("{}-title", self.id)) { (self.title) }
                    desc id=(format!("{}-desc", self.id)) {
                        "From " ((self.write)((self.value)(first))) " at " (gib_label(gib(first)))
                        " to " ((self.write)((self.value)(last))) " at " (gib_label(gib(last)))
                        "; " ((self.write)((self.value)(on_claim))) " at the " (gib_label(gib(on_claim))) " that the recommended claim gives them."
                    }
                    text class="strong" x="0" y="14" { (self.title) }
                    (grid(&across.ticks_written(6.0, gib_label), TOP, TOP + HEIGHT))
                    @for tick in up.ticks_written(5.0, self.write) {
                        @let at = TOP + HEIGHT * (1.0 - tick.share());
                        line class="grid-line" x1="0" x2="100%" y1=(at) y2=(at) {}
                    }
                    svg x="0" y=(TOP) width="100%" height=(HEIGHT) viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) preserveAspectRatio="none" {
                        @if let Some(band) = self.band {
                            @let (low, high) = (path(&|point| band(point).0), path(&|point| band(point).1));
                            polygon class="curve-band t-cached" points=(high.into_iter().chain(low.into_iter().rev()).collect::<Vec<_>>().join(" ")) {}
                        }
                        polyline class="curve t-cached" points=(path(&self.value).join(" ")) {}
                    }
                    @if let Some(target) = self.target {
                        line class="target" x1="0" x2="100%" y1=(y(target)) y2=(y(target)) {}
                    }
                    g class="halo" {
                        @for tick in up.ticks_written(5.0, self.write) {
                            @if let Some(label) = tick.text() {
                                text class="muted" x="0" y=(TOP + HEIGHT * (1.0 - tick.share()) - 3.0) { (label) }
                            }
                        }
                        line class="chosen" x1=(percent(chosen)) x2=(percent(chosen)) y1=(TOP) y2=(TOP + HEIGHT) {}
                        circle class="chosen-dot" cx=(percent(chosen)) cy=(y((self.value)(on_claim))) r="5" {}
                        text class="strong" x=(percent(chosen)) y=(TOP - 14.0) text-anchor=(label_anchor(chosen)) {
                            (advice.claim.gib) " GiB claim: " ((self.write)((self.value)(on_claim)))
                        }
                    }
                }
            }
        }
    }
}
