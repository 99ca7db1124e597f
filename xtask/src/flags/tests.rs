//! The command line as clap sees it, and the commands that texts name.

use super::*;
use clap::CommandFactory;

#[test]
fn the_command_line_is_consistent() {
    Flags::command().debug_assert();
}

/// The texts below a folder of the checkout that may name a command.
fn texts(folder: &std::path::Path, into: &mut Vec<(PathBuf, String)>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        let ending = path.extension().unwrap_or_default();
        if path.is_dir() {
            texts(&path, into);
        } else if ending == "rs" || ending == "md" {
            into.push((path.clone(), std::fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn every_command_that_a_text_names_exists() {
    let root = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let mut all = vec![(
        root.join("README.md"),
        std::fs::read_to_string(root.join("README.md")).unwrap(),
    )];
    for folder in ["crates", "xtask", "docs", "manifests"] {
        texts(&root.join(folder), &mut all);
    }
    let mut named = 0;
    for (path, text) in all {
        // Not written as it is looked for: this is a text, too.
        for line in text.split(&format!("`{} xtask ", "cargo")).skip(1) {
            let said = line.split('`').next().unwrap_or_default();
            // An option in brackets is one, and what is written as a placeholder has some value.
            let words = said.split_whitespace().map(|word| word.trim_matches(['[', ']']));
            let words: Vec<&str> = words
                .map(|word| if word == "SIZE" { "1GiB" } else { word })
                .take_while(|word| !word.starts_with(['\\', '…', '{']))
                .collect();
            let known = Flags::try_parse_from(["cargo xtask"].iter().chain(&words));
            let unknown = known.err().map(|error| error.kind()).filter(|kind| {
                use clap::error::ErrorKind::{InvalidSubcommand, UnknownArgument};
                matches!(kind, InvalidSubcommand | UnknownArgument)
            });
            assert_eq!(unknown, None, "{}: {said}", path.display());
            named += 1;
        }
    }
    assert!(named > 100, "only {named} were found: this shows little");
}

#[test]
fn options_of_cache_may_stand_before_and_after_its_verb() {
    for line in [
        "x cache --cache-dir D --memory 1GiB usage",
        "x cache usage --cache-dir D --memory 1GiB",
    ] {
        let Command::Cache(cache) = Flags::try_parse_from(line.split(' ')).unwrap().command else {
            panic!("{line}")
        };
        assert_eq!(
            cache.local.cache_dir.as_deref(),
            Some(std::path::Path::new("D")),
            "{line}"
        );
        assert_eq!(cache.local.bounds.memory, Some(1 << 30), "{line}");
    }
    let line = ["x", "cache", "usage", "--driver", "kube", "--name", "other"];
    let Command::Cache(cache) = Flags::try_parse_from(line).unwrap().command else {
        panic!("no cache")
    };
    assert_eq!(cache.cluster.name, "other");
    assert!(Flags::try_parse_from(["x", "cache", "usage", "--name", "a", "--context", "b"]).is_err());
}
