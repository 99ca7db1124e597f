//! The cluster of the tests: created so that Ctrl-C can interrupt it, and deleted in any case.

use std::sync::Arc;
use std::time::Duration;

use hybrid_cache_cluster::TestCluster;
use hybrid_cache_tools::{Checkout, Error, Progress, Result};

use crate::runtime;

/// A cluster that tests may use.
pub struct ClusterOfTests {
    /// Variables that name the cluster to the tests.
    pub variables: Vec<(&'static str, String)>,
    cluster: TestCluster,
    keep: bool,
}

impl ClusterOfTests {
    /// Brings the cluster up, or says why there is none. Before that, prints what it creates.
    pub fn make(checkout: &Checkout, keep: bool, progress: &Arc<dyn Progress>) -> Result<ClusterOfTests> {
        let reserved = runtime::current_thread()?.block_on(TestCluster::reserve(checkout))?;
        let name = TestCluster::NAME;
        let then = match keep {
            true => format!("It stays (--keep-cluster); `cargo xtask down --name {name} --volumes` deletes it"),
            false => "Afterwards it and its caches are deleted".to_owned(),
        };
        eprintln!(
            "tests on a cluster: making kind cluster {name} in Docker for them. {then}. --no-cluster leaves them out"
        );
        let mut made = ClusterOfTests {
            variables: Vec::new(),
            cluster: reserved,
            keep,
        };
        match made.fill(checkout, progress) {
            Ok(()) => Ok(made),
            Err(error) => {
                // Delete a partly created cluster too, and return the first error.
                if let Err(left) = made.take_down(checkout, progress) {
                    eprintln!("{left:#}");
                }
                Err(error)
            }
        }
    }

    fn fill(&mut self, checkout: &Checkout, progress: &Arc<dyn Progress>) -> Result<()> {
        let stopped = || "making the cluster of the tests was interrupted".to_owned();
        self.variables = to_the_end(self.cluster.make(checkout, progress), stopped)??;
        match to_the_end(self.cluster.add_argo(checkout, progress), stopped)? {
            Ok(variable) => self.variables.push(variable),
            Err(error) => eprintln!("skipped: tests of Workflows: {error:#}"),
        }
        Ok(())
    }

    /// Deletes the cluster and its caches, unless it should be kept.
    ///
    /// # Errors
    /// The cluster cannot be deleted, or Ctrl-C interrupted that; the message says that the cluster still exists.
    pub fn take_down(self, checkout: &Checkout, progress: &Arc<dyn Progress>) -> Result<()> {
        if self.keep {
            return Ok(());
        }
        to_the_end(self.cluster.delete(checkout, progress.as_ref()), TestCluster::left)?
    }
}

/// Runs to the end or to Ctrl-C. Ctrl-C is the outer error, so that the steps after it are skipped.
fn to_the_end<T>(work: impl Future<Output = Result<T>>, interrupted: impl FnOnce() -> String) -> Result<Result<T>> {
    let runtime = runtime::current_thread()?;
    let ended = runtime.block_on(unless(tokio::signal::ctrl_c(), work));
    // A thread that waits for a lock cannot be stopped.
    runtime.shutdown_timeout(Duration::from_millis(10));
    ended.ok_or_else(|| Error::interrupted(interrupted()))
}

/// The result of the work; `None` if `stop` came first.
async fn unless<T>(stop: impl Future, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        ended = work => Some(ended),
        _ = stop => None,
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[test]
    fn an_interrupted_step_is_told_from_one_that_was_done() {
        let done = to_the_end(ready(Ok(1)), || "made halfway".to_owned());
        assert_eq!(done.unwrap().unwrap(), 1);
        let failed = to_the_end(ready(Err::<(), _>(Error::failed("no space"))), || {
            "made halfway".to_owned()
        });
        assert_eq!(failed.unwrap().unwrap_err().to_string(), "no space");
        let runtime = runtime::current_thread().unwrap();
        assert_eq!(runtime.block_on(unless(ready(()), pending::<()>())), None);
    }
}
