//! Staging folders: where something is made before it is published, and how the left-overs of the killed are found.
//!
//! ```text
//! staging/<name>/
//!   .maker     lock of the process that works here: not locked means that it is gone
//!   .ready     a task may run from here, or be about to: kept for a while after the maker is gone
//!   env/       what is being made; becomes a link when it is published
//!   env/.lease lock of whoever runs from it
//! ```

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hybrid_cache_model::Failure;

use super::failure::At;
use super::lock::{self, Lock, Missing, Mode};
use super::publish;

const MAKER: &str = ".maker";
const READY: &str = ".ready";
/// Name of what is being made, inside its staging folder.
pub const PRODUCT: &str = "env";
/// Name of the file whose shared lock keeps a folder from being removed.
pub const LEASE: &str = ".lease";
/// How long a task that was told of a staging folder has to take its lease.
pub const GRACE: Duration = Duration::from_secs(60);

/// A staging folder of this process. Dropping it removes the folder, unless a task was told of it.
#[derive(Debug)]
pub struct Stage {
    path: PathBuf,
    _maker: Lock,
    handed_out: bool,
}

impl Stage {
    /// Makes a new staging folder below `staging`.
    ///
    /// # Errors
    /// The volume cannot be written.
    pub fn create(staging: &Path) -> Result<Stage, Failure> {
        publish::ensure_folder(staging)?;
        // A sweeper may take a folder away before its maker has locked it: then there is simply another.
        for _ in 0..8 {
            let path = staging.join(publish::unique_name("make"));
            std::fs::create_dir(&path).at("create the folder", &path)?;
            match lock::attempt(&path.join(MAKER), Mode::Exclusive, Missing::Create) {
                Ok(Some(maker)) => {
                    return Ok(Stage {
                        path,
                        _maker: maker,
                        handed_out: false,
                    });
                }
                Ok(None) => {}
                Err(_) if !path.exists() => {}
                Err(failure) => {
                    drop(std::fs::remove_dir_all(&path));
                    return Err(failure);
                }
            }
        }
        let message = format!("every new folder in {} was taken away at once", staging.display());
        Err(Failure::new(hybrid_cache_model::FailureKind::CacheAccess, message))
    }

    /// The staging folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder of what is being made.
    pub fn product(&self) -> PathBuf {
        self.path.join(PRODUCT)
    }

    /// Says that a task will be told of this folder: from now on only a sweep removes it, when nobody uses it.
    ///
    /// # Errors
    /// The volume cannot be written.
    pub fn hand_out(&mut self) -> Result<(), Failure> {
        let path = self.path.join(READY);
        File::create(&path).at("create", &path)?;
        self.handed_out = true;
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if !self.handed_out {
            // What cannot be deleted now is found by the next sweep.
            drop(publish::delete(&self.path));
        }
    }
}

/// Names of the staging folders that nobody works in and nobody uses.
///
/// # Errors
/// The folder cannot be read.
pub fn abandoned(staging: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut found = all(staging)?;
    found.retain(|path| claim(path).is_some());
    Ok(found)
}

fn all(staging: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = match std::fs::read_dir(staging) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.at("read the folder", staging)?,
    };
    let path = |entry: std::io::Result<std::fs::DirEntry>| Ok(entry.at("read the folder", staging)?.path());
    entries.map(path).collect()
}

/// True for a staging folder that a task was told of: what is in it was verified, and it goes with the next sweep.
pub fn was_handed_out(path: &Path) -> bool {
    path.join(READY).exists()
}

/// The locks of a staging folder that nobody works in and nobody uses; `None` for any other. While they are held nobody
/// can begin to: a maker that has made its file and not yet locked it finds it locked, or gone, and takes another folder.
fn claim(path: &Path) -> Option<Vec<Lock>> {
    let maker = path.join(MAKER);
    if !maker.exists() {
        // Made a moment ago and not yet locked, or already half removed.
        return (age(path) > GRACE).then(Vec::new);
    }
    let free = |file: &Path| lock::attempt(file, Mode::Exclusive, Missing::Absent).ok().flatten();
    let maker = free(&maker)?;
    if was_handed_out(path) && age(&path.join(READY)) <= GRACE {
        return None;
    }
    let lease = path.join(PRODUCT).join(LEASE);
    if !lease.exists() {
        return Some(vec![maker]);
    }
    Some(vec![maker, free(&lease)?])
}

/// How long ago the file, folder or link itself was written; zero where that is not known.
pub fn age(path: &Path) -> Duration {
    path.symlink_metadata()
        .and_then(|found| found.modified())
        .ok()
        .and_then(|at| at.elapsed().ok())
        .unwrap_or_default()
}

/// Removes what killed processes left in `staging` and `trash`; how many entries that were.
///
/// # Errors
/// Something cannot be removed; the rest is tried nevertheless.
pub fn sweep(staging: &Path, trash: &Path) -> Result<usize, Failure> {
    let mut swept = 0;
    let mut first_failure = None;
    let mut note = |result: Result<(), Failure>| match result {
        Ok(()) => swept += 1,
        Err(failure) => first_failure = first_failure.take().or(Some(failure)),
    };
    for path in all(staging)? {
        let claimed = claim(&path);
        if claimed.is_some() {
            note(publish::discard(&path, trash));
        }
        // Not before it is out of everybody's way.
        drop(claimed);
    }
    // Whatever is in the trash was moved there to be deleted: another deleter at the same time does no harm.
    for entry in std::fs::read_dir(trash).into_iter().flatten().flatten() {
        note(publish::delete(&entry.path()));
    }
    first_failure.map_or(Ok(swept), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_lives_with_its_maker() {
        let dir = tempfile::tempdir().unwrap();
        let (staging, trash) = (dir.path().join("staging"), dir.path().join("trash"));
        let stage = Stage::create(&staging).unwrap();
        assert_eq!(sweep(&staging, &trash).unwrap(), 0);
        let path = stage.path().to_owned();
        drop(stage);
        assert!(!path.exists());
    }

    #[test]
    fn no_stage_is_swept_from_under_its_maker() {
        let dir = tempfile::tempdir().unwrap();
        let (staging, trash) = (dir.path().join("staging"), dir.path().join("trash"));
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !done.load(std::sync::atomic::Ordering::Relaxed) {
                        sweep(&staging, &trash).unwrap();
                    }
                });
            }
            let gone = (0..3000).filter(|_| {
                let stage = Stage::create(&staging).unwrap();
                std::thread::yield_now();
                !stage.path().exists()
            });
            let gone = gone.count();
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            assert_eq!(gone, 0);
        });
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
        assert_eq!(sweep(&staging, &trash).unwrap(), 1);
        assert!(staging.join("used").exists() && !staging.join("killed").exists());
        drop(user);
        assert_eq!(sweep(&staging, &trash).unwrap(), 1);
    }

    #[test]
    fn a_handed_out_stage_outlives_its_maker_for_a_while() {
        let dir = tempfile::tempdir().unwrap();
        let (staging, trash) = (dir.path().join("staging"), dir.path().join("trash"));
        let mut stage = Stage::create(&staging).unwrap();
        let path = stage.path().to_owned();
        stage.hand_out().unwrap();
        drop(stage);
        assert_eq!(sweep(&staging, &trash).unwrap(), 0);
        assert!(path.exists());
        let long_ago = std::time::SystemTime::now() - GRACE * 2;
        File::open(path.join(READY)).unwrap().set_modified(long_ago).unwrap();
        assert_eq!(sweep(&staging, &trash).unwrap(), 1);
    }
}
