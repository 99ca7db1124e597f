//! Tests of the command line as clap parses it, and of the commands that documents name.

use clap::CommandFactory;

use super::place::{ProviderName, SourceName};
use super::*;

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
        // The pattern is assembled, because this file is one of the searched texts.
        for line in text.split(&format!("`{} xtask ", "cargo")).skip(1) {
            let said = line.split('`').next().unwrap_or_default();
            // A word in brackets is an optional argument, and a placeholder stands for any value.
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

/// The commands of a page that stand on lines of their own, in blocks: without prompt, comment and what they are piped to.
fn commands_in_blocks(text: &str) -> Vec<Vec<String>> {
    let mut fenced = false;
    let lines = text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fence && (fenced || line.starts_with("    "))
    });
    let commands = lines.filter_map(|line| {
        let line = line.trim_start().trim_start_matches("$ ");
        let said = line.strip_prefix("cargo xtask ")?;
        // A command that continues on the next line cannot be checked.
        let words = shlex::split(said).filter(|_| !said.ends_with('\\'))?;
        let ends = |word: &&String| !matches!(word.as_str(), "|" | ">" | "&&" | "&");
        Some(words.iter().take_while(ends).cloned().collect())
    });
    commands.collect()
}

#[test]
fn every_command_in_a_block_of_the_documentation_is_accepted() {
    let root = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let mut pages = Vec::new();
    for folder in ["docs", "manifests", "images", "reports", "bench-scenarios"] {
        texts(&root.join(folder), &mut pages);
    }
    for page in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"] {
        pages.push((root.join(page), std::fs::read_to_string(root.join(page)).unwrap()));
    }
    let mut accepted = 0;
    for (path, text) in pages {
        for words in commands_in_blocks(&text) {
            let plain = words.iter().map(|word| match word.trim_matches(['[', ']']) {
                "QUANTITY" => "1Gi",
                word => word,
            });
            let known = Flags::try_parse_from(std::iter::once("cargo xtask").chain(plain));
            let refused = known.err().map(|error| error.to_string());
            assert_eq!(refused, None, "{}: {words:?}", path.display());
            accepted += 1;
        }
    }
    assert!(accepted > 60, "only {accepted} were found: this shows little");
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

#[test]
fn old_names_of_renamed_options_are_still_understood() {
    let line = "x bench --via http://localhost:8000 --token-file T --provider nix --source debnix";
    let Command::Bench(bench) = Flags::try_parse_from(line.split(' ')).unwrap().command else {
        panic!("{line}")
    };
    assert_eq!(bench.service_url.as_deref(), Some("http://localhost:8000"));
    assert_eq!(bench.local.choice.nix_provider, ProviderName::Nix);
    assert_eq!(bench.local.choice.package_source, SourceName::Debnix);
    let line = "x tools --provider nix-portable --source nixpkgs";
    let Command::Tools(tools) = Flags::try_parse_from(line.split(' ')).unwrap().command else {
        panic!("{line}")
    };
    assert_eq!(tools.choice.nix_provider, ProviderName::NixPortable);
    let help = Flags::command()
        .find_subcommand_mut("bench")
        .unwrap()
        .render_long_help()
        .to_string();
    assert!(help.contains("--service-url <URL>") && !help.contains("--via"));
}
