//! Runs test code as an unprivileged user, like a runner in a pod.

#![expect(clippy::unwrap_used, reason = "all of this is test code")]

use std::path::Path;

use rustix::process::geteuid;
use rustix::thread::{Uid, set_thread_res_uid};

const NOBODY: u32 = 65534;

/// Changes the owner of the folder and its content to nobody, if the test runs as root.
pub fn give(folder: &Path) {
    if !geteuid().is_root() {
        return;
    }
    std::os::unix::fs::lchown(folder, Some(NOBODY), None).unwrap();
    let is_folder = folder.symlink_metadata().unwrap().is_dir();
    let entries = is_folder.then(|| std::fs::read_dir(folder).unwrap().flatten());
    entries.into_iter().flatten().for_each(|entry| give(&entry.path()));
}

/// Runs `work` in a thread of the user nobody, or as the current user if that is not root.
pub fn run<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            if geteuid().is_root() {
                let nobody = Uid::from_raw(NOBODY);
                set_thread_res_uid(nobody, nobody, nobody).unwrap();
            }
            work()
        });
        worker.join().unwrap()
    })
}
