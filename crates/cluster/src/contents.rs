//! What the folders for volumes hold. A folder is ours to change owner and delete only if it holds a cache of ours or no file.

use std::path::Path;
use std::process::Command;

use hybrid_cache_tools::{Error, ErrorContext, Result, failed};

/// What a folder holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Nothing: the folder does not exist, is empty, or has only the folders that Kubernetes and file systems create.
    Nothing,
    /// A cache of ours, as its `FORMAT` file says.
    Cache,
    /// Something else, with an example.
    Other(String),
}

/// Prints a line for each of the folders `python` and `system` below its argument: name, `nothing`, `cache` or `other`, and an
/// example. The `FORMAT` file of the system volume is below the folder that is mounted as /nix. The `FORMAT` file of a cache that
/// was set aside is one folder deeper.
pub const SCRIPT: &str = r#"
state=.nix-portable/nix/var/hybrid-cache
for name in python system; do
  folder=$1/$name what=nothing first=
  for format in "$folder"/FORMAT "$folder/$state"/FORMAT "$folder"/set-aside-*/FORMAT "$folder"/set-aside-*/"$state"/FORMAT; do
    case $(head -c 13 "$format" 2>/dev/null) in 'hybrid-cache ') what=cache; break ;; esac
  done
  if [ $what = nothing ] && [ -e "$folder" ]; then
    first=$(find "$folder" -mindepth 1 -path "$folder/lost+found" -prune -o \
      \( ! -type d -o ! -path "$folder/*/*" ! -name tenants ! -name bytecode ! -name .nix-portable ! -name epochs \) \
      -printf '%P\n' -quit) || exit 1
    [ -z "$first" ] || what=other
  fi
  printf '%s %s %s\n' "$name" "$what" "$first"
done
"#;

/// Reads what [`SCRIPT`] printed about a folder. A folder without a line is not ours.
pub fn parse(printed: &str, name: &str) -> Contents {
    let words = |line: &str| -> Option<Contents> {
        let mut words = line.splitn(3, ' ');
        (words.next()? == name).then_some(())?;
        Some(match words.next()? {
            "nothing" => Contents::Nothing,
            "cache" => Contents::Cache,
            _ => Contents::Other(words.next().unwrap_or_default().to_owned()),
        })
    };
    let unknown = || Contents::Other("unknown".to_owned());
    printed.lines().find_map(words).unwrap_or_else(unknown)
}

/// Refuses a folder of this machine if one of its folders for volumes holds something other than a cache.
///
/// # Errors
/// Such a folder exists, and the error names it; or a folder cannot be read.
pub fn check(volumes: &Path, names: &[&str]) -> Result<()> {
    let looked = Command::new("sh").args(["-c", SCRIPT, "sh"]).arg(volumes).output();
    let looked = looked.context("starting sh")?;
    let said = String::from_utf8_lossy(&looked.stderr).trim().to_owned();
    if !looked.status.success() {
        return Err(failed!("reading {}: {said}", volumes.display()));
    }
    let printed = String::from_utf8_lossy(&looked.stdout);
    for name in names {
        if let Contents::Other(example) = parse(&printed, name) {
            return Err(Error::prerequisite(refusal(
                &volumes.join(name).display().to_string(),
                &example,
            )));
        }
    }
    Ok(())
}

/// The message that says why a folder is left alone.
pub fn refusal(folder: &str, example: &str) -> String {
    format!(
        "{folder} is not empty and not a cache of hybrid-cache: it holds {example} and no FORMAT file of ours\nhint: choose an empty folder with \
         --volumes-dir"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn look(files: &[&str]) -> Contents {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join("python").join(file);
            match file.strip_suffix('/') {
                Some(_) => fs::create_dir_all(path).unwrap(),
                None => {
                    fs::create_dir_all(path.parent().unwrap()).unwrap();
                    let text = if file.ends_with("FORMAT") {
                        "hybrid-cache python 2\n"
                    } else {
                        "mine"
                    };
                    fs::write(path, text).unwrap();
                }
            }
        }
        let output = Command::new("sh")
            .args(["-c", SCRIPT, "sh"])
            .arg(root.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let refused = check(root.path(), &["python", "system"]).is_err();
        let found = parse(&String::from_utf8(output.stdout).unwrap(), "python");
        assert_eq!(refused, matches!(found, Contents::Other(_)), "{files:?}");
        found
    }

    #[test]
    fn names_alone_make_no_folder_ours() {
        for name in ["envs", "uv", "locks", "trash", "tenants", "bytecode", "staging"] {
            let found = look(&[&format!("{name}/notes.txt"), "photos/a.jpg"]);
            assert!(matches!(found, Contents::Other(_)), "{name}: {found:?}");
        }
        assert_eq!(look(&["envs/"]), Contents::Other("envs".to_owned()));
        assert!(matches!(look(&["lost+found/x", "a b"]), Contents::Other(example) if example == "a b"));
    }

    #[test]
    fn our_format_file_or_no_file_at_all_makes_it_ours() {
        assert_eq!(look(&[]), Contents::Nothing);
        assert_eq!(
            look(&["lost+found/", "tenants/default/envs/", "bytecode/"]),
            Contents::Nothing
        );
        for format in [
            "FORMAT",
            ".nix-portable/nix/var/hybrid-cache/FORMAT",
            "set-aside-17/FORMAT",
            "set-aside-17/.nix-portable/nix/var/hybrid-cache/FORMAT",
        ] {
            assert_eq!(look(&[format, "more/of it"]), Contents::Cache, "{format}");
        }
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("python")).unwrap();
        fs::write(root.path().join("python/FORMAT"), "somebody else's\n").unwrap();
        let refused = check(root.path(), &["python"]).unwrap_err().to_string();
        assert!(
            refused.contains("python is not empty") && refused.contains("FORMAT") && refused.contains("hint: "),
            "{refused}"
        );
        check(root.path(), &["system"]).unwrap();
    }
}
