//! Reads the token file, after checking who else can read it.

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use hybrid_cache_model::Protection;

use super::error::HostError;
use crate::http::Tokens;

/// Largest token file, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Reads a token file.
///
/// # Errors
/// The file cannot be read, others can read it, or it holds something that is not a token.
pub fn read(file: &Path) -> Result<Tokens, HostError> {
    let path = || file.to_owned();
    let failed = |source| HostError::TokenFile { path: path(), source };
    // Check and read the same open file, in case its name is moved meanwhile.
    let opened = File::open(file).map_err(failed)?;
    let found = opened.metadata().map_err(failed)?;
    if Protection::TokenFileMode.is_on() && !is_private(&found, &ours()) {
        let mode = found.mode() & 0o7777;
        return Err(HostError::TokenReadable { path: path(), mode });
    }
    let mut text = String::new();
    opened.take(MAX_BYTES).read_to_string(&mut text).map_err(failed)?;
    Tokens::read(&text).map_err(|faults| HostError::Tokens { path: path(), faults })
}

/// The groups of this process.
fn ours() -> Vec<u32> {
    let mut groups = vec![rustix::process::getegid().as_raw()];
    groups.extend(
        rustix::process::getgroups()
            .into_iter()
            .flatten()
            .map(|group| group.as_raw()),
    );
    groups
}

/// True if only the owner can read the file, or if it is as Kubernetes mounts a Secret for a pod with `fsGroup`: owned
/// by root, readable for one of this process's groups and for nobody else. Only root can have made that.
fn is_private(found: &Metadata, groups: &[u32]) -> bool {
    let (owner_alone, group_reads) = (found.mode() & 0o077 == 0, found.mode() & 0o037 == 0);
    owner_alone || (group_reads && found.uid() == 0 && groups.contains(&found.gid()))
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_readable_token_file_is_refused_with_a_command_that_fixes_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "s3cret42".repeat(4)).unwrap();
        for mode in [0o644, 0o604, 0o660, 0o602, 0o666, 0o444] {
            std::fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            let reported = read(&file).unwrap_err().to_string();
            assert!(reported.contains(&format!("{mode:04o}")), "{reported}");
            let hint = reported.split("hint: ").nth(1).unwrap();
            assert!(
                hint.starts_with(&format!("`chmod 600 {}`", file.display())),
                "{reported}"
            );
        }
        for mode in [0o600, 0o400] {
            std::fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            assert!(read(&file).is_ok(), "{mode:o}");
        }
    }

    #[test]
    fn a_kubernetes_secret_of_root_for_this_group_only_is_accepted() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "x").unwrap();
        let looked = |mode| {
            std::fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            std::fs::metadata(&file).unwrap()
        };
        let found = looked(0o440);
        let is_roots = found.uid() == 0;
        assert_eq!(is_private(&found, &[1, found.gid()]), is_roots);
        assert!(!is_private(&found, &[found.gid() + 1]));
        for mode in [0o444, 0o460, 0o640 | 0o020, 0o441] {
            let found = looked(mode);
            assert!(!is_private(&found, &[found.gid()]), "{mode:o}");
        }
    }
}
