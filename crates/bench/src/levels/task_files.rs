//! The files that a run of a prepared task reads, by kind, and how much of them is in the page cache.
//!
//! The machine's own libraries are left out: every program has the C library mapped, so it cannot be dropped.

use std::io;
use std::path::{Path, PathBuf};

use hybrid_cache_driver::local::{LocalConfig, VolumePair};
use hybrid_cache_model::level::{ENVIRONMENT, PagesSeen};
use hybrid_cache_model::protocol::PackageSource;

use super::contents::{is_download, uv_caches};
use super::page_cache::{self, Pages};

/// Some files with what they are.
pub struct TaskFiles {
    kind: &'static str,
    files: Vec<PathBuf>,
}

/// All files of a task whose environment is on these volumes. `config` is the one for the task's interpreter.
pub fn find(config: &LocalConfig, volumes: &VolumePair, shared: &Path) -> Vec<TaskFiles> {
    let files = |kind, paths: Vec<PathBuf>, skip: &dyn Fn(&Path) -> bool| TaskFiles {
        kind,
        files: page_cache::files_below(&paths, skip),
    };
    let caches = uv_caches(&volumes.python);
    let source = config.system.as_ref().map(|system| &system.tools.source);
    let store = volumes.nix().join("store");
    // A run that finds its environment reads neither what it was made from nor Nix's own notes.
    let made_from = |path: &Path| {
        let is_drv = path.extension().is_some_and(|end| end == "drv");
        let is_deb = matches!(source, Some(source @ PackageSource::Debnix { .. }) if is_download(source, path));
        path.parent() == Some(&store) && (is_drv || is_deb) || path.ends_with("var/hybrid-cache/nix-cache")
    };
    let environment = vec![volumes.python.clone(), store.clone(), volumes.system_state()];
    let programs = config
        .bubblewrap
        .iter()
        .map(PathBuf::from)
        .filter(|path| path.is_file());
    let programs = programs.chain([config.runner.clone(), shared.to_owned()]).collect();
    vec![
        files(ENVIRONMENT, environment, &|path| {
            caches.iter().any(|cache| cache == path) || made_from(path)
        }),
        files("interpreter", interpreter(config), &|path| {
            ["site-packages", "dist-packages"]
                .iter()
                .any(|name| path.ends_with(name))
        }),
        files("programs", programs, &|_| false),
    ]
}

/// The interpreter with its library.
fn interpreter(config: &LocalConfig) -> Vec<PathBuf> {
    let interpreter = &config.interpreter;
    let mut numbers = interpreter.version.split('.');
    let minor = [numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default()].join(".");
    // Some distributions have the 64-bit half in a folder of its own.
    let libs = ["lib", "lib64"].map(|name| config.interpreter_prefix.join(name));
    let shared = libs.iter().flat_map(std::fs::read_dir).flatten().flatten();
    let shared = shared.map(|entry| entry.path());
    let shared = shared.filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(&format!("libpython{minor}"))
    });
    let mut paths: Vec<PathBuf> = shared.collect();
    paths.extend(Path::new(&interpreter.path).canonicalize());
    paths.extend(libs.map(|lib| lib.join(format!("python{minor}"))));
    paths
}

/// Drops the pages of all files and counts what is left.
///
/// # Errors
/// A file cannot be read, or the disk fails.
pub fn cool(groups: &[TaskFiles], volumes: &VolumePair) -> io::Result<Vec<PagesSeen>> {
    page_cache::sync(&volumes.python)?;
    let before: Vec<Pages> = groups
        .iter()
        .map(|group| page_cache::count(&group.files))
        .collect::<io::Result<_>>()?;
    for group in groups {
        page_cache::drop_pages(&group.files)?;
    }
    let mut seen = count(groups)?;
    for (seen, before) in seen.iter_mut().zip(before) {
        seen.resident_before = Some(before.resident);
    }
    Ok(seen)
}

/// Counts the pages of all files.
///
/// # Errors
/// A file cannot be read.
pub fn count(groups: &[TaskFiles]) -> io::Result<Vec<PagesSeen>> {
    let one = |group: &TaskFiles| {
        let pages = page_cache::count(&group.files)?;
        Ok(PagesSeen {
            of: group.kind.to_owned(),
            files: pages.files,
            pages: pages.pages,
            resident_before: None,
            resident: pages.resident,
            unknown: pages.unknown,
        })
    };
    groups.iter().map(one).collect()
}
