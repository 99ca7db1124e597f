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

/// What such a line begins with, and what else is in it.
const FORMS: [(&[u8], &[u8]); 2] = [(b"time=\"", b" argo=true"), (b"{\"argo\":true,", b"\"level\":")];
/// No line of Argo's is longer; nothing is held back for longer than this.
const LONGEST: usize = 4096;

/// Takes them out of a log that comes in pieces.
#[derive(Debug, Default)]
pub struct Filter {
    /// The end of what has come, which may be the beginning of such a line.
    held: Vec<u8>,
}

impl Filter {
    /// Takes a piece of the log, and adds to `passed` what the task wrote.
    pub fn take(&mut self, piece: &[u8], passed: &mut Vec<u8>) {
        self.held.extend_from_slice(piece);
        let mut from = 0;
        while let Some(at) = next_candidate(&self.held, from) {
            match judge(&self.held[at..]) {
                Verdict::Ours(length) => {
                    self.held.drain(at..at + length);
                    from = at;
                }
                Verdict::Theirs => from = at + 1,
                Verdict::Open => {
                    passed.extend(self.held.drain(..at));
                    return;
                }
            }
        }
        passed.append(&mut self.held);
    }

    /// What is left at the end of the log: the beginning of such a line that never came.
    pub fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }
}

/// Whether a line is Argo's.
enum Verdict {
    /// It is, with so many bytes.
    Ours(usize),
    /// The task wrote it.
    Theirs,
    /// More has to come first.
    Open,
}

/// Where the next line may begin that is Argo's.
fn next_candidate(bytes: &[u8], from: usize) -> Option<usize> {
    let may_begin = |rest: &[u8]| {
        FORMS.iter().any(|(start, _)| {
            let known = rest.len().min(start.len());
            rest[..known] == start[..known]
        })
    };
    (from..bytes.len()).find(|at| may_begin(&bytes[*at..]))
}

fn judge(rest: &[u8]) -> Verdict {
    let Some((_, inside)) = FORMS.iter().find(|(start, _)| rest.starts_with(start)) else {
        // Too short to say.
        return Verdict::Open;
    };
    let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
        return if rest.len() > LONGEST {
            Verdict::Theirs
        } else {
            Verdict::Open
        };
    };
    let line = &rest[..end];
    if line.windows(inside.len()).any(|window| window == *inside) {
        Verdict::Ours(end + 1)
    } else {
        Verdict::Theirs
    }
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

    #[test]
    fn output_is_not_held_back_for_its_own_sake() {
        let (mut filter, mut passed) = (Filter::default(), Vec::new());
        filter.take(b"50 %\rtime", &mut passed);
        assert_eq!(passed, b"50 %\r");
        filter.take(b"out\n", &mut passed);
        assert_eq!(passed, b"50 %\rtimeout\n");
    }
}
