//! What Argo's own program writes to the standard error of a task's container, taken out of the task's log.
//!
//! That program starts the task's command as its child and says on the same stream when it has ended, as text or as JSON,
//! as Argo's controller was told:
//!
//! ```text
//! time="2026-01-01T00:00:00.000Z" level=info msg="sub-process exited" argo=true error="<nil>"
//! {"argo":true,"error":null,"level":"info","msg":"sub-process exited","time":"2026-01-01T00:00:00.000Z"}
//! ```
//!
//! It does not wait for the end of a line that the task has begun. A task's own line of just that form is lost with them.
//!
//! A task can write here without end, past the runner's bound: on the same stream, in just these forms.

use std::fmt;

use hybrid_cache_model::Protection;

/// What such a line begins with, and what stands behind that.
const FORMS: [Form; 2] = [
    Form {
        start: b"time=\"",
        inside: b" argo=true",
    },
    Form {
        start: b"{\"argo\":true,",
        inside: b"\"level\":",
    },
];
/// No line of Argo's is longer; nothing is held back for longer than this.
const LONGEST: usize = 4096;

struct Form {
    start: &'static [u8],
    inside: &'static [u8],
}

/// Takes Argo's lines out of a log that comes in pieces.
///
/// Every byte is looked at once, whatever a task prints. Each start of a form begins anew, so that at most one line is under
/// examination, and one of [`LONGEST`] bytes is given up: that bounds what is held. The result does not depend on how the
/// log is cut into pieces.
#[derive(Debug, Default)]
pub struct Filter {
    /// The end of what has come: a line under examination, or the beginning of a form's start.
    held: Vec<u8>,
    /// Set while `held` begins with the start of a form.
    line: Option<Line>,
}

/// A line that may be Argo's.
#[derive(Clone, Copy, Debug)]
struct Line {
    form: &'static Form,
    /// True once what makes it Argo's has come.
    is_ours: bool,
}

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.start))
    }
}

impl Filter {
    /// Takes a piece of the log, and adds to `passed` what the task wrote.
    pub fn take(&mut self, piece: &[u8], passed: &mut Vec<u8>) {
        let known = self.held.len();
        self.held.extend_from_slice(piece);
        // What is in front of it has been passed on or taken out.
        let mut from = 0;
        for at in known..self.held.len() {
            let seen = &self.held[from..=at];
            if let Some(form) = FORMS.iter().find(|form| ends_with(seen, form.start)) {
                let start = at + 1 - form.start.len();
                passed.extend_from_slice(&self.held[from..start]);
                from = start;
                self.line = Some(Line { form, is_ours: false });
            } else if let Some(line) = &mut self.line {
                line.is_ours |= ends_with(seen, line.form.inside);
                let is_whole = self.held[at] == b'\n';
                if is_whole && line.is_ours {
                    from = at + 1;
                }
                if is_whole || (seen.len() >= LONGEST && Protection::ArgoLineBound.is_on()) {
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

    /// What is left at the end of the log: the beginning of such a line that never came.
    pub fn finish(&mut self) -> Vec<u8> {
        self.line = None;
        std::mem::take(&mut self.held)
    }

    /// Bytes that are held back at the moment.
    pub fn held_bytes(&self) -> usize {
        self.held.len()
    }
}

/// Most comparisons fail at the last byte.
fn ends_with(text: &[u8], pattern: &[u8]) -> bool {
    text.last() == pattern.last() && text.ends_with(pattern)
}

/// How many bytes at the end of `text` may be the beginning of a form's start.
fn begun(text: &[u8]) -> usize {
    let fits = |form: &Form| {
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

    /// In pieces of every size.
    fn filtered(log: &str) -> String {
        let in_pieces = |size: usize| {
            let (mut filter, mut passed) = (Filter::default(), Vec::new());
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
    fn argos_lines_go_wherever_they_begin() {
        for line in [TEXT, JSON] {
            assert_eq!(filtered(&["first\n", line, line].concat()), "first\n");
            assert_eq!(filtered(&["no end of line", line].concat()), "no end of line");
            assert_eq!(filtered(&[line, "last"].concat()), "last");
        }
    }

    #[test]
    fn what_only_looks_like_it_stays() {
        for log in [
            "time=\"now\" it works\n",
            "{\"argo\":true, no\n",
            "time",
            "tick {\"argo\"",
            "",
        ] {
            assert_eq!(filtered(log), log);
        }
        let long = ["time=\"", &"x".repeat(2 * LONGEST)].concat();
        assert_eq!(filtered(&long), long);
    }

    /// The same rule written down plainly: in each line, the last start of a form decides.
    fn reference(log: &[u8]) -> Vec<u8> {
        let find = |line: &[u8], what: &[u8]| line.windows(what.len()).rposition(|window| window == what);
        let mut passed = Vec::new();
        for line in log.split_inclusive(|byte| *byte == b'\n') {
            let starts = FORMS
                .iter()
                .filter_map(|form| find(line, form.start).map(|at| (at, form)));
            let argos = starts.max_by_key(|(at, _)| *at).filter(|(at, form)| {
                line.ends_with(b"\n") && line.len() - at <= LONGEST && find(&line[*at..], form.inside).is_some()
            });
            passed.extend_from_slice(&line[..argos.map_or(line.len(), |(at, _)| at)]);
        }
        passed
    }

    /// A log of parts, in pieces of these sizes, over and over.
    fn agrees(log: &[u8], sizes: &[usize]) {
        let (mut filter, mut passed, mut rest) = (Filter::default(), Vec::new(), log);
        for size in sizes.iter().cycle() {
            let (piece, more) = rest.split_at(rest.len().min(*size));
            filter.take(piece, &mut passed);
            assert!(filter.held_bytes() < LONGEST, "{} bytes held", filter.held_bytes());
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
        fn the_result_is_that_of_the_plain_rule_however_a_log_is_cut(
            parts in proptest::collection::vec(0_usize..12, 0..24),
            sizes in proptest::collection::vec(1_usize..40, 1..8),
        ) {
            let long = "y".repeat(LONGEST - 20);
            let words = [
                TEXT, JSON, "time=\"", "{\"argo\":true,", " argo=true", "\"level\":", "\n", "x", "tim", "{\"argo\":t", "ime=\"", &long,
            ];
            let log: String = parts.iter().map(|part| words[*part]).collect();
            agrees(log.as_bytes(), &sizes);
        }
    }

    /// What was slow before: a start of a form without an end of the line, and many of them.
    #[test]
    fn sixteen_mebibytes_of_what_looks_like_argos_lines_are_held_to_one_line() {
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
            let (mut filter, mut passed) = (Filter::default(), Vec::new());
            for piece in log.chunks(64 << 10) {
                filter.take(piece, &mut passed);
                assert!(
                    filter.held_bytes() < LONGEST,
                    "{word}: {} bytes held",
                    filter.held_bytes()
                );
            }
            passed.extend(filter.finish());
            assert!(passed == log, "{word}");
        }
    }

    /// By the processor's time of this thread, for other tests run beside it: a hundred times as much would be quadratic.
    #[test]
    fn ten_times_the_log_takes_about_ten_times_as_long() {
        let took = |size: usize| {
            let log = b"time=\"".repeat(size / 6);
            let clock = || {
                let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
                now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
            };
            let began = clock();
            let (mut filter, mut passed) = (Filter::default(), Vec::new());
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
    fn output_is_not_held_back_for_its_own_sake() {
        let (mut filter, mut passed) = (Filter::default(), Vec::new());
        filter.take(b"50 %\rtime", &mut passed);
        assert_eq!(passed, b"50 %\r");
        filter.take(b"out\n", &mut passed);
        assert_eq!(passed, b"50 %\rtimeout\n");
    }
}
