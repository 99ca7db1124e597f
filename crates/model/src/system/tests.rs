//! Friendly names, what is refused, and what is suggested.

use proptest::prelude::*;

use super::*;

const KNOWN: [&str; 14] = [
    "gcc",
    "gnumake",
    "cmake",
    "pkg-config",
    "git",
    "curl",
    "wget",
    "python3",
    "nodejs",
    "bc",
    "binutils",
    "gnused",
    "gdb",
    "SDL2",
];

fn list(text: &str) -> Vec<String> {
    parse_list("/systemDependencies", text)
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn suggested(name: &str) -> Option<&'static str> {
    suggest(name, KNOWN.into_iter())
}

#[test]
fn the_names_people_write_become_attributes() {
    for (name, expected) in [
        ("gcc", "gcc"),
        ("GCC", "gcc"),
        ("g++", "gcc"),
        ("cc", "gcc"),
        ("c++", "gcc"),
        ("make", "gnumake"),
        ("gmake", "gnumake"),
        ("gnumake", "gnumake"),
        ("cmake", "cmake"),
        ("pkg-config", "pkg-config"),
        ("pkgconfig", "pkg-config"),
        ("pkgconf", "pkg-config"),
        ("Git", "git"),
        ("curl", "curl"),
        ("wget", "wget"),
        ("python", "python3"),
        ("python3", "python3"),
        ("python3.11", "python311"),
        ("python311", "python311"),
        ("node", "nodejs"),
        ("npm", "nodejs"),
        ("nodejs_20", "nodejs_20"),
        ("golang", "go"),
        ("ninja-build", "ninja"),
        ("tar", "gnutar"),
        ("sed", "gnused"),
        ("grep", "gnugrep"),
        ("awk", "gawk"),
        ("xz-utils", "xz"),
        ("ssh", "openssh"),
        ("dig", "dnsutils"),
        ("gcc12", "gcc12"),
        ("g++-13", "gcc13"),
        ("clang-17", "clang_17"),
        ("SDL2", "SDL2"),
        ("nixpkgs.make", "gnumake"),
        ("nixpkgs#git", "git"),
        ("pkgs.jq", "jq"),
    ] {
        assert_eq!(list(name), [expected], "of {name:?}");
    }
    assert_eq!(list("build-essential"), ["gcc", "gnumake", "binutils"]);
}

#[test]
fn every_alias_leads_to_an_attribute_and_not_to_another_alias() {
    for (name, targets) in alias::ALIASES {
        assert_eq!(name, name.to_ascii_lowercase());
        for target in targets {
            assert_eq!(list(target), [*target], "of {name}");
        }
    }
}

#[test]
fn lists_tolerate_white_space_and_extra_commas() {
    assert_eq!(list(" gcc , make,,\r\n git\n\n"), ["gcc", "gnumake", "git"]);
    assert!(list(" ,\n").is_empty());
}

#[test]
fn text_that_is_not_a_package_name_is_refused_with_a_hint() {
    let long = "x".repeat(65);
    let reported: Vec<String> = [
        "--impure",
        "-f",
        "gcc make",
        "gcc=12",
        "gcc@12",
        "./default.nix",
        "/etc/passwd",
        "..",
        "github:owner/repo",
        "nixpkgs#",
        "nixpkgs#hello#world",
        "pkgs.pkgs.gcc",
        "python3Packages.numpy",
        "gcc.override",
        "gcc^out",
        "gcc!out",
        "gcc*",
        "(import x)",
        "${HOME}",
        "\"gcc\"",
        "gcc;id",
        "$(id)",
        "let",
        "with",
        "_gcc",
        "12gcc",
        "gtk+",
        "g\u{0441}c",
        "gcc\0",
        "gcc\u{1b}[2J",
        &long,
    ]
    .iter()
    .map(|name| format!("{}\n  {}\n", name.escape_debug(), refused(name).replace('\n', "\n  ")))
    .collect();
    insta::assert_snapshot!(reported.join("\n"));
}

fn refused(name: &str) -> String {
    let error = parse_list("/systemDependencies", &format!("git,{name}")).expect_err(name);
    assert!(error.first().hint.is_some() && error.first().pointer == "/systemDependencies");
    error.to_string()
}

#[test]
fn a_list_is_bounded() {
    assert!(
        parse_list("/s", &",".repeat(MAX_LIST_BYTES + 1))
            .unwrap_err()
            .first()
            .message
            .contains("65537 bytes")
    );
}

#[test]
fn a_misspelt_name_gets_the_closest_known_name_as_suggestion() {
    for (name, expected) in [
        ("gnumak", Some("gnumake")),
        ("mak", Some("gnumake")),
        ("amke", Some("gnumake")),
        ("make", Some("gnumake")),
        ("cmak", Some("cmake")),
        ("gc", Some("gcc")),
        ("pkgconfg", Some("pkg-config")),
        ("pyton3", Some("python3")),
        ("Pyhton", Some("python3")),
        ("nodjs", Some("nodejs")),
        ("crul", Some("curl")),
        ("sdl2", Some("SDL2")),
        ("kubernetes", None),
        ("x", None),
        ("", None),
    ] {
        assert_eq!(suggested(name), expected, "for {name:?}");
    }
    assert_eq!(
        suggest("mak", ["cmake"].into_iter()),
        None,
        "cmake is not what make means"
    );
    assert_eq!(suggest("gcc", std::iter::empty()), None);
}

#[test]
fn a_stored_package_is_checked_again_when_it_is_read() {
    let read = |json: &str| serde_json::from_str::<SystemPackage>(json);
    assert_eq!(
        serde_json::to_string(&read(r#""gnumake""#).unwrap()).unwrap(),
        r#""gnumake""#
    );
    assert!(read(r#""--impure""#).is_err());
}

proptest! {
    #[test]
    fn every_accepted_name_is_a_plain_attribute(text in "\\PC*|[a-z0-9#.+,_ -]{0,20}") {
        for package in parse_list("/s", &text).into_iter().flatten() {
            let name = package.as_str();
            prop_assert!(name.starts_with(|c: char| c.is_ascii_alphabetic()), "{:?}", name);
            prop_assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)), "{:?}", name);
            prop_assert!(name.parse::<SystemPackage>().is_ok());
        }
    }

    #[test]
    fn suggesting_never_panics(text in any::<String>()) {
        suggested(&text);
    }
}
