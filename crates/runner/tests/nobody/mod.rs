//! Work as a user who may not do everything: what root can read and remove, a runner in a pod cannot.

#![expect(clippy::unwrap_used, reason = "all of this is test code")]

use std::path::Path;

use rustix::process::geteuid;
use rustix::thread::{Uid, set_thread_res_uid};

const NOBODY: u32 = 65534;

/// Gives the folder and all that is in it to nobody, where this is root's to give.
pub fn give(folder: &Path) {
    if !geteuid().is_root() {
        return;
    }
    std::os::unix::fs::lchown(folder, Some(NOBODY), None).unwrap();
    let is_folder = folder.symlink_metadata().unwrap().is_dir();
    let entries = is_folder.then(|| std::fs::read_dir(folder).unwrap().flatten());
    entries.into_iter().flatten().for_each(|entry| give(&entry.path()));
}

/// Runs `work` in a thread of nobody's; an ordinary user is left as he is.
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
