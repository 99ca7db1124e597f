//! Reads one line of a container's log, found by the mark that it begins with.
//!
//! A termination message is too small for lists of packages, so containers that run no user code write those to their
//! logs.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Resource;
use kube::api::{LogParams, Request};
use serde::de::DeserializeOwned;

use crate::kube::api::cluster::Cluster;
use crate::kube::api::retry::ANSWER_TIMEOUT;

/// How often a log is read that is not available, or not complete yet.
const ATTEMPTS: u32 = 3;
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// A list of what the volumes hold is a few megabytes; a kubelet keeps ten by default.
const MAX_LOG_BYTES: i64 = 64 << 20;

/// What a container has written to its log behind a mark, as JSON. `None` if no attempt finds a complete line.
pub async fn read<T: DeserializeOwned>(cluster: &Cluster, pod: &str, container: &str, mark: &str) -> Option<T> {
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        let params = LogParams {
            container: Some(container.to_owned()),
            limit_bytes: Some(MAX_LOG_BYTES),
            ..LogParams::default()
        };
        let request = Request::new(Pod::url_path(&(), Some(&cluster.namespace)))
            .logs(pod, &params)
            .ok()?;
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, cluster.client.request_text(request)).await;
        if let Ok(Ok(log)) = answer
            && let Some(found) = find_marked(&log, mark)
        {
            return Some(found);
        }
    }
    None
}

/// The last line of a log that begins with a mark, without it.
fn find_marked<T: DeserializeOwned>(log: &str, mark: &str) -> Option<T> {
    let mut lines = log.lines().rev();
    let text = lines.find_map(|line| line.strip_prefix(mark))?;
    serde_json::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use hybrid_cache_model::contents::Contents;
    use hybrid_cache_model::pod::CONTENTS_MARK;

    use super::*;

    #[test]
    fn a_marked_line_is_found_among_others_and_an_incomplete_one_is_not() {
        let log = format!("words\n{CONTENTS_MARK}{{}}\nmore\n");
        assert_eq!(find_marked::<Contents>(&log, CONTENTS_MARK), Some(Contents::default()));
        assert_eq!(
            find_marked::<Contents>(&format!("{CONTENTS_MARK}{{\"pyth"), CONTENTS_MARK),
            None
        );
        assert_eq!(find_marked::<Contents>("words", CONTENTS_MARK), None);
    }
}
