//! Axes of the figures. Positions are percentages of the plot's width, so that text keeps its size and the plot fills any
//! page width, on a phone and on a screen.

use maud::{Markup, html};

use crate::units;

/// Width, in shares of the plot, within which a centred label could be cut off at the edge.
const EDGE: f64 = 0.07;

/// A share of the width as an SVG length.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.3}%", share.clamp(0.0, 1.0) * 100.0)
}

/// Anchor of a label at a position, so that it stays within the plot.
pub(crate) fn anchor(share: f64) -> &'static str {
    match share {
        share if share < EDGE => "start",
        share if share > 1.0 - EDGE => "end",
        _ => "middle",
    }
}

/// A mark on an axis.
pub(crate) struct Tick {
    at: f64,
    label: Option<String>,
}

impl Tick {
    /// Its position, 0 to 1.
    pub(crate) fn share(&self) -> f64 {
        self.at
    }

    /// What is written at it; `None` for a minor one.
    pub(crate) fn text(&self) -> Option<&str> {
        self.label.as_deref()
    }
}

/// A logarithmic axis, of microseconds or of quotients.
pub(crate) struct LogAxis {
    low: f64,
    high: f64,
}

impl LogAxis {
    /// An axis that holds all values with room at both ends; `None` if no value is above zero.
    pub(crate) fn around(values: impl Iterator<Item = f64>) -> Option<LogAxis> {
        let positive: Vec<f64> = values.filter(|value| *value > 0.0).map(f64::log10).collect();
        let low = positive.iter().copied().reduce(f64::min)?;
        let high = positive.iter().copied().reduce(f64::max)?;
        // Room for marks at the ends, and at least a decade, so that noise does not look like a landscape.
        let pad = 0.12 + (0.76 - (high - low)).max(0.0) / 2.0;
        Some(LogAxis {
            low: low - pad,
            high: high + pad,
        })
    }

    /// Position of a value, 0 to 1.
    pub(crate) fn at(&self, value: f64) -> f64 {
        ((value.max(1e-3).log10() - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    /// The ticks of durations in microseconds.
    pub(crate) fn ticks(&self) -> Vec<Tick> {
        self.ticks_written(tick_label)
    }

    /// Powers of ten, labelled by `write`; 2 and 5 times them with labels only if there are few powers.
    pub(crate) fn ticks_written(&self, write: fn(f64) -> String) -> Vec<Tick> {
        let label_all = self.high - self.low < 1.7;
        let mut ticks = Vec::new();
        // The closed range of exponents that a duration in microseconds or a quotient can have.
        for exponent in -3..=12 {
            for mantissa in [1.0, 2.0, 5.0] {
                let value = mantissa * 10f64.powi(exponent);
                if (self.low..=self.high).contains(&value.log10()) {
                    let labelled = mantissa == 1.0 || label_all;
                    ticks.push(Tick {
                        at: self.at(value),
                        label: labelled.then(|| write(value)),
                    });
                }
            }
        }
        ticks
    }
}

/// A linear axis, of microseconds or of quotients.
pub(crate) struct LinearAxis {
    low: f64,
    high: f64,
}

impl LinearAxis {
    /// An axis from 0.
    pub(crate) fn to(high: f64) -> LinearAxis {
        LinearAxis { low: 0.0, high }
    }

    /// An axis over a range of durations, with room for a mark at both ends.
    pub(crate) fn over(low: f64, high: f64) -> LinearAxis {
        let pad = (high - low).max(1.0) * 0.04;
        LinearAxis {
            low: (low - pad).max(0.0),
            high: high + pad,
        }
    }

    /// An axis that holds all values, of either sign, with room for a mark at both ends; `None` if all are the same.
    pub(crate) fn around(values: impl Iterator<Item = f64> + Clone) -> Option<LinearAxis> {
        let (low, high) = (values.clone().reduce(f64::min)?, values.reduce(f64::max)?);
        let pad = (high - low) * 0.04;
        (pad > 0.0).then_some(LinearAxis {
            low: low - pad,
            high: high + pad,
        })
    }

    /// Position of a value, 0 to 1.
    pub(crate) fn at(&self, value: f64) -> f64 {
        let width = self.high - self.low;
        if width <= 0.0 {
            0.0
        } else {
            ((value - self.low) / width).clamp(0.0, 1.0)
        }
    }

    /// Three to seven round durations.
    pub(crate) fn ticks(&self) -> Vec<Tick> {
        self.ticks_written(7.0, tick_label)
    }

    /// At most `most` round values and one, labelled by `write`.
    pub(crate) fn ticks_written(&self, most: f64, write: fn(f64) -> String) -> Vec<Tick> {
        let width = self.high - self.low;
        if width <= 0.0 {
            return Vec::new();
        }
        let rough = width / (most - 1.0);
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .iter()
            .map(|m| m * power)
            .find(|step| *step >= rough)
            .unwrap_or(rough);
        let first = (self.low / step).ceil();
        (0..=7)
            .map(|index| (first + f64::from(index)) * step)
            .filter(|value| *value <= self.high)
            .map(|value| Tick {
                at: self.at(value),
                label: Some(write(value)),
            })
            .collect()
    }
}

/// Grid lines from `top` to `bottom` and their labels below, in pixels.
pub(crate) fn grid(ticks: &[Tick], top: f64, bottom: f64) -> Markup {
    html! {
        g class="grid" aria-hidden="true" {
            @for tick in ticks {
                line class=(if tick.label.is_some() { "major" } else { "minor" })
                    x1=(percent(tick.at)) x2=(percent(tick.at)) y1=(top) y2=(bottom) {}
                @if let Some(label) = &tick.label {
                    text x=(percent(tick.at)) y=(bottom + 15.0) text-anchor=(anchor(tick.at)) { (label) }
                }
            }
        }
    }
}

/// Round values without the zeros of three significant digits: `100 ms`, not `100.0 ms`.
pub(crate) fn tick_label(us: f64) -> String {
    let (value, unit) = match us.abs() {
        size if size >= 999_999.0 => (us / 1e6, "s"),
        size if size >= 999.9 => (us / 1e3, "ms"),
        _ => (us, "µs"),
    };
    let rounded = (value * 1000.0).round() / 1000.0;
    if rounded == 0.0 {
        return units::duration(0.0);
    }
    let sign = if rounded < 0.0 { "−" } else { "" };
    format!("{sign}{} {unit}", rounded.abs())
}

/// A round quotient: `1.05×`.
pub(crate) fn ratio_label(value: f64) -> String {
    format!("{}×", (value * 1000.0).round() / 1000.0)
}
