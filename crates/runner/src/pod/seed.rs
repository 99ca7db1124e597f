//! The seed of an image: caches that are filled during the image build, packed into the image, and unpacked onto empty
//! volumes.
//!
//! ```text
//! /seed/python.tar   of the Python volume's root
//! /seed/system.tar   of the folder that is mounted at /nix
//! <volume>/…/.seeding   while a seed is unpacked; its content is discarded
//! <volume>/…/.seeded    unpacked, being moved into place; the next attempt continues
//! ```
//!
//! A seed is never unpacked over existing content, because a volume is newer than an image.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::{BufReader, BufWriter, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use hybrid_cache_model::budget::Budgets;
use hybrid_cache_model::pod::{ImageRecord, NIX_MOUNT, PYTHON_MOUNT, PodMaintainReport, SEED_FOLDER, SeedRequest};
use hybrid_cache_model::protocol::{EnvironmentContext, Keep, PrepareEvent, PrepareRequest, Volumes};
use hybrid_cache_model::{Failure, FailureKind, TaskSpec, Tenant};
use tar::{Archive, Builder, EntryType, Header};

use super::requests::{for_task, python_tools, read_both, source_id, system_tools};
use crate::clock::{Recorder, lock};
use crate::store::failure::failure as failed_at;
use crate::store::lock::{self as file_lock, Mode};
use crate::store::{IoContext, files, format};

/// Both seeds and the folders that they are packed from.
const SEEDS: [(&str, &str); 2] = [("python.tar", PYTHON_MOUNT), ("system.tar", NIX_MOUNT)];
/// Folders that are needed only while a cache is in use; they are packed empty.
const PACKED_EMPTY: [&str; 3] = ["locks", "trash", "tenants/default/staging"];
/// Entries that an empty volume may have: what mkfs creates, separate epochs, and an interrupted seed.
const NOT_CONTENT: [&str; 4] = ["lost+found", "epochs", SEEDING, SEEDED];
/// How long to wait for another process that unpacks the seed.
const PLANTING_TIMEOUT: Duration = Duration::from_secs(300);
const SEEDING: &str = ".seeding";
const SEEDED: &str = ".seeded";

/// Fills caches for an image and packs them.
pub fn make_seed() -> PodMaintainReport {
    match read_both(|request: &SeedRequest| request.protocol) {
        Ok((image, request)) => make(&image, &request),
        Err(failure) => PodMaintainReport::Failed { failure },
    }
}

/// Prepares the tasks of an image's seed, and packs the caches.
fn make(image: &ImageRecord, request: &SeedRequest) -> PodMaintainReport {
    let made = request
        .tasks
        .iter()
        .try_for_each(|task| prepare(image, request, task))
        .and_then(|()| {
            SEEDS.iter().try_for_each(|(name, folder)| {
                let (folder, target) = (Path::new(folder), Path::new(SEED_FOLDER).join(name));
                if is_empty(folder)? {
                    Ok(())
                } else {
                    pack(folder, &target)
                }
            })
        });
    match made {
        Ok(()) => PodMaintainReport::Done,
        Err(failure) => PodMaintainReport::Failed { failure },
    }
}

fn prepare(image: &ImageRecord, request: &SeedRequest, task: &TaskSpec) -> Result<(), Failure> {
    let image = &for_task(image.clone(), task)?;
    let request = PrepareRequest {
        task: task.clone(),
        context: EnvironmentContext {
            volumes: Volumes {
                python: PYTHON_MOUNT.to_owned(),
                nix: NIX_MOUNT.to_owned(),
            },
            interpreter: image.interpreter.clone(),
            index: request.network.index.clone(),
            system_source: source_id(image),
            max_age_s: request.max_age_s,
            tenant: Tenant::default(),
            index_scope: request.network.index_scope,
            no_builds: request.network.no_builds,
            sources: request.network.sources.clone(),
        },
        keep: Keep::Publish,
        python_tools: Some(python_tools(image, &request.network)),
        system_tools: system_tools(image, &request.network),
        deadline_ms: request.prepare_ms,
        other_pythons: Vec::new(),
        budgets: Budgets::default(),
        describe: false,
        builds: None,
    };
    let last = Mutex::new(None);
    let emit = |event: &PrepareEvent| {
        if !matches!(event, PrepareEvent::Phase { .. }) {
            *lock(&last) = Some(event.clone());
        }
    };
    crate::prepare::run(&request, &Recorder::start(), &emit);
    ended(lock(&last).take())
}

/// The result of a preparation with this last event.
fn ended(last: Option<PrepareEvent>) -> Result<(), Failure> {
    let internal = |message: &str| Err(Failure::new(FailureKind::Internal, message));
    match last {
        Some(PrepareEvent::Published { warnings, .. }) if warnings.is_empty() => Ok(()),
        // A warning is an error here, and a note is none: an image must contain what it was built for.
        Some(PrepareEvent::Published { warnings, .. }) => internal(&warnings.join("; ")),
        Some(PrepareEvent::Failed { failure, .. }) => Err(failure),
        _ => internal("the preparation ended without reporting whether it published"),
    }
}

/// Unpacks the image's seeds onto volumes that hold nothing. `python` and `nix` are the folders that tasks will mount.
/// Takes a lock, because the first tasks of several tenants may start at once.
///
/// # Errors
/// A seed cannot be read, or a volume cannot be written. The next attempt finishes or deletes what was unpacked.
pub fn plant(seeds: &Path, python: &Path, nix: &Path) -> Result<(), Failure> {
    let beside = nix.parent().unwrap_or(nix);
    for (folder, work, (name, _)) in [(python, python, SEEDS[0]), (nix, beside, SEEDS[1])] {
        let seed = seeds.join(name);
        let (seeding, seeded) = (work.join(SEEDING), work.join(SEEDED));
        if ![&seed, &seeding, &seeded].iter().any(|path| path.exists()) {
            continue;
        }
        let planting = work.join(format::PLANTING_LOCK);
        let _alone = file_lock::wait(&planting, Mode::Exclusive, Instant::now() + PLANTING_TIMEOUT)?;
        if !seeded.exists() {
            files::delete(&seeding)?;
            if !seed.exists() || !is_empty(folder)? {
                continue;
            }
            unpack(&seed, &seeding)?;
            fs::rename(&seeding, &seeded).io_context("rename", &seeding)?;
        }
        for entry in fs::read_dir(&seeded).io_context("read the folder", &seeded)? {
            let entry = entry.io_context("read the folder", &seeded)?;
            let target = folder.join(entry.file_name());
            fs::rename(entry.path(), &target).io_context("rename into place", &target)?;
        }
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .io_context("sync", folder)?;
        fs::remove_dir(&seeded).io_context("delete", &seeded)?;
    }
    Ok(())
}

fn is_empty(folder: &Path) -> Result<bool, Failure> {
    for entry in fs::read_dir(folder).io_context("read the folder", folder)? {
        let name = entry.io_context("read the folder", folder)?.file_name();
        if !NOT_CONTENT.iter().any(|known| name == *known) && !format::is_temporary(&name.to_string_lossy()) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn unpack(seed: &Path, folder: &Path) -> Result<(), Failure> {
    let file = File::open(seed).io_context("open", seed)?;
    let mut archive = Archive::new(BufReader::new(file));
    archive.set_preserve_permissions(true);
    archive.set_preserve_mtime(true);
    fs::create_dir(folder).io_context("create the folder", folder)?;
    archive.unpack(folder).map_err(|error| {
        // The library's error names the file; its source has the error code.
        let kind = std::error::Error::source(&error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
        let code = kind.unwrap_or(&error).raw_os_error();
        let known = code.map(std::io::Error::from_raw_os_error);
        let mut failure = failed_at(known.as_ref().unwrap_or(&error), "unpack", seed);
        failure.message = format!("{}: {error}", failure.message);
        failure
    })?;
    let opened = File::open(folder).io_context("open", folder)?;
    rustix::fs::syncfs(&opened).io_context("sync", folder)
}

/// Packs a folder reproducibly: sorted and without owners. Hard links are kept.
fn pack(folder: &Path, target: &Path) -> Result<(), Failure> {
    let file = File::create(target).io_context("create", target)?;
    let mut builder = Builder::new(BufWriter::new(file));
    let mut links = HashMap::new();
    let mut paths = Vec::new();
    list(folder, Path::new(""), &mut paths)?;
    for path in paths {
        append(&mut builder, folder, &path, &mut links).io_context("pack", &folder.join(&path))?;
    }
    let mut written = builder.into_inner().io_context("write", target)?;
    written.flush().io_context("write", target)
}

fn list(root: &Path, below: &Path, paths: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let folder = root.join(below);
    let entries = fs::read_dir(&folder).io_context("read the folder", &folder)?;
    let names: Result<Vec<_>, _> = entries.map(|entry| entry.map(|entry| entry.file_name())).collect();
    let mut names = names.io_context("read the folder", &folder)?;
    names.sort();
    for name in names {
        let path = below.join(name);
        let is_dir = root
            .join(&path)
            .symlink_metadata()
            .io_context("look at", &path)?
            .is_dir();
        let passes = PACKED_EMPTY.iter().any(|name| path == Path::new(name));
        paths.push(path.clone());
        if is_dir && !passes {
            list(root, &path, paths)?;
        }
    }
    Ok(())
}

type Links = HashMap<(u64, u64), PathBuf>;

fn append(builder: &mut Builder<impl Write>, root: &Path, path: &Path, links: &mut Links) -> std::io::Result<()> {
    let full = root.join(path);
    let metadata = full.symlink_metadata()?;
    let kind = metadata.file_type();
    if kind.is_symlink() {
        let mut header = header(EntryType::Symlink, &metadata, 0);
        return builder.append_link(&mut header, path, fs::read_link(&full)?);
    }
    if kind.is_dir() {
        let mut header = header(EntryType::Directory, &metadata, 0);
        return builder.append_data(&mut header, path, std::io::empty());
    }
    if !kind.is_file() {
        // Skip sockets and pipes of ended programs.
        return Ok(());
    }
    if metadata.nlink() > 1 {
        if let Some(first) = links.get(&(metadata.dev(), metadata.ino())) {
            let mut header = header(EntryType::Link, &metadata, 0);
            return builder.append_link(&mut header, path, first);
        }
        links.insert((metadata.dev(), metadata.ino()), path.to_owned());
    }
    let mut header = header(EntryType::Regular, &metadata, metadata.len());
    builder.append_data(&mut header, path, File::open(&full)?)
}

fn header(kind: EntryType, metadata: &Metadata, bytes: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(metadata.permissions().mode() & 0o7777);
    header.set_uid(0);
    header.set_gid(0);
    // Keep the time: a request's age is that of its link.
    header.set_mtime(u64::try_from(metadata.mtime()).unwrap_or_default());
    header.set_size(bytes);
    header
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::symlink;

    use super::super::epoch;
    use super::*;

    /// When the request of the test's cache was resolved.
    const RESOLVED_S: i64 = 1_700_000_000;

    /// A cache with what makes caches hard to copy: hard links, links, and folders that cannot be written.
    fn cache(folder: &Path) {
        for sub in ["envs/e1/lib", "uv/archive/a1", "locks", "tenants/default/staging/half"] {
            fs::create_dir_all(folder.join(sub)).unwrap();
        }
        fs::write(folder.join("FORMAT"), "hybrid-cache python 2\n").unwrap();
        fs::write(folder.join("uv/archive/a1/x.py"), "x = 1\n").unwrap();
        fs::hard_link(folder.join("uv/archive/a1/x.py"), folder.join("envs/e1/lib/x.py")).unwrap();
        symlink("../envs/e1", folder.join("latest")).unwrap();
        let resolved = rustix::fs::Timespec {
            tv_sec: RESOLVED_S,
            tv_nsec: 0,
        };
        let times = rustix::fs::Timestamps {
            last_access: resolved,
            last_modification: resolved,
        };
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::utimensat(rustix::fs::CWD, folder.join("latest"), &times, flags).unwrap();
        fs::write(folder.join("locks/a"), "").unwrap();
        fs::set_permissions(folder.join("envs/e1/lib"), Permissions::from_mode(0o555)).unwrap();
    }

    struct Fixture {
        root: tempfile::TempDir,
    }

    impl Fixture {
        fn new() -> Fixture {
            let root = tempfile::tempdir().unwrap();
            for folder in ["cache", "seed", "python", "system/.nix-portable/nix"] {
                fs::create_dir_all(root.path().join(folder)).unwrap();
            }
            cache(&root.path().join("cache"));
            Fixture { root }
        }

        fn path(&self, path: &str) -> PathBuf {
            self.root.path().join(path)
        }

        fn pack(&self, name: &str) -> Vec<u8> {
            let target = self.path("seed").join(name);
            pack(&self.path("cache"), &target).unwrap();
            fs::read(target).unwrap()
        }

        fn plant(&self) {
            plant(
                &self.path("seed"),
                &self.path("python"),
                &self.path("system/.nix-portable/nix"),
            )
            .unwrap();
        }
    }

    #[test]
    fn a_note_of_how_an_environment_was_made_does_not_end_a_seed() {
        let published = |warnings: &[&str], notes: &[&str]| {
            let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
            ended(Some(PrepareEvent::Published {
                timeline: Recorder::start().timeline(),
                warnings: owned(warnings),
                notes: owned(notes),
                prepared: None,
            }))
        };
        assert_eq!(published(&[], &["setuptools was added"]), Ok(()));
        let refused = published(&["it was not published"], &[]).unwrap_err();
        assert_eq!(
            (refused.kind, refused.message.as_str()),
            (FailureKind::Internal, "it was not published")
        );
        assert!(ended(None).is_err());
    }

    #[test]
    fn a_planted_seed_equals_the_packed_cache() {
        let fixture = Fixture::new();
        for name in ["python.tar", "system.tar"] {
            fixture.pack(name);
        }
        fixture.plant();
        for folder in ["python", "system/.nix-portable/nix"].map(|folder| fixture.path(folder)) {
            let inode = |path: &str| folder.join(path).metadata().unwrap().ino();
            assert_eq!(inode("uv/archive/a1/x.py"), inode("envs/e1/lib/x.py"), "still one file");
            assert_eq!(fs::read_link(folder.join("latest")).unwrap(), Path::new("../envs/e1"));
            assert_eq!(folder.join("latest").symlink_metadata().unwrap().mtime(), RESOLVED_S);
            let mode = folder.join("envs/e1/lib").metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o555);
            assert!(fs::read_dir(folder.join("locks")).unwrap().next().is_none());
            assert!(
                fs::read_dir(folder.join("tenants/default/staging"))
                    .unwrap()
                    .next()
                    .is_none()
            );
            assert!(!folder.join(SEEDED).exists() && !folder.join("../.seeded").exists());
        }
    }

    #[test]
    fn the_same_files_make_the_same_archive() {
        let fixture = Fixture::new();
        let one = fixture.pack("python.tar");
        assert_eq!(fixture.pack("python.tar"), one);
    }

    #[test]
    fn a_volume_that_holds_something_keeps_it() {
        let fixture = Fixture::new();
        fixture.pack("python.tar");
        fs::write(fixture.path("python/FORMAT"), "hybrid-cache python 2\n").unwrap();
        fixture.plant();
        assert!(!fixture.path("python/envs").exists());
    }

    #[test]
    fn an_interrupted_seed_is_unpacked_again_or_finished() {
        let fixture = Fixture::new();
        fixture.pack("python.tar");
        fs::create_dir_all(fixture.path("python/.seeding/envs/half")).unwrap();
        fs::set_permissions(fixture.path("python/.seeding/envs"), Permissions::from_mode(0o555)).unwrap();
        fixture.plant();
        assert!(fixture.path("python/envs/e1").exists() && !fixture.path("python/envs/half").exists());
        fs::create_dir(fixture.path("python/.seeded")).unwrap();
        fs::rename(fixture.path("python/uv"), fixture.path("python/.seeded/uv")).unwrap();
        fixture.plant();
        assert!(fixture.path("python/uv/archive").exists() && !fixture.path("python/.seeded").exists());
    }

    #[test]
    fn concurrent_pods_plant_a_seed_once() {
        let fixture = Fixture::new();
        for name in ["python.tar", "system.tar"] {
            fixture.pack(name);
        }
        let start = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        epoch::create(fixture.root.path(), None).unwrap();
                        fixture.plant();
                        ["python", "system/.nix-portable/nix"]
                            .map(|folder| fixture.path(folder).join("envs/e1/lib/x.py"))
                            .map(|file| fs::read_to_string(file).unwrap())
                    })
                })
                .collect();
            for one in all {
                assert_eq!(one.join().unwrap(), ["x = 1\n", "x = 1\n"]);
            }
        });
    }

    #[test]
    fn an_image_without_a_seed_leaves_volumes_empty() {
        let fixture = Fixture::new();
        fixture.plant();
        assert!(is_empty(&fixture.path("python")).unwrap());
    }
}
