//! A patch that sets the sizes of the volumes in the manifests.

use hybrid_cache_sizing::Volume;

use super::claim::claim_name;

/// Lines around a change that a patch shows.
const CONTEXT: usize = 3;

/// A volume and its new size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resize {
    /// Which volume.
    pub volume: Volume,
    /// Its size in GiB.
    pub gib: u64,
}

/// Why there is no patch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The manifest lacks what would have to be changed.
    #[error("{path} has no size for {claim}\nhint: set `storage: {gib}Gi` there by hand")]
    NoSize {
        /// The manifest.
        path: String,
        /// The claim.
        claim: &'static str,
        /// The size that it should have.
        gib: u64,
    },
}

/// A unified diff that sets the sizes in a manifest with one document for each volume, for `git apply` or `patch -p1`. A
/// document belongs to the volume whose claim it names. Empty if all sizes are as they should be.
///
/// # Errors
/// The manifest has no size for one of the volumes.
pub fn patch(path: &str, manifest: &str, sizes: &[Resize]) -> Result<String, PatchError> {
    let lines: Vec<&str> = manifest.lines().collect();
    let mut hunks = String::new();
    let mut changes: Vec<(usize, String)> = Vec::new();
    for resize in sizes {
        let claim = claim_name(resize.volume);
        let at = size_line(&lines, claim).ok_or_else(|| PatchError::NoSize {
            path: path.to_owned(),
            claim,
            gib: resize.gib,
        })?;
        let (before, _) = lines[at].split_once(':').unwrap_or((lines[at], ""));
        let line = format!("{before}: {}Gi", resize.gib);
        if line != lines[at] {
            changes.push((at, line));
        }
    }
    changes.sort();
    for (at, line) in &changes {
        let (begin, end) = (at.saturating_sub(CONTEXT), (at + CONTEXT + 1).min(lines.len()));
        hunks.push_str(&format!("@@ -{0},{1} +{0},{1} @@\n", begin + 1, end - begin));
        for (number, old) in lines.iter().enumerate().take(end).skip(begin) {
            if number == *at {
                hunks.push_str(&format!("-{old}\n+{line}\n"));
            } else {
                hunks.push_str(&format!(" {old}\n"));
            }
        }
    }
    if hunks.is_empty() {
        return Ok(hunks);
    }
    Ok(format!("--- a/{path}\n+++ b/{path}\n{hunks}"))
}

/// The line with the size, in the document that names the claim.
fn size_line(lines: &[&str], claim: &str) -> Option<usize> {
    let name = format!("name: {claim}");
    let named = lines.iter().position(|line| line.trim() == name)?;
    let begin = lines[..named]
        .iter()
        .rposition(|line| *line == "---")
        .map_or(0, |at| at + 1);
    let length = lines[begin..]
        .iter()
        .position(|line| *line == "---")
        .unwrap_or(lines.len() - begin);
    let document = &lines[begin..begin + length];
    let is_size = |line: &&str| line.trim_start().starts_with("storage:");
    Some(begin + document.iter().position(is_size)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLAIMS: &str = include_str!("../../../../manifests/pvc-cache-volumes.yaml");
    const VOLUMES: &str = include_str!("../../../../manifests/pv-cache-volumes.yaml");

    fn sizes(python: u64, system: u64) -> [Resize; 2] {
        [(Volume::Python, python), (Volume::System, system)].map(|(volume, gib)| Resize { volume, gib })
    }

    /// Applies a patch as `patch` does, but without any fuzz.
    fn applied(manifest: &str, patch: &str) -> String {
        let mut lines: Vec<String> = manifest.lines().map(str::to_owned).collect();
        let mut at = 0;
        for line in patch.lines().skip(2) {
            match line.split_at(1) {
                ("@", _) => {
                    let number = line.split(['-', ',']).nth(1).unwrap();
                    at = number.parse::<usize>().unwrap() - 1;
                }
                ("-", old) => assert_eq!(lines[at], old),
                ("+", new) => {
                    lines[at] = new.to_owned();
                    at += 1;
                }
                (_, same) => {
                    assert_eq!(lines[at], same);
                    at += 1;
                }
            }
        }
        lines.join("\n") + "\n"
    }

    #[test]
    fn the_patch_sets_both_sizes_in_the_manifests_of_this_project_and_nothing_else() {
        for manifest in [CLAIMS, VOLUMES] {
            let made = patch("manifests/some.yaml", manifest, &sizes(12, 345)).unwrap();
            let expected = manifest
                .replace("storage: 10Gi", "storage: 12Gi")
                .replace("storage: 20Gi", "storage: 345Gi");
            assert_ne!(expected, manifest);
            assert_eq!(applied(manifest, &made), expected, "{made}");
        }
        assert_eq!(patch("m", CLAIMS, &sizes(10, 20)).unwrap(), "");
        assert_eq!(patch("m", CLAIMS, &sizes(10, 21)).unwrap().matches("@@ -").count(), 1);
    }

    #[test]
    fn a_manifest_without_the_claim_is_refused_with_what_to_do() {
        let error = patch("other.yaml", "kind: Pod\n---\nkind: Job\n", &sizes(3, 4)).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("other.yaml") && text.contains("uv-cache-pvc") && text.contains("3Gi"),
            "{text}"
        );
    }
}
