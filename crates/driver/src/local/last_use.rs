//! Records when an environment was last used, as the modification time of its lease. Eviction deletes the least recently used
//! environments first.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use hybrid_cache_model::{PythonRequest, RequestKey, SystemKey, Task, Tenant};

use crate::local::config::LocalConfig;
use crate::local::volumes::VolumePair;

/// A time of use that is younger than this is not written again, so that a busy cache is not written on every run.
const TOUCH_AFTER: Duration = Duration::from_secs(60);

/// Records that a task has used its environments now. The task itself sees them read-only. If the time cannot be recorded (a
/// read-only cache), eviction is only less exact.
pub fn record(config: &LocalConfig, volumes: &VolumePair, tenant: &Tenant, task: &Task) {
    let context = config.context(tenant);
    if !task.requirements.is_empty() {
        let key = RequestKey::new(&PythonRequest::of(task, &context));
        // The request is a symbolic link to its environment, so this names the environment's own lease.
        let requests = volumes.python.join(tenant.folder()).join("requests");
        touch_file(&requests.join(key.as_str()).join(".lease"));
    }
    if !task.system.is_empty() {
        let key = SystemKey::new(&task.system, &context);
        let leases = volumes.system_state().join(tenant.folder()).join("leases");
        touch_file(&leases.join(key.as_str()));
    }
}

fn touch_file(path: &Path) {
    let now = SystemTime::now();
    let Ok(used) = fs::metadata(path).and_then(|metadata| metadata.modified()) else {
        return;
    };
    // A time in the future is of a clock that was set back since. Left alone, it would prevent eviction until then.
    if now.duration_since(used).is_ok_and(|age| age <= TOUCH_AFTER) {
        return;
    }
    // An error only makes eviction less exact.
    let _ = fs::File::options()
        .append(true)
        .open(path)
        .and_then(|file| file.set_modified(now));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_use_is_written_only_if_the_last_one_is_old() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".lease");
        let file = fs::File::create(&path).unwrap();
        let modified = || fs::metadata(&path).unwrap().modified().unwrap();
        let recent = SystemTime::now() - Duration::from_secs(5);
        file.set_modified(recent).unwrap();
        touch_file(&path);
        assert!(modified().duration_since(recent).unwrap() < Duration::from_secs(1));
        for other in [recent - TOUCH_AFTER, SystemTime::now() + TOUCH_AFTER] {
            file.set_modified(other).unwrap();
            touch_file(&path);
            assert!(modified().elapsed().unwrap() < Duration::from_secs(1), "{other:?}");
        }
    }
}
