//! The runner's report at the end of a task's log.
//!
//! A kubelet checks its containers once a second, so it shows the end of one up to a second late, but the log arrives at
//! once. So the runner writes its report not only as the termination message, but also after the task's output:
//!
//! ```text
//! …the task's last output␞<token> {"report":"finished",…}\n
//! ```
//!
//! Only a process that knows the token can report how a task ended. The token is made for one Job and given to the runner
//! in a variable, which user code can neither inherit nor read: the runner passes no variables on and cannot be inspected.
//! In the log of a standby pod, a line of the same form comes first: the runner has accepted the order.
//!
//! If no trailer arrives (an older image, a killed runner), the container's state shows the report.

use std::hash::{BuildHasher, RandomState};

use hybrid_cache_model::pod::{STANDBY_ACCEPTED, TRAILER_MARK};

use crate::kube::config::KubeConfig;

/// Most bytes of a report. Longer text after a marker is passed on as output.
const MAX_REPORT_BYTES: usize = 1 << 20;

/// The token of a new task. `None` for a Workflow: Argo starts the runner as a child of its own program, whose variables
/// user code could read.
pub fn token_for(config: &KubeConfig) -> Option<String> {
    config.argo.is_none().then(token)
}

/// A new token: 128 bits from the keyed hash that the standard library seeds from the system's random numbers.
pub fn token() -> String {
    let random = || RandomState::new().hash_one("trailer");
    format!("{:016x}{:016x}", random(), random())
}

/// Removes the trailer from a log that arrives in pieces.
pub struct TrailerScanner {
    /// What the trailer begins with; `None` once it was found, or if there is no token.
    marker: Option<Vec<u8>>,
    /// The end of what has arrived, which may be the beginning of a marker.
    held: Vec<u8>,
    /// What has arrived of the trailer.
    report: Option<Vec<u8>>,
    /// True once the runner of a standby pod has said that it begins the task.
    is_accepted: bool,
}

impl TrailerScanner {
    /// Looks for the trailer with this token.
    pub fn new(token: Option<&str>) -> TrailerScanner {
        TrailerScanner {
            marker: token.map(|token| [TRAILER_MARK, token, " "].concat().into_bytes()),
            held: Vec::new(),
            report: None,
            is_accepted: false,
        }
    }

    /// True once the runner of a standby pod has said that it begins the task.
    pub fn is_accepted(&self) -> bool {
        self.is_accepted
    }

    /// Takes a piece of the log. Adds to `passed` what the task wrote, and returns the report once it is complete.
    pub fn take(&mut self, piece: &[u8], passed: &mut Vec<u8>) -> Option<String> {
        let Some(marker) = &self.marker else {
            passed.extend_from_slice(piece);
            return None;
        };
        // Each byte is searched once, however many pieces the report arrives in.
        let mut searched = 0;
        if self.report.is_none() {
            self.held.extend_from_slice(piece);
            let Some(at) = find(&self.held, marker) else {
                let keep = overlap(&self.held, marker);
                let pass = self.held.len() - keep;
                passed.extend(self.held.drain(..pass));
                return None;
            };
            passed.extend_from_slice(&self.held[..at]);
            self.report = Some(self.held.split_off(at + marker.len()));
            self.held.clear();
        } else if let Some(report) = &mut self.report {
            searched = report.len();
            report.extend_from_slice(piece);
        }
        let report = self.report.as_mut()?;
        let end = report[searched..].iter().position(|byte| *byte == b'\n');
        let Some(end) = end.map(|end| searched + end) else {
            if report.len() > MAX_REPORT_BYTES {
                passed.append(report);
                (self.report, self.marker) = (None, None);
            }
            return None;
        };
        if &report[..end] == STANDBY_ACCEPTED.as_bytes() {
            self.is_accepted = true;
            let rest = report.split_off(end + 1);
            self.report = None;
            return self.take(&rest, passed);
        }
        // If both streams arrive as one, some of the other stream may follow the report.
        passed.extend_from_slice(&report[end + 1..]);
        report.truncate(end);
        // There is only one trailer.
        self.marker = None;
        String::from_utf8(self.report.take()?).ok()
    }

    /// Ends the log: what was held back was not a marker.
    pub fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }
}

fn find(text: &[u8], marker: &[u8]) -> Option<usize> {
    text.windows(marker.len()).position(|window| window == marker)
}

/// How many bytes at the end of `text` could be the beginning of `marker`.
fn overlap(text: &[u8], marker: &[u8]) -> usize {
    let most = text.len().min(marker.len() - 1);
    let fits = |count: &usize| text.ends_with(&marker[..*count]);
    (1..=most).rev().find(fits).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &[u8] = b"one\n\x1e\x1etwo\x1etoken \x1etok\x1eabc {\"report\":1}\nerr\n";

    fn read(pieces: &[&[u8]], token: Option<&str>) -> (Vec<u8>, Vec<String>) {
        let mut scanner = TrailerScanner::new(token);
        let (mut passed, mut reports) = (Vec::new(), Vec::new());
        for piece in pieces {
            reports.extend(scanner.take(piece, &mut passed));
        }
        passed.extend(scanner.finish());
        (passed, reports)
    }

    #[test]
    fn the_trailer_is_found_wherever_the_log_is_cut_and_the_rest_is_passed_on() {
        let expected = (
            b"one\n\x1e\x1etwo\x1etoken \x1etokerr\n".to_vec(),
            vec!["{\"report\":1}".to_owned()],
        );
        for cut in 0..=LOG.len() {
            let (one, other) = LOG.split_at(cut);
            assert_eq!(read(&[one, other], Some("abc")), expected, "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = LOG.chunks(1).collect();
        assert_eq!(read(&bytes, Some("abc")), expected);
    }

    #[test]
    fn the_line_of_a_standby_pod_is_no_output_and_no_report() {
        let log = [b"\x1eabc accepted\n".as_slice(), LOG].concat();
        for cut in 0..=log.len() {
            let (mut scanner, mut passed) = (TrailerScanner::new(Some("abc")), Vec::new());
            let (one, other) = log.split_at(cut);
            let mut reports: Vec<_> = scanner.take(one, &mut passed).into_iter().collect();
            reports.extend(scanner.take(other, &mut passed));
            passed.extend(scanner.finish());
            assert_eq!(passed, b"one\n\x1e\x1etwo\x1etoken \x1etokerr\n", "cut at {cut}");
            assert_eq!(
                (reports, scanner.is_accepted()),
                (vec!["{\"report\":1}".to_owned()], true)
            );
        }
        let mut other = TrailerScanner::new(Some("xyz"));
        other.take(&log, &mut Vec::new());
        assert!(!other.is_accepted());
    }

    #[test]
    fn without_the_token_nothing_is_a_trailer() {
        for token in [None, Some("other")] {
            assert_eq!(read(&[LOG], token), (LOG.to_vec(), Vec::new()));
        }
    }

    #[test]
    fn bytes_that_were_held_back_are_not_lost() {
        let (passed, reports) = read(&[b"end\x1eab"], Some("abc"));
        assert_eq!((passed.as_slice(), reports.len()), (b"end\x1eab".as_slice(), 0));
    }

    #[test]
    fn a_report_without_an_end_is_passed_on() {
        let (mut scanner, mut passed) = (TrailerScanner::new(Some("abc")), Vec::new());
        assert!(scanner.take(b"one\n\x1eabc {", &mut passed).is_none());
        for _ in 0..=MAX_REPORT_BYTES / 1000 + 1 {
            assert!(scanner.take(&[b'x'; 1000], &mut passed).is_none());
        }
        assert!(passed.len() > MAX_REPORT_BYTES && scanner.report.is_none());
        scanner.take(b"more", &mut passed);
        assert!(passed.ends_with(b"xmore"));
    }

    #[test]
    fn tokens_differ() {
        let tokens: std::collections::HashSet<String> = (0..100).map(|_| token()).collect();
        assert_eq!(tokens.len(), 100);
        assert!(tokens.iter().all(|token| token.len() == 32));
    }
}
