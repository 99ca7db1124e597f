//! What the caches hold before and after a run, read from their folders: what was downloaded, and what was made of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hybrid_cache_driver::local::VolumePair;
use hybrid_cache_model::level::CacheSeen;
use hybrid_cache_model::protocol::PackageSource;

/// What a cache holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Names of downloaded packages.
    downloads: BTreeSet<PathBuf>,
    /// Number of environments.
    environments: u64,
}

impl Contents {
    /// What is seen of a cache that held this before a run and `after` afterwards.
    pub fn seen(&self, after: &Contents) -> CacheSeen {
        CacheSeen {
            downloads: self.downloads.len() as u64,
            environments: self.environments,
            fetched: after.downloads.difference(&self.downloads).count() as u64,
        }
    }
}

/// The entries of a folder; none if it does not exist.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let found = std::fs::read_dir(folder).into_iter().flatten().flatten();
    found.map(|entry| entry.path()).collect()
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The folders of uv's caches on a Python volume: the shared one and those of tenants, if they exist.
pub fn uv_caches(python: &Path) -> Vec<PathBuf> {
    let tenants = entries(&python.join("tenants"));
    let own = tenants.iter().map(|tenant| tenant.join("uv"));
    let all = std::iter::once(python.join("uv")).chain(own);
    all.filter(|cache| cache.is_dir()).collect()
}

/// What the Python cache holds: unpacked and built wheels of uv, and published environments.
pub fn python(volumes: &VolumePair) -> Contents {
    let caches = uv_caches(&volumes.python);
    let buckets = caches.iter().flat_map(|cache| entries(cache));
    let wheels = buckets.filter(|bucket| name(bucket).starts_with("archive-") || name(bucket) == "built-wheels");
    let environments = entries(&volumes.python.join("tenants"));
    let environments = environments.iter().flat_map(|tenant| entries(&tenant.join("envs")));
    Contents {
        downloads: wheels.flat_map(|bucket| entries(&bucket)).collect(),
        environments: environments.count() as u64,
    }
}

/// True for a file of the store that was downloaded rather than built: a Debian package of debnix, any path of nixpkgs.
pub fn is_download(source: &PackageSource, path: &Path) -> bool {
    let name = name(path);
    match source {
        PackageSource::Debnix { .. } => name.ends_with(".deb"),
        PackageSource::Nixpkgs { .. } => !name.starts_with('.') && !name.ends_with(".drv") && !name.ends_with(".lock"),
    }
}

/// What the system cache holds: downloads in the store, registered sets of packages, and for debnix those paths of `built` that exist.
pub fn system(volumes: &VolumePair, source: &PackageSource, built: &[String]) -> Contents {
    let store = volumes.nix().join("store");
    let downloads = entries(&store).into_iter().filter(|path| is_download(source, path));
    let tenants = entries(&volumes.system_state().join("tenants"));
    let sets = tenants.iter().flat_map(|tenant| entries(&tenant.join("index")));
    let sets = sets.filter(|entry| name(entry).ends_with(".json")).count();
    let is_there = |path: &&String| match source {
        PackageSource::Debnix { .. } => store.join(name(Path::new(path))).exists(),
        // What nixpkgs has built is a download here.
        PackageSource::Nixpkgs { .. } => false,
    };
    Contents {
        downloads: downloads.collect(),
        environments: (sets + built.iter().filter(is_there).count()) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(root: &Path, paths: &[&str]) {
        for path in paths {
            std::fs::create_dir_all(root.join(path)).unwrap();
        }
    }

    #[test]
    fn downloads_and_environments_of_all_tenants_are_counted_and_new_ones_are_counted_apart() {
        let root = tempfile::tempdir().unwrap();
        let volumes = VolumePair {
            python: root.path().join("python"),
            system: root.path().join("system"),
        };
        assert_eq!(python(&volumes).seen(&python(&volumes)), CacheSeen::default());
        make(
            &volumes.python,
            &[
                "uv/archive-v0/a",
                "uv/simple-v1/x",
                "tenants/t/uv/built-wheels/b",
                "tenants/t/envs/e",
            ],
        );
        let before = python(&volumes);
        make(&volumes.python, &["uv/archive-v0/c", "tenants/t/envs/f"]);
        let seen = before.seen(&python(&volumes));
        assert_eq!((seen.downloads, seen.environments, seen.fetched), (2, 1, 1));

        let debnix = PackageSource::Debnix {
            folder: String::new(),
            mirrors: Vec::new(),
            busybox: String::new(),
        };
        make(
            &volumes.nix(),
            &["store/1-a.deb", "store/2-gcc", "store/3-gcc.drv", "store/.links"],
        );
        make(&volumes.system_state(), &["tenants/t/index/key.json"]);
        let built = ["/nix/store/2-gcc".to_owned(), "/nix/store/9-gone".to_owned()];
        let seen = system(&volumes, &debnix, &built);
        assert_eq!((seen.downloads.len(), seen.environments), (1, 2));
        let nixpkgs = PackageSource::Nixpkgs { flake: String::new() };
        let seen = system(&volumes, &nixpkgs, &built);
        assert_eq!((seen.downloads.len(), seen.environments), (2, 1));
    }
}
