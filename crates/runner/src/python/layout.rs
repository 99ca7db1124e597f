//! Checks that an environment has packages only in `lib/pythonX.Y/site-packages` of its own interpreter.
//!
//! A wheel can put files anywhere in the environment through its `.data/data` folder, and a `dist-info` folder
//! elsewhere could be mistaken for an installed package. So `lib` may contain no `python*` folder except the
//! interpreter's own, which contains only site-packages, and no `site-packages`, `dist-packages`, `*.dist-info` or
//! `*.egg-info` in any other folder.
//!
//! Plain data below `lib` is allowed: public wheels put shared libraries there (mkl, tbb and what links to them), no
//! package is looked up there, and like every file it is part of the environment's content and key.

use std::path::Path;

use hybrid_cache_model::{Failure, FailureKind};

use crate::store::IoContext;

/// Checks everything below `lib` of the environment at `venv`, whose packages are in `site`.
///
/// # Errors
/// [`FailureKind::Unsatisfiable`] with a folder that no package may contain.
pub fn check(venv: &Path, site: &str) -> Result<(), Failure> {
    let site = venv.join(site);
    let lib = venv.join("lib");
    let own = site.parent().unwrap_or(&lib);
    let mut folders = vec![lib.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).io_context("read the folder", &folder)? {
            let entry = entry.io_context("read the folder", &folder)?;
            let path = entry.path();
            if path == site {
                continue;
            }
            let is_folder = entry.file_type().io_context("look at", &path)?.is_dir();
            let name = entry.file_name().to_string_lossy().to_lowercase();
            let packages = ["site-packages", "dist-packages"].contains(&name.as_str())
                || [".dist-info", ".egg-info"].iter().any(|end| name.ends_with(end));
            let python = folder == lib && name.starts_with("python") && path != own;
            if packages || (python && is_folder) || folder == own {
                return Err(refused(venv, &path));
            }
            if is_folder {
                folders.push(path);
            }
        }
    }
    Ok(())
}

fn refused(venv: &Path, path: &Path) -> Failure {
    let inside = path.strip_prefix(venv).unwrap_or(path);
    let message = format!(
        "a package installs {}, but packages may only be in the interpreter's own site-packages",
        inside.display()
    );
    Failure::new(FailureKind::Unsatisfiable, message).hint("remove the package that installs it from the dependencies")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: &str = "lib/python3.11/site-packages";

    fn with(path: &str) -> Result<(), Failure> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join(SITE)).unwrap();
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
        check(dir.path(), SITE)
    }

    #[test]
    fn only_the_interpreters_own_site_packages_holds_packages() {
        for good in [
            "lib/libmkl_core.so.2",
            "lib/pkgconfig/x.pc",
            "lib/python3.11/site-packages/six-1.0.dist-info/METADATA",
            "lib/python3.11/site-packages/setuptools/_vendor/x-1.0.dist-info/METADATA",
            "share/site-packages/x",
        ] {
            with(good).unwrap();
        }
        for bad in [
            "lib/python3/site-packages/six-1.0.dist-info/METADATA",
            "lib/python3.12/six.py",
            "lib/python3.11/six.py",
            "lib/any/site-packages/six.py",
            "lib/any/Dist-Packages/six.py",
            "lib/any/six-1.0.dist-info/METADATA",
            "lib/six-1.0.dist-info/METADATA",
            "lib/six.egg-info",
        ] {
            let failure = with(bad).unwrap_err();
            assert_eq!(failure.kind, FailureKind::Unsatisfiable, "{failure}");
        }
    }
}
