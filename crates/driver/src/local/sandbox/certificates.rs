//! The certificates that user code trusts. A file that a sandbox sees anyway is used where it is; anything else is copied into
//! the sandboxes' /etc, which costs a run no mount.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use hybrid_cache_model::trust;

use crate::local::sandbox::etc::{Etc, make_folder, put_file};

/// The folder below /etc that has the copies.
const FOLDER: &str = "hybrid-cache";

/// Makes the certificates of these files and folders visible as one file, and returns its path in the sandbox. What cannot be
/// read is left out.
///
/// # Errors
/// The copy cannot be written.
pub fn trust(etc: &Etc, sources: &[PathBuf]) -> io::Result<Option<String>> {
    let mut files: Vec<&PathBuf> = sources.iter().filter(|path| path.is_file()).collect();
    files.dedup();
    // A visible folder is looked at by OpenSSL itself, and by no one else.
    let folders: Vec<&PathBuf> = sources
        .iter()
        .filter(|path| path.is_dir() && !is_visible(etc, path))
        .collect();
    if let ([file], []) = (&*files, &*folders)
        && is_visible(etc, file)
        && fs::metadata(file)?.permissions().mode() & 0o4 != 0
    {
        return Ok(file.to_str().map(str::to_owned));
    }
    let texts: Vec<String> = files
        .into_iter()
        .cloned()
        .chain(folders.into_iter().flat_map(|folder| files_of(folder)))
        .filter_map(|path| fs::read_to_string(path).ok())
        .collect();
    let bundle = trust::bundle(texts.iter().map(String::as_str));
    if bundle.is_empty() {
        return Ok(None);
    }
    // By its content: drivers on the same cache folder may trust different certificates.
    let name = trust::bundle_name(&bundle);
    let folder = etc.folder.join(FOLDER);
    make_folder(&folder)?;
    put_file(&folder.join(&name), bundle.as_bytes())?;
    Ok(Some(format!("/etc/{FOLDER}/{name}")))
}

/// True if sandboxes see a path, and what it leads to, as it is on this machine.
fn is_visible(etc: &Etc, path: &Path) -> bool {
    let visible = |path: &Path| path.starts_with("/usr") || etc.live.iter().any(|live| path.starts_with(live));
    visible(path) && fs::canonicalize(path).is_ok_and(|end| visible(&end))
}

/// The files of a folder, in the order of their names.
fn files_of(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(text: &str) -> String {
        format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
    }

    #[test]
    fn certificates_are_copied_unless_a_sandbox_sees_their_file() {
        let shared = tempfile::tempdir().unwrap();
        let machine = tempfile::tempdir().unwrap();
        let etc = Etc {
            folder: shared.path().join("etc"),
            live: vec![machine.path().join("ssl")],
            copied: Vec::new(),
            resolver: None,
            hosts: None,
        };
        let put = |name: &str, text: &str| {
            let path = machine.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            path
        };
        let seen = put("ssl/ca.pem", &certificate("AAAA"));
        let own = put("own/ca.pem", &certificate("BBBB"));
        put("folder/1.pem", &certificate("CCCC"));
        let read = |sources: &[&PathBuf]| {
            let sources: Vec<PathBuf> = sources.iter().copied().cloned().collect();
            let path = trust(&etc, &sources).unwrap()?;
            let copy = path.strip_prefix("/etc/").map(|below| etc.folder.join(below));
            Some(fs::read_to_string(copy.unwrap_or(path.into())).unwrap())
        };
        assert_eq!(
            trust(&etc, &[seen.clone(), seen.clone()]).unwrap().as_deref(),
            seen.to_str()
        );
        assert!(!etc.folder.exists());
        assert_eq!(read(&[&own]), Some(certificate("BBBB")));
        assert_eq!(
            read(&[&seen, &own, &seen]),
            Some(certificate("AAAA") + &certificate("BBBB"))
        );
        assert_eq!(read(&[&machine.path().join("folder")]), Some(certificate("CCCC")));
        assert_eq!(read(&[&machine.path().join("none")]), None);
        assert_eq!(read(&[]), None);
        // A link out of the visible folder leads nowhere in a sandbox.
        std::os::unix::fs::symlink(&own, machine.path().join("ssl/link.pem")).unwrap();
        assert_eq!(read(&[&machine.path().join("ssl/link.pem")]), Some(certificate("BBBB")));
        // A file that only its owner may read is not one that user code may read.
        fs::set_permissions(&seen, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(read(&[&seen]), Some(certificate("AAAA")));
    }
}
