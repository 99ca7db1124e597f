//! Properties of every text, with a full PEP 508 parser as the oracle of what we accept.

use std::str::FromStr;

use pep508_rs::{
    MarkerEnvironment as OracleEnvironment, MarkerEnvironmentBuilder, Requirement as Oracle, VerbatimUrl, VersionOrUrl,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree;

use super::tests::{parse_file, parse_list};
use super::*;
use crate::task_error::{MAX_SHOWN, TaskErrorGroup};

fn oracle(text: &str) -> Oracle<VerbatimUrl> {
    Oracle::from_str(text).unwrap_or_else(|error| panic!("the oracle refuses {text:?}: {error}"))
}

/// Text near enough to requirements that much of it is accepted.
fn likely() -> impl Strategy<Value = String> {
    let text = |pattern: &str| proptest::string::string_regex(pattern).unwrap();
    let name = "[a-zA-Z0-9][a-zA-Z0-9._-]{0,6}[a-zA-Z0-9]|[a-z]";
    let extras = r"|\[[a-z0-9_, ]{0,8}\]";
    let version = "(v|1!)?[0-9]{1,3}(\\.[0-9]{1,2}){0,3}(\\.\\*|a1|-?rc2|\\.post3|\\.dev4|-1|\\+CPU_1)?";
    let specifiers = format!("|( ?(==|>=|<|~=|!=|>|<=|===) ?{version} ?,? ?){{1,4}}");
    let marker = proptest::option::weighted(0.6, marker());
    (name, extras, text(&specifiers), "[ \t]?", marker).prop_map(|(name, extras, specifiers, space, marker)| {
        let specifiers = specifiers.trim_end_matches([',', ' ']);
        let marker = marker
            .map(|marker| format!("{space};{space}{marker}"))
            .unwrap_or_default();
        format!("{name}{space}{extras}{space}{specifiers}{marker}")
    })
}

fn marker() -> impl Strategy<Value = String> {
    let version = "(python_version|python_full_version|implementation_version) ?(==|!=|<|<=|>|>=|~=| in | not in ) ?\
                   ('[23]\\.[0-9]{1,2}(\\.[0-9*])?'|\"3\\.8 3\\.9\")";
    let text = "(os_name|sys_platform|platform_machine|platform_release) ?(==|!=|<|<=|>|>=| in | not  in ) ?\
                ('[a-z0-9]{1,5}'|\"linux win32\"|'x-1, y')";
    let turned = "'(3\\.9|linux)' (==|<|>=|in|not in) (python_version|sys_platform)";
    let leaf = prop_oneof![4 => version, 4 => text, 2 => turned, 1 => "[ -~]{0,12}"];
    leaf.prop_recursive(4, 12, 3, |inner| {
        prop_oneof![
            (inner.clone(), "and|or", inner.clone()).prop_map(|(a, joint, b)| format!("{a} {joint} {b}")),
            inner.prop_map(|a| format!("({a})")),
        ]
    })
}

/// Arbitrary text, with pieces in it that installers have taken for more than text.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        any::<String>(),
        "[ -~]{0,10}",
        likely(),
        prop::sample::select(vec![
            "-e ",
            " --index-url=",
            " @ ",
            "://",
            "../",
            "${X}",
            "\\\n",
            "\r",
            "\0",
            "#",
            "; ",
            "\"",
            "'",
            ",",
            "[",
            "]",
        ])
        .prop_map(str::to_owned),
    ];
    proptest::collection::vec(piece, 0..5).prop_map(|pieces| pieces.concat())
}

pub(super) fn environment(version: &str) -> MarkerEnvironment<'_> {
    MarkerEnvironment {
        implementation_name: "cpython",
        python_full_version: version,
        platform_machine: "x86_64",
    }
}

fn oracles_environment(version: &str) -> OracleEnvironment {
    let short = version.rsplit_once('.').unwrap().0;
    OracleEnvironment::try_from(MarkerEnvironmentBuilder {
        implementation_name: "cpython",
        implementation_version: version,
        os_name: "posix",
        platform_machine: "x86_64",
        platform_python_implementation: "CPython",
        platform_release: "",
        platform_system: "Linux",
        platform_version: "",
        python_full_version: version,
        python_version: short,
        sys_platform: "linux",
    })
    .unwrap()
}

/// True for what the oracle reads in a way of its own: it takes `~= "3.1.0"` for `~= "3.1"`. uv 0.13.9 and packaging do not.
fn is_misread(text: &str) -> bool {
    let mut compatible = text.split("~= \"").skip(1);
    compatible.any(|rest| rest.split('"').next().is_some_and(|version| version.ends_with(".0")))
}

fn check_normal_form(one: &Requirement) {
    let text = one.as_str();
    assert_eq!(&text.parse::<Requirement>().unwrap(), one, "a fixed point");
    assert_eq!(
        &parse_list("/d", text).unwrap(),
        std::slice::from_ref(one),
        "a list of itself"
    );
    assert_eq!(
        &parse_file("/f", text).unwrap().requirements,
        std::slice::from_ref(one),
        "a file of itself"
    );
    let head = text.split(" ; ").next().unwrap();
    for never in ["://", "@", "/", "\\", "$", "#", "'", "\"", " ", "("] {
        assert!(!head.contains(never), "{text:?} holds {never:?}");
    }
    // What uv reads as a variable, as a comment or as the start of an option.
    for never in ["${", " #", " --", "\n", "\r", "\0", "\t"] {
        assert!(!text.contains(never), "{text:?} holds {never:?}");
    }
    assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text:?}");
    assert!(
        text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()),
        "{text:?}"
    );
}

fn check_against_oracle(one: &Requirement) {
    let theirs = oracle(one.as_str());
    assert_eq!(theirs.name.to_string(), one.name());
    let extras: Vec<_> = theirs.extras.iter().map(ToString::to_string).collect();
    let rest = one.as_str()[one.name().len()..].split(" ; ").next().unwrap();
    let (ours, specifiers) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']').unwrap(),
        None => ("", rest),
    };
    assert_eq!(extras.join(","), ours);
    match theirs.version_or_url {
        None => assert_eq!(specifiers, ""),
        Some(VersionOrUrl::VersionSpecifier(theirs)) => {
            let sorted = |mut all: Vec<String>| {
                all.sort();
                all
            };
            let ours = specifiers.split(',').map(str::to_owned).collect();
            assert_eq!(sorted(theirs.iter().map(ToString::to_string).collect()), sorted(ours));
        }
        Some(VersionOrUrl::Url(url)) => panic!("{one} is a URL to the oracle: {url}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_accepted_text_is_in_normal_form_and_no_text_panics(text in hostile()) {
        for accepted in [parse_list("/d", &text), parse_file("/f", &text).map(|file| file.requirements)].into_iter().flatten().flatten() {
            check_normal_form(&accepted);
            check_against_oracle(&accepted);
        }
    }

    #[test]
    fn the_normal_form_means_what_the_text_meant(text in likely()) {
        if let Ok(one) = text.parse::<Requirement>() {
            check_normal_form(&one);
            check_against_oracle(&one);
            // The oracle's markers are decision diagrams: equal if they mean the same.
            let (before, after) = (oracle(&text), oracle(one.as_str()));
            prop_assert_eq!(&before.name, &after.name);
            prop_assert_eq!(&before.marker, &after.marker);
            if is_misread(one.as_str()) {
                return Ok(());
            }
            for version in ["3.8.18", "3.9.0", "3.11.7", "3.13.0"] {
                let theirs = before.evaluate_markers(&oracles_environment(version), &[]);
                let ours = one.is_for(&environment(version)).unwrap_or(theirs);
                prop_assert_eq!(ours, theirs, "{} on Python {}", one, version);
            }
        }
    }

    #[test]
    fn messages_are_printable_and_short(text in hostile()) {
        if let Err(error) = parse_file("/f", &text) {
            for TaskErrorGroup { first, .. } in error.groups() {
                let printable = |c: char| c == '…' || c == ' ' || c.is_ascii_graphic();
                prop_assert!(first.message.chars().all(printable), "{:?}", error);
                prop_assert!(first.message.len() < 600, "{:?}", error);
                prop_assert!(first.hint.is_some());
            }
            prop_assert!(error.groups().count() <= MAX_SHOWN && error.to_string().len() < 20_000);
        }
    }
}

#[test]
fn the_generator_produces_enough_accepted_requirements() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut next = || likely().new_tree(&mut runner).unwrap().current();
    let texts: Vec<String> = (0..400).map(|_| next()).collect();
    let accepted = texts.iter().filter(|text| text.parse::<Requirement>().is_ok());
    let with_marker = accepted.clone().filter(|text| text.contains(';')).count();
    let clear = accepted
        .clone()
        .filter_map(|text| text.parse::<Requirement>().unwrap().is_for(&environment("3.11.7")));
    let known = clear.filter(|known| !known).count();
    assert!(
        accepted.count() > 100 && with_marker > 40 && known > 10,
        "too few of {texts:#?} are accepted"
    );
}
