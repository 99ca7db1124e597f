//! Staging folders: where content is built before it is published, and how those of killed processes are found.
//!
//! ```text
//! staging/.new-<name>/   until its maker has locked it: a sweep removes it only if it is old
//! staging/<name>/
//!   .maker     lock of the process that builds here: it is free if that process has ended
//!   .ready     a task may run from here: kept for a while after the maker has ended
//!   env/       what is being built; becomes a link when it is published
//!   env/.lease lock of the tasks that run from it
//! ```

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hybrid_cache_model::Failure;

use super::failure::IoContext;
use super::lock::{self, Lock, Missing, Mode};
use super::{files, folder};

const MAKER: &str = ".maker";
const READY: &str = ".ready";
/// Prefix of a folder that its maker has not locked yet.
const UNFINISHED: &str = ".new-";
/// How often to retry if a sweep removes the new folder.
const ATTEMPTS: usize = 64;
/// Name of what is being made, inside its staging folder.
pub const PRODUCT: &str = "env";
/// Name of the file whose shared lock keeps a folder from being removed.
pub const LEASE: &str = ".lease";
/// How long a task has to take its lease on a handed-out staging folder.
pub const GRACE: Duration = Duration::from_secs(60);

/// A staging folder of this process. Dropping it removes the folder, unless it was handed out to a task.
#[derive(Debug)]
pub struct Stage {
    path: PathBuf,
    _maker: Lock,
    handed_out: bool,
}

impl Stage {
    /// Creates a staging folder below `staging`.
    ///
    /// The folder gets its final name only when its lock is held, so a sweep never finds an unlocked one.
    ///
    /// # Errors
    /// The volume cannot be written.
    pub fn create(staging: &Path) -> Result<Stage, Failure> {
        files::ensure_folder(staging)?;
        for _ in 0..ATTEMPTS {
            let name = files::unique_name("make");
            let unfinished = staging.join(format!("{UNFINISHED}{name}"));
            let path = staging.join(&name);
            // Do not retry if the folder cannot be created, for example on a full volume.
            std::fs::create_dir(&unfinished).io_context("create the folder", &unfinished)?;
            match Stage::lock(&unfinished, &path) {
                Ok(Some(maker)) => {
                    return Ok(Stage {
                        path,
                        _maker: maker,
                        handed_out: false,
                    });
                }
                // A sweep took it for old, because the clocks of the file system and this machine differ. Retry.
                Ok(None) => {}
                Err(_) if !unfinished.exists() => {}
                Err(failure) => {
                    drop(std::fs::remove_dir_all(&unfinished));
                    return Err(failure);
                }
            }
        }
        let message = format!("every new folder in {} was removed immediately", staging.display());
        let failure = Failure::new(hybrid_cache_model::FailureKind::CacheAccess, message);
        Err(failure.hint("set the clocks of this machine and of the volume's server to the same time"))
    }

    /// Locks `unfinished` and renames it to `path`; `None` if a sweep held its lock.
    fn lock(unfinished: &Path, path: &Path) -> Result<Option<Lock>, Failure> {
        let maker = lock::attempt(&unfinished.join(MAKER), Mode::Exclusive, Missing::Create)?;
        if maker.is_some() {
            std::fs::rename(unfinished, path).io_context("rename into place", path)?;
        }
        Ok(maker)
    }

    /// The staging folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder of what is being made.
    pub fn product(&self) -> PathBuf {
        self.path.join(PRODUCT)
    }

    /// Marks this folder as handed out to a task. From now on only a sweep removes it, once it is unused.
    ///
    /// # Errors
    /// The volume cannot be written.
    pub fn hand_out(&mut self) -> Result<(), Failure> {
        let path = self.path.join(READY);
        File::create(&path).io_context("create", &path)?;
        self.handed_out = true;
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if !self.handed_out {
            // The next sweep deletes the rest.
            drop(files::delete(&self.path));
        }
    }
}

/// The staging folders that no process builds in and no task uses.
///
/// # Errors
/// The folder cannot be read.
pub fn abandoned(staging: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut found = folder::entries(staging)?;
    found.retain(|path| claim(path).is_some());
    Ok(found)
}

/// True for a staging folder that was handed out to a task: its content was verified, and a sweep removes it later.
pub fn was_handed_out(path: &Path) -> bool {
    path.join(READY).exists()
}

/// The locks of a staging folder that is not in use; `None` for any other.
fn claim(path: &Path) -> Option<Vec<Lock>> {
    let maker = path.join(MAKER);
    if is_unfinished(path) && age(path) <= GRACE {
        return None;
    }
    if !maker.exists() {
        // It is half removed, by its maker or by another sweep.
        return (age(path) > GRACE).then(Vec::new);
    }
    let free = |file: &Path| lock::attempt(file, Mode::Exclusive, Missing::Absent).ok().flatten();
    let maker = free(&maker)?;
    if was_handed_out(path) && age(&path.join(READY)) <= GRACE {
        return None;
    }
    let product = path.join(PRODUCT);
    let lease = product.join(LEASE);
    if product.is_symlink() {
        // It is published. Do not take its lease even briefly: a concurrent lookup would miss and build it again.
        return (!lock::is_held(&lease).ok()?).then(|| vec![maker]);
    }
    if !lease.exists() {
        return Some(vec![maker]);
    }
    Some(vec![maker, free(&lease)?])
}

fn is_unfinished(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.as_encoded_bytes().starts_with(UNFINISHED.as_bytes())
}

/// The time since the file, folder or link itself was written; zero if unknown. A time more than [`GRACE`] in the
/// future comes from a clock that was set back since, and counts as long ago.
pub fn age(path: &Path) -> Duration {
    let written = path.symlink_metadata().and_then(|found| found.modified());
    match written.map(|at| at.elapsed()) {
        Ok(Ok(age)) => age,
        Ok(Err(ahead)) if ahead.duration() > GRACE => Duration::MAX,
        Ok(Err(_)) | Err(_) => Duration::ZERO,
    }
}

/// Removes what killed processes left in `staging` and `trash`, until `deadline`. Returns the number of entries.
///
/// # Errors
/// Something cannot be removed. The rest is removed nevertheless.
pub fn sweep(staging: &Path, trash: &Path, deadline: Instant) -> Result<usize, Failure> {
    let mut swept = 0;
    let mut first_failure = None;
    let mut note = |result: Result<(), Failure>| match result {
        Ok(()) => swept += 1,
        Err(failure) => first_failure = first_failure.take().or(Some(failure)),
    };
    let in_time = || Instant::now() < deadline;
    for path in folder::entries(staging)?.into_iter().take_while(|_| in_time()) {
        let claimed = claim(&path);
        if claimed.is_some() {
            note(files::discard(&path, trash));
        }
        // Release the locks only after the folder is moved.
        drop(claimed);
    }
    // Everything in the trash is to be deleted; concurrent deletion is harmless.
    let trashed = std::fs::read_dir(trash).into_iter().flatten().flatten();
    for entry in trashed.take_while(|_| in_time()) {
        note(files::delete(&entry.path()));
    }
    first_failure.map_or(Ok(swept), Err)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn a_stage_lives_with_its_maker() {
        let dir = tempfile::tempdir().unwrap();
        let (staging, trash) = (dir.path().join("staging"), dir.path().join("trash"));
        let stage = Stage::create(&staging).unwrap();
        assert_eq!(sweep(&staging, &trash, soon()).unwrap(), 0);
        let path = stage.path().to_owned();
        drop(stage);
        assert!(!path.exists());
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    /// Sweeps without a pause from several threads while `work` runs. They end with it, also when it panics, and by themselves.
    fn while_sweeping(sweepers: usize, [staging, trash]: [&Path; 2], work: impl FnOnce()) {
        let done = AtomicBool::new(false);
        let give_up = Instant::now() + Duration::from_secs(50);
        std::thread::scope(|scope| {
            let _end = EndOnDrop(&done);
            for _ in 0..sweepers {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) && Instant::now() < give_up {
                        sweep(staging, trash, give_up).unwrap();
                    }
                });
            }
            work();
        });
    }

    /// Tells threads that their work is over, on every way out of a scope.
    struct EndOnDrop<'a>(&'a AtomicBool);

    impl Drop for EndOnDrop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn no_stage_is_swept_from_under_its_maker() {
        let dir = tempfile::tempdir().unwrap();
        let (staging, trash) = (dir.path().join("staging"), dir.path().join("trash"));
        while_sweeping(2, [&staging, &trash], || {
            let gone = (0..300).filter(|_| {
                let stage = Stage::create(&staging).unwrap();
                std::thread::yield_now();
                !stage.path().exists()
            });
            assert_eq!(gone.count(), 0);
        });
    }

    #[test]
    fn sweepers_end_when_the_work_beside_them_panics() {
        let dir = tempfile::tempdir().unwrap();
        let (staging, trash) = (dir.path().join("staging"), dir.path().join("trash"));
        let began = Instant::now();
        let ended = std::panic::catch_unwind(|| while_sweeping(2, [&staging, &trash], || panic!("on purpose")));
        assert!(ended.is_err() && began.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn the_unfinished_folder_of_a_killed_maker_is_swept_once_it_is_old() {
        let dir = tempfile::tempdir().unwrap();
        let (staging, trash) = (dir.path().join("staging"), dir.path().join("trash"));
        let unfinished = staging.join(format!("{UNFINISHED}x"));
        std::fs::create_dir_all(&unfinished).unwrap();
        File::create(unfinished.join(MAKER)).unwrap();
        assert_eq!(sweep(&staging, &trash, soon()).unwrap(), 0);
        let long_ago = std::time::SystemTime::now() - GRACE * 2;
        File::open(&unfinished).unwrap().set_modified(long_ago).unwrap();
        assert_eq!(sweep(&staging, &trash, soon()).unwrap(), 1);
    }

    #[test]
    fn the_killed_makers_folder_is_swept_and_the_used_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (staging, trash) = (dir.path().join("staging"), dir.path().join("trash"));
        for name in ["killed", "used"] {
            std::fs::create_dir_all(staging.join(name).join(PRODUCT)).unwrap();
            File::create(staging.join(name).join(MAKER)).unwrap();
            File::create(staging.join(name).join(PRODUCT).join(LEASE)).unwrap();
        }
        let lease = staging.join("used").join(PRODUCT).join(LEASE);
        let user = lock::attempt(&lease, Mode::Shared, Missing::Absent).unwrap().unwrap();
        assert_eq!(sweep(&staging, &trash, soon()).unwrap(), 1);
        assert!(staging.join("used").exists() && !staging.join("killed").exists());
        drop(user);
        assert_eq!(sweep(&staging, &trash, soon()).unwrap(), 1);
    }

    #[test]
    fn sweeping_a_published_stage_never_blocks_its_lease() {
        let dir = tempfile::tempdir().unwrap();
        let (staging, trash) = (dir.path().join("staging"), dir.path().join("trash"));
        let published = dir.path().join("envs/e");
        std::fs::create_dir_all(&published).unwrap();
        let lease = published.join(LEASE);
        File::create(&lease).unwrap();
        let take = || lock::attempt(&lease, Mode::Shared, Missing::Absent).unwrap();
        let stage = |name: &str| {
            let stage = staging.join(name);
            std::fs::create_dir_all(&stage).unwrap();
            File::create(stage.join(MAKER)).unwrap();
            rustix::fs::symlink(&published, stage.join(PRODUCT)).unwrap();
        };
        let done = AtomicBool::new(false);
        let (mut missed, mut swept) = (0, 0);
        std::thread::scope(|scope| {
            let _end = EndOnDrop(&done);
            let sweeper = scope.spawn(|| {
                let mut swept = 0;
                for number in 0..100_000 {
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                    stage(&format!("gone-{number}"));
                    swept += sweep(&staging, &trash, soon()).unwrap();
                }
                swept
            });
            for _ in 0..10_000 {
                missed += usize::from(take().is_none());
            }
            done.store(true, Ordering::Relaxed);
            swept = sweeper.join().unwrap();
        });
        assert!(missed == 0 && swept > 0, "{missed} missed beside {swept} sweeps");
        sweep(&staging, &trash, soon()).unwrap();
        // A task that uses it may still import from the staging folder.
        stage("used");
        let user = take();
        assert_eq!(sweep(&staging, &trash, soon()).unwrap(), 0);
        drop(user);
        assert_eq!(sweep(&staging, &trash, soon()).unwrap(), 1);
    }

    #[test]
    fn a_handed_out_stage_outlives_its_maker_for_a_while() {
        let dir = tempfile::tempdir().unwrap();
        let (staging, trash) = (dir.path().join("staging"), dir.path().join("trash"));
        let mut stage = Stage::create(&staging).unwrap();
        let path = stage.path().to_owned();
        stage.hand_out().unwrap();
        drop(stage);
        assert_eq!(sweep(&staging, &trash, soon()).unwrap(), 0);
        assert!(path.exists());
        let now = std::time::SystemTime::now();
        let ready = File::open(path.join(READY)).unwrap();
        // A clock that is off by less than the time of grace takes nothing away too early.
        ready.set_modified(now + GRACE / 2).unwrap();
        assert_eq!(sweep(&staging, &trash, soon()).unwrap(), 0);
        ready.set_modified(now - GRACE * 2).unwrap();
        assert_eq!(sweep(&staging, &trash, soon()).unwrap(), 1);
    }

    #[test]
    fn a_folder_that_cannot_be_created_is_reported_without_retries() {
        // Not even root can create folders there.
        let failure = Stage::create(Path::new("/proc/self")).unwrap_err();
        assert!(
            failure.message.starts_with("could not create the folder /proc/self/"),
            "{failure}"
        );
    }

    #[test]
    fn a_stage_with_a_time_in_the_future_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let (staging, trash) = (dir.path().join("staging"), dir.path().join("trash"));
        let mut stage = Stage::create(&staging).unwrap();
        let ready = stage.path().join(READY);
        stage.hand_out().unwrap();
        drop(stage);
        let ahead = std::time::SystemTime::now() + GRACE * 1000;
        File::open(ready).unwrap().set_modified(ahead).unwrap();
        assert_eq!(sweep(&staging, &trash, soon()).unwrap(), 1);
    }
}
