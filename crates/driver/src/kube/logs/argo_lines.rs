//! Removes the lines that Argo's own program writes to the standard error of a task's container.
//!
//! That program starts the task's command as its child and reports its end on the same stream, as text or as JSON,
//! depending on the configuration of Argo's controller:
//!
//! ```text
//! time="2026-01-01T00:00:00.000Z" level=info msg="sub-process exited" argo=true error="<nil>"
//! {"argo":true,"error":null,"level":"info","msg":"sub-process exited","time":"2026-01-01T00:00:00.000Z"}
//! ```
//!
//! It does not wait for the end of a line that the task has begun. A line of the task with exactly this form is removed, too.
//!
//! A task can write to this stream past the runner's limit, in these forms too, so what is held back is bounded.

use std::fmt;

use hybrid_cache_model::Protection;

/// What such a line begins with, and what follows in it.
const FORMS: [LineForm; 2] = [
    LineForm {
        start: b"time=\"",
        inside: b" argo=true",
    },
    LineForm {
        start: b"{\"argo\":true,",
        inside: b"\"level\":",
    },
];
/// Most bytes of a line of Argo's, and most bytes that are held back.
const MAX_LINE_BYTES: usize = 4096;

struct LineForm {
    start: &'static [u8],
    inside: &'static [u8],
}

/// Removes Argo's lines from a log that arrives in pieces.
///
/// Each byte is examined once, whatever a task prints. A new start of a form replaces the previous one, so that at most one
/// candidate is examined, and a candidate of [`MAX_LINE_BYTES`] bytes is passed on, which bounds what is held. The result does not depend on
/// how the log is cut into pieces.
#[derive(Debug, Default)]
pub struct ArgoLineFilter {
    /// The end of what has arrived: a candidate, or the beginning of a form's start.
    held: Vec<u8>,
    /// Set while `held` begins with the start of a form.
    line: Option<Candidate>,
}

/// A line that may be one of Argo's.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    form: &'static LineForm,
    /// True once the part has arrived that makes it a line of Argo's.
    is_argos: bool,
}

impl fmt::Debug for LineForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.start))
    }
}

impl ArgoLineFilter {
    /// Takes a piece of the log, and adds to `passed` what the task wrote.
    pub fn take(&mut self, piece: &[u8], passed: &mut Vec<u8>) {
        let known = self.held.len();
        self.held.extend_from_slice(piece);
        // What is before this index has been passed on or removed.
        let mut from = 0;
        for at in known..self.held.len() {
            let seen = &self.held[from..=at];
            if let Some(form) = FORMS.iter().find(|form| ends_with(seen, form.start)) {
                let start = at + 1 - form.start.len();
                passed.extend_from_slice(&self.held[from..start]);
                from = start;
                self.line = Some(Candidate { form, is_argos: false });
            } else if let Some(line) = &mut self.line {
                line.is_argos |= ends_with(seen, line.form.inside);
                let is_whole = self.held[at] == b'\n';
                if is_whole && line.is_argos {
                    from = at + 1;
                }
                if is_whole || (seen.len() >= MAX_LINE_BYTES && Protection::ArgoLineBound.is_on()) {
                    self.line = None;
                }
            }
        }
        if self.line.is_none() {
            let end = self.held.len() - begun(&self.held[from..]);
            passed.extend_from_slice(&self.held[from..end]);
            from = end;
        }
        self.held.drain(..from);
    }

    /// Ends the log: returns what was held back, the beginning of a line that never arrived.
    pub fn finish(&mut self) -> Vec<u8> {
        self.line = None;
        std::mem::take(&mut self.held)
    }

    /// Bytes that are held back now.
    pub fn held_bytes(&self) -> usize {
        self.held.len()
    }
}

/// Compares the last byte first, because most comparisons fail there.
fn ends_with(text: &[u8], pattern: &[u8]) -> bool {
    text.last() == pattern.last() && text.ends_with(pattern)
}

/// How many bytes at the end of `text` may be the beginning of a form's start.
fn begun(text: &[u8]) -> usize {
    let fits = |form: &LineForm| {
        let most = text.len().min(form.start.len() - 1);
        (1..=most).rev().find(|count| text.ends_with(&form.start[..*count]))
    };
    FORMS.iter().filter_map(fits).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "time=\"2026-01-01T00:00:00.000Z\" level=info msg=\"sub-process exited\" argo=true error=\"<nil>\"\n";
    const JSON: &str =
        "{\"argo\":true,\"error\":null,\"level\":\"info\",\"msg\":\"sub-process exited\",\"time\":\"x\"}\n";

    /// The same for pieces of several sizes.
    fn filtered(log: &str) -> String {
        let in_pieces = |size: usize| {
            let (mut filter, mut passed) = (ArgoLineFilter::default(), Vec::new());
            for piece in log.as_bytes().chunks(size) {
                filter.take(piece, &mut passed);
            }
            passed.extend(filter.finish());
            String::from_utf8(passed).unwrap()
        };
        let whole = in_pieces(log.len().max(1));
        for size in [1, 2, 7, 64] {
            assert_eq!(in_pieces(size), whole, "in pieces of {size}");
        }
        whole
    }

    #[test]
    fn argos_lines_are_removed_wherever_they_begin() {
        for line in [TEXT, JSON] {
            assert_eq!(filtered(&["first\n", line, line].concat()), "first\n");
            assert_eq!(filtered(&["no end of line", line].concat()), "no end of line");
            assert_eq!(filtered(&[line, "last"].concat()), "last");
        }
    }

    #[test]
    fn task_output_that_resembles_an_argo_line_is_kept() {
        for log in [
            "time=\"now\" it works\n",
            "{\"argo\":true, no\n",
            "time",
            "tick {\"argo\"",
            "",
        ] {
            assert_eq!(filtered(log), log);
        }
        let long = ["time=\"", &"x".repeat(2 * MAX_LINE_BYTES)].concat();
        assert_eq!(filtered(&long), long);
    }

    /// The same rule in plain form: in each line, the last start of a form decides.
    fn reference(log: &[u8]) -> Vec<u8> {
        let find = |line: &[u8], what: &[u8]| line.windows(what.len()).rposition(|window| window == what);
        let mut passed = Vec::new();
        for line in log.split_inclusive(|byte| *byte == b'\n') {
            let starts = FORMS
                .iter()
                .filter_map(|form| find(line, form.start).map(|at| (at, form)));
            let argos = starts.max_by_key(|(at, _)| *at).filter(|(at, form)| {
                line.ends_with(b"\n") && line.len() - at <= MAX_LINE_BYTES && find(&line[*at..], form.inside).is_some()
            });
            passed.extend_from_slice(&line[..argos.map_or(line.len(), |(at, _)| at)]);
        }
        passed
    }

    /// A log of parts, in pieces of these sizes, over and over.
    fn agrees(log: &[u8], sizes: &[usize]) {
        let (mut filter, mut passed, mut rest) = (ArgoLineFilter::default(), Vec::new(), log);
        for size in sizes.iter().cycle() {
            let (piece, more) = rest.split_at(rest.len().min(*size));
            filter.take(piece, &mut passed);
            assert!(
                filter.held_bytes() < MAX_LINE_BYTES,
                "{} bytes held",
                filter.held_bytes()
            );
            rest = more;
            if rest.is_empty() {
                break;
            }
        }
        passed.extend(filter.finish());
        assert_eq!(
            String::from_utf8_lossy(&passed),
            String::from_utf8_lossy(&reference(log))
        );
    }

    proptest::proptest! {
        #[test]
        fn the_result_equals_the_plain_rule_however_the_log_is_cut(
            parts in proptest::collection::vec(0_usize..12, 0..24),
            sizes in proptest::collection::vec(1_usize..40, 1..8),
        ) {
            let long = "y".repeat(MAX_LINE_BYTES - 20);
            let words = [
                TEXT, JSON, "time=\"", "{\"argo\":true,", " argo=true", "\"level\":", "\n", "x", "tim", "{\"argo\":t", "ime=\"", &long,
            ];
            let log: String = parts.iter().map(|part| words[*part]).collect();
            agrees(log.as_bytes(), &sizes);
        }
    }

    /// This was slow once: many starts of a form without an end of the line.
    #[test]
    fn at_most_one_line_is_held_of_sixteen_mebibytes_that_resemble_argos_lines() {
        for (word, mebibytes) in [
            ("time=\"", 16),
            ("{\"argo\":true,", 2),
            ("time=\" argo=true", 2),
            ("t", 2),
            ("{\"argo\":tim", 2),
            ("\"", 2),
            ("time=\"x\n", 2),
        ] {
            let log = word.as_bytes().repeat((mebibytes << 20) / word.len());
            let (mut filter, mut passed) = (ArgoLineFilter::default(), Vec::new());
            for piece in log.chunks(64 << 10) {
                filter.take(piece, &mut passed);
                assert!(
                    filter.held_bytes() < MAX_LINE_BYTES,
                    "{word}: {} bytes held",
                    filter.held_bytes()
                );
            }
            passed.extend(filter.finish());
            assert!(passed == log, "{word}");
        }
    }

    /// Measures the CPU time of this thread, because other tests run beside it. A quadratic filter would take 100 times as
    /// long.
    #[test]
    fn ten_times_the_log_takes_about_ten_times_as_long() {
        let took = |size: usize| {
            let log = b"time=\"".repeat(size / 6);
            let clock = || {
                let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
                now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
            };
            let began = clock();
            let (mut filter, mut passed) = (ArgoLineFilter::default(), Vec::new());
            filter.take(&log, &mut passed);
            assert_eq!(passed.len() + filter.finish().len(), log.len());
            clock() - began
        };
        let small = (0..3).map(|_| took(1 << 18)).fold(f64::MAX, f64::min);
        let large = took(10 << 18);
        assert!(large < 40.0 * small, "{small} s and {large} s");
    }

    #[test]
    fn a_task_that_left_its_line_open_loses_only_argos_line() {
        let begun = "time=\"12:00\" level=info msg=\"working\"";
        assert_eq!(filtered(&[begun, TEXT, "more\n"].concat()), [begun, "more\n"].concat());
    }

    #[test]
    fn output_that_begins_no_argo_line_is_passed_on_at_once() {
        let (mut filter, mut passed) = (ArgoLineFilter::default(), Vec::new());
        filter.take(b"50 %\rtime", &mut passed);
        assert_eq!(passed, b"50 %\r");
        filter.take(b"out\n", &mut passed);
        assert_eq!(passed, b"50 %\rtimeout\n");
    }
}
