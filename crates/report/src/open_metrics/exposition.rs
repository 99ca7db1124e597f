//! Writes OpenMetrics text: families, samples, labels and their escaping.

use std::fmt::Write;

const PREFIX: &str = "hybrid_cache_bench";

/// A text that grows family by family.
pub(super) struct Exposition {
    text: String,
    family: String,
    /// Label of every series.
    driver: String,
}

impl Exposition {
    pub(super) fn new(driver: &str) -> Exposition {
        Exposition {
            text: String::new(),
            family: String::new(),
            driver: driver.to_owned(),
        }
    }

    /// Begins a family. `unit` is empty or the end of its name.
    pub(super) fn family(&mut self, name: &str, kind: &str, unit: &str, help: &str) {
        self.family = format!("{PREFIX}_{name}");
        let family = &self.family;
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "# TYPE {family} {kind}");
        if !unit.is_empty() {
            let _ = writeln!(self.text, "# UNIT {family} {unit}");
        }
        let _ = writeln!(self.text, "# HELP {family} {help}");
    }

    /// A sample of the family, such as one with the ending `_count`. What is no number is left out.
    pub(super) fn value(&mut self, ending: &str, labels: &[(&str, &str)], value: f64) {
        if !value.is_finite() {
            return;
        }
        let _ = write!(
            self.text,
            "{}{ending}{{driver=\"{}\"",
            self.family,
            escape(&self.driver)
        );
        for (name, text) in labels {
            let _ = write!(self.text, ",{name}=\"{}\"", escape(text));
        }
        let _ = writeln!(self.text, "}} {value}");
    }

    /// A state set: each state is 1 if it is the one, otherwise 0. The label has the family's name.
    pub(super) fn states(&mut self, labels: &[(&str, &str)], states: &[(&str, bool)]) {
        let name = self.family.clone();
        for (state, is_it) in states {
            let all: Vec<(&str, &str)> = labels.iter().copied().chain([(name.as_str(), *state)]).collect();
            self.value("", &all, f64::from(u8::from(*is_it)));
        }
    }

    pub(super) fn finish(mut self) -> String {
        self.text.push_str("# EOF\n");
        self.text
    }
}

/// A label's text. A line break is written as `\n`; other control characters say nothing in a label.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => escaped.push_str("\\\\"),
            '"' => escaped.push_str("\\\""),
            '\n' => escaped.push_str("\\n"),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}
