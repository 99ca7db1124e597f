//! What is accepted and what it becomes, and the message of everything that is refused.

use super::*;
use crate::sources::AllowedSources;

/// Under an operator who allows nothing.
pub(super) fn parse_list(pointer: &'static str, text: &str) -> Result<Vec<Requirement>, TaskErrors> {
    super::parse_list(pointer, text, &SourcePolicy::new(&AllowedSources::default(), &[]))
}

/// Under an operator who allows nothing.
pub(super) fn parse_file(pointer: &'static str, text: &str) -> Result<RequirementsFile, TaskErrors> {
    super::parse_file(
        pointer,
        text,
        &SourcePolicy::without_indexes(&AllowedSources::default()),
    )
}

fn normal(text: &str) -> String {
    text.parse::<Requirement>()
        .unwrap_or_else(|refusal| panic!("{text:?}: {refusal}"))
        .to_string()
}

fn list(text: &str) -> Vec<String> {
    parse_list("/dependencies", text)
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn file(text: &str) -> Vec<String> {
    parse_file("/requirementsFile", text)
        .unwrap()
        .requirements
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn message<T: std::fmt::Debug>(result: Result<T, TaskErrors>) -> String {
    result.unwrap_err().first().message.clone()
}

/// Every refusal as the user sees it, under the text that earned it.
fn refusals(lines: &[&str]) -> String {
    let show = |line: &&str| {
        let error = parse_file("/requirementsFile", line).expect_err(line);
        format!(
            "{}\n  {}\n",
            line.escape_debug(),
            error.to_string().replace('\n', "\n  ")
        )
    };
    lines.iter().map(show).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_requirement_has_one_normal_form() {
    for (text, expected) in [
        ("numpy", "numpy"),
        ("  NumPy\t", "numpy"),
        ("Foo__Bar.-baz", "foo-bar-baz"),
        ("zope.interface", "zope-interface"),
        ("numpy<3,>=2", "numpy>=2,<3"),
        ("numpy >= 2 , < 3 , >=2", "numpy>=2,<3"),
        ("numpy==1.*", "numpy==1.*"),
        ("numpy!=1.5.*,>=1", "numpy>=1,!=1.5.*"),
        ("numpy~=1.4.2", "numpy~=1.4.2"),
        ("numpy==1.0-1", "numpy==1.0.post1"),
        ("numpy==1.0.ALPHA.1", "numpy==1.0a1"),
        ("numpy==v1!2.0+CPU-1", "numpy==1!2.0+cpu.1"),
        ("pandas[plot, Excel,plot]", "pandas[excel,plot]"),
        ("pandas [] >=2", "pandas>=2"),
        (
            "numpy[dev]>=2,<3;python_version>='3.11'",
            "numpy[dev]>=2,<3 ; python_version >= \"3.11\"",
        ),
        ("a; '3.8' < python_version", "a ; python_version > \"3.8\""),
        ("a; \"linux\" in sys_platform", "a ; \"linux\" in sys_platform"),
        (
            "a; sys_platform not  in \"win32 cygwin\"",
            "a ; sys_platform not in \"win32 cygwin\"",
        ),
        (
            "a; python_version in '3.11 3.12'",
            "a ; python_version in \"3.11 3.12\"",
        ),
        ("a; python_version == '3.*'", "a ; python_version == \"3.*\""),
        (
            "a; (sys_platform=='linux' or (os_name=='posix')) and (python_version<'4' and python_version<'4')",
            "a ; python_version < \"4\" and (os_name == \"posix\" or sys_platform == \"linux\")",
        ),
        (
            "a; sys_platform=='linux' or os_name=='posix' and python_version<'4'",
            "a ; sys_platform == \"linux\" or os_name == \"posix\" and python_version < \"4\"",
        ),
    ] {
        assert_eq!(normal(text), expected, "of {text:?}");
        assert_eq!(normal(expected), expected, "again");
    }
}

#[test]
fn the_name_is_read_off_the_normal_form() {
    for (text, name) in [
        ("Foo_bar[x]>=1", "foo-bar"),
        ("a ; os_name == 'posix'", "a"),
        ("numpy", "numpy"),
    ] {
        assert_eq!(text.parse::<Requirement>().unwrap().name(), name);
    }
}

#[test]
fn lists_split_where_a_requirement_ends() {
    assert_eq!(list("numpy>=1,<2,pandas[a,b]"), ["numpy>=1,<2", "pandas[a,b]"]);
    assert_eq!(list("numpy >= 1 , != 1.5 , pandas"), ["numpy>=1,!=1.5", "pandas"]);
    assert_eq!(list(" ,numpy,, pandas ,\r\n\n,six,"), ["numpy", "pandas", "six"]);
    assert_eq!(list("numpy>=1,\n<2,\npandas"), ["numpy>=1,<2", "pandas"]);
    assert_eq!(
        list("a; sys_platform in 'x,y', b"),
        ["a ; sys_platform in \"x,y\"", "b"]
    );
    assert_eq!(list("\u{feff}numpy"), ["numpy"]);
    assert!(list("").is_empty());
    assert!(list(" ,\n\t, ").is_empty());
}

#[test]
fn an_ambiguous_list_entry_is_refused() {
    for text in [
        ">=1",
        "numpy,>=1",
        "pandas[a",
        "a; os_name == 'x, b",
        "numpy pandas",
        "numpy # why",
    ] {
        let error = parse_list("/dependencies", text).expect_err(text);
        let first = error.first();
        assert_eq!((first.pointer, first.line), ("/dependencies", None));
        assert!(first.hint.is_some(), "{error}");
    }
}

#[test]
fn files_hold_comments_blank_lines_and_any_line_end() {
    let text = "\u{feff}# the first — line\r\nNumPy>=2 # why\r\n\r\n  \t\n\tpandas[excel]\t# \"quoted\n#\rsix\\\n";
    assert_eq!(file(text), ["numpy>=2", "pandas[excel]", "six"]);
}

#[test]
fn everything_tried_against_installers_is_refused() {
    let reported = refusals(&[
        "-e ./p",
        "x @ file:///tmp/p",
        "x@file:p",
        "./p",
        "p/",
        "/srv/p",
        "..",
        "~/p",
        "C:\\p",
        "numpy --index-url=https://example.test/simple",
        "numpy\t-i x",
        "foo @ http://u:${SECRET}@host/",
        "foo==${VERSION}",
        "-r /etc/hostname",
        "-r other.txt",
        "-c constraints.txt",
        "-",
        "—index-url x",
        "numpy==2.0 --hash=sha256:00",
        "git+https://example.test/r.git#egg=numpy",
        "git+ssh:p",
        "numpy==1\\n--pre",
        "numpy\0",
        "numpy\r--index-url=x",
        "--index-url file:///srv/simple",
        "numpy # x\r--index-url=x",
        "numpy\u{0b}--pre",
        "numpy\u{2028}--pre",
        "numpy\u{1b}[31m",
        "nu\u{43c}py",
        "numpy\u{ff1d}=1",
        "numpy>=1\u{a0}",
        "numpy#egg",
        "numpy.whl",
        "Foo-1.0.tar.gz",
        "requirements.txt",
        "numpy; os_name == \" --index-url=x\"",
        "numpy; os_name == \"a\\\"b\"",
        "numpy; os_name == \"${HOME}\"",
    ]);
    insta::assert_snapshot!(reported);
}

#[test]
fn a_mistake_in_a_requirement_gets_a_hint_that_shows_what_to_write() {
    let reported = refusals(&[
        "numpy, pandas",
        "numpy pandas",
        "numpy 1.26",
        "numpy=1.26",
        "numpy^1.2",
        "numpy>=1 <2",
        "numpy>=1,",
        "numpy>=",
        "numpy>=1.*",
        "numpy~=1",
        "numpy===latest",
        "numpy (>=1",
        "numpy ()",
        "numpy==latest",
        ">=1",
        "-numpy",
        "_numpy",
        "numpy_",
        "[x]",
        "pandas[",
        "pandas[a",
        "pandas[a,]",
        "pandas[a b]",
        "pandas[a]]",
        "numpy;",
        "numpy; ",
        "numpy; python_version",
        "numpy; python_version >=",
        "numpy; python_version >= 3.11",
        "numpy; python_version >= \"3.11",
        "numpy; python_version => \"3.11\"",
        "numpy; python_version === \"3.11\"",
        "numpy; python == \"3\"",
        "numpy; os_name not \"posix\"",
        "numpy; (os_name == \"posix\"",
        "numpy; os_name == \"posix\")",
        "numpy; os_name == \"posix\" xor os_name == \"nt\"",
        "numpy; os_name == \"posix\"; x",
        "numpy; os_name == \"posix\", pandas",
    ]);
    insta::assert_snapshot!(reported);
}

#[test]
fn the_message_names_field_line_and_next_step() {
    let error = parse_file("/requirementsFile", "numpy\n\n--foo\n").unwrap_err();
    insta::assert_snapshot!(error, @r"
    /requirementsFile line 3: `--foo` is an option
    hint: leave this option out
    ");
}

#[test]
fn messages_repeat_no_credentials_and_no_control_characters() {
    let text = "foo @ https://user:secret@example.test/\u{1b}[2J";
    for text in [text, "git+https://user:secret@example.test/r", &format!("\u{1b}{text}")] {
        let message = parse_file("/requirementsFile", text).unwrap_err().to_string();
        assert!(!message.contains("secret") && !message.contains('\u{1b}'), "{message}");
    }
}

#[test]
fn sizes_are_bounded() {
    let too_long = format!("numpy{}", " ".repeat(MAX_REQUIREMENT_BYTES) + ">=1");
    let too_deep = format!("a; {}os_name == 'x'{}", "(".repeat(17), ")".repeat(17));
    let flat_enough = format!("a; {}os_name == 'x'{}", "(".repeat(16), ")".repeat(16));
    assert!(message(parse_file("/r", &too_long)).contains("1032 bytes"));
    assert!(message(parse_file("/r", &too_deep)).contains("more than 16 parentheses"));
    assert_eq!(file(&flat_enough), ["a ; os_name == \"x\""]);
    let over = MAX_TEXT_BYTES + 1;
    assert!(message(parse_file("/r", &"#".repeat(over))).contains("4194305 bytes"));
    assert!(message(parse_list("/r", &",".repeat(over))).contains("4194305 bytes"));
    assert!(message(parse_file("/r", &"\r".repeat(MAX_LINES))).contains("65537 lines"));
    assert!(
        parse_file("/r", &format!("# {}", "x".repeat(5000)))
            .unwrap()
            .requirements
            .is_empty()
    );
}

#[test]
fn a_stored_requirement_is_checked_again_when_it_is_read() {
    let read = |json: &str| serde_json::from_str::<Requirement>(json);
    let one = read(r#""NumPy >= 2""#).unwrap();
    assert_eq!(serde_json::to_string(&one).unwrap(), r#""numpy>=2""#);
    assert!(
        read(r#""--index-url=x""#)
            .unwrap_err()
            .to_string()
            .contains("is an option")
    );
}

#[test]
fn a_marker_is_evaluated_as_uv_does() {
    let environment = super::properties::environment("3.11.7");
    // What uv 0.13.9 installs for Python 3.11.7 on Linux, x86_64; `None` is what readers of markers take differently.
    for (marker, wanted) in [
        ("python_version == '3.11'", Some(true)),
        ("python_version == '3.11.*'", None),
        ("python_version > '3.11'", Some(false)),
        ("python_version >= '3.11rc1'", None),
        ("python_full_version > '3.11.7rc1'", None),
        ("python_version < '3.12.dev1'", None),
        ("python_version not in '3.11.7'", None),
        ("python_version in '3.9 3.11'", Some(true)),
        ("python_full_version in '3.11.7 3'", Some(true)),
        ("python_full_version < '3.12'", Some(true)),
        ("implementation_version ~= '3.11.6'", Some(true)),
        ("python_full_version ~= '3.1.0'", Some(false)),
        ("python_full_version ~= '3.11.0'", Some(true)),
        ("os_name in 'posixes'", Some(true)),
        ("os_name not in 'a posix'", Some(false)),
        ("'inu' in sys_platform", Some(true)),
        ("platform_release != '5'", Some(true)),
        ("platform_version == ''", Some(true)),
        ("sys_platform > 'a'", None),
        ("extra == 'a'", Some(false)),
        ("extra != 'a'", Some(true)),
        ("sys_platform > 'a' and os_name == 'nt'", Some(false)),
        ("sys_platform > 'a' or os_name == 'posix'", Some(true)),
        ("sys_platform > 'a' or os_name == 'nt'", None),
        (
            "platform_machine == 'x86_64' and (os_name == 'nt' or python_version >= '3')",
            Some(true),
        ),
    ] {
        let requirement: Requirement = format!("six ; {marker}").parse().unwrap();
        assert_eq!(requirement.is_for(&environment), wanted, "{marker}");
    }
    assert_eq!(
        "six>=2".parse::<Requirement>().unwrap().is_for(&environment),
        Some(true)
    );
}
