//! A run as JUnit XML, which GitLab, Jenkins and others show as tests: one test case for each requirement of the gate, and one for
//! each sample that failed.

use std::fmt::Write;

use hybrid_cache_model::sample::{Acceptance, RunRecord};

use crate::gate::{Answer, Gate, Judged};
use crate::levels::as_samples;
use crate::load::LoadSummary;
use crate::stats::as_f64;

/// Samples that failed, at most; a count stands for the rest.
const MOST_ERRORS: usize = 100;
const CLASS: &str = "hybrid-cache.bench";

/// The file's text. A requirement that is proven to be broken is a failure, one that is open is skipped with the reason, and a
/// failed sample is an error.
pub(crate) fn junit(record: &RunRecord, gate: &Gate) -> String {
    let suites = match &record.load {
        Some(load) => vec![of_load(&LoadSummary::from_record(load))],
        None => vec![requirements(gate), samples(record)],
    };
    let total = |of: fn(&Suite) -> usize| suites.iter().map(of).sum::<usize>();
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "<testsuites name=\"hybrid-cache bench\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\">",
        total(|suite| suite.cases.len()),
        total(|suite| suite.count("failure")),
        total(|suite| suite.count("error")),
        total(|suite| suite.count("skipped")),
    );
    for suite in &suites {
        suite.write(&mut out, &record.provenance.started_at);
    }
    out.push_str("</testsuites>\n");
    out
}

struct Suite {
    name: &'static str,
    cases: Vec<Case>,
}

struct Case {
    name: String,
    seconds: f64,
    /// The element within and its message; `None` if all is well.
    trouble: Option<(&'static str, String)>,
}

impl Suite {
    fn count(&self, element: &str) -> usize {
        let troubled = self.cases.iter().filter_map(|case| case.trouble.as_ref());
        troubled.filter(|(own, _)| *own == element).count()
    }

    fn write(&self, out: &mut String, started_at: &str) {
        let count = |element| self.count(element);
        let _ = writeln!(
            out,
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" timestamp=\"{}\">",
            self.name,
            self.cases.len(),
            count("failure"),
            count("error"),
            count("skipped"),
            attribute(started_at)
        );
        for case in &self.cases {
            let name = attribute(&case.name);
            let _ = write!(
                out,
                "    <testcase classname=\"{CLASS}.{}\" name=\"{name}\" time=\"{:.6}\"",
                self.name, case.seconds
            );
            let _ = match &case.trouble {
                None => writeln!(out, "/>"),
                Some((element, message)) => {
                    let message = attribute(message);
                    writeln!(out, ">\n      <{element} message=\"{message}\"/>\n    </testcase>")
                }
            };
        }
        out.push_str("  </testsuite>\n");
    }
}

fn requirements(gate: &Gate) -> Suite {
    let case = |judged: &Judged| Case {
        name: judged.about.clone(),
        seconds: 0.0,
        trouble: match judged.answer {
            Answer::Held => None,
            Answer::Broken => Some(("failure", judged.found.clone())),
            Answer::Open => Some(("skipped", format!("cannot tell: {}", judged.found))),
            Answer::Unasked => Some(("skipped", format!("not judged: {}", judged.found))),
        },
    };
    Suite {
        name: "requirements",
        cases: gate.requirements.iter().map(case).collect(),
    }
}

fn samples(record: &RunRecord) -> Suite {
    let levels = as_samples(record);
    let all = record.samples.iter().chain(&levels);
    let failed = all.filter_map(|sample| match &sample.acceptance {
        Acceptance::Failed { reason } => Some((sample, reason)),
        Acceptance::Accepted | Acceptance::WrongTemperature { .. } => None,
    });
    let mut cases: Vec<Case> = failed
        .clone()
        .take(MOST_ERRORS)
        .map(|(sample, reason)| Case {
            name: format!(
                "sample {}: {}, {}",
                sample.sequence,
                sample.scenario,
                sample.temperature.name()
            ),
            seconds: as_f64(sample.wall_us) / 1e6,
            trouble: Some(("error", reason.clone())),
        })
        .collect();
    let more = failed.count().saturating_sub(MOST_ERRORS);
    if more > 0 {
        cases.push(Case {
            name: "further samples".to_owned(),
            seconds: 0.0,
            trouble: Some(("error", format!("{more} more samples failed"))),
        });
    }
    Suite { name: "samples", cases }
}

/// What a service must keep under load.
fn of_load(load: &LoadSummary<'_>) -> Suite {
    let counts = &load.record.counts;
    let case = |name: &str, broken: u64, element| Case {
        name: name.to_owned(),
        seconds: 0.0,
        trouble: (broken > 0).then(|| (element, format!("{broken} of {} tasks", counts.due))),
    };
    Suite {
        name: "load",
        cases: vec![
            case("no task is lost", counts.lost, "failure"),
            case("every acknowledged task ends", counts.unfinished, "failure"),
            case("every task succeeds", counts.failed, "error"),
            case("every task is taken", counts.rejected + counts.unanswered, "error"),
        ],
    }
}

/// Text within quotes. XML 1.0 has no way to write most control characters, so that a replacement stands for them.
fn attribute(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            '\t' => escaped.push_str("&#9;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
