//! Requirements files as people have them: hashes, options, other programs' texts, and all faults in one answer.

use super::tests::parse_file;
use super::*;
use crate::sources::{AllowedSources, NamedIndex};

const HASH: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

fn read(text: &str) -> RequirementsFile {
    parse_file("/requirementsFile", text).unwrap_or_else(|errors| panic!("{text:?}: {errors}"))
}

fn names(text: &str) -> Vec<String> {
    read(text).requirements.iter().map(ToString::to_string).collect()
}

fn refused(text: &str) -> TaskErrors {
    parse_file("/requirementsFile", text).expect_err(text)
}

#[test]
fn hashes_are_read_with_and_without_continuation_lines() {
    let other = HASH.replace("000", "ABC");
    for text in [
        format!("a==1 --hash={HASH} --hash={other}"),
        format!("a==1 \\\n    --hash={HASH} \\\n    --hash={other}\n"),
        format!("a==1 \\\r\n    --hash {HASH} \\\r\n    --hash={other} # why\r\n"),
        format!("a==1\\\r --hash={HASH}\\\r --hash={other}"),
    ] {
        let file = read(&text);
        let hashes = [HASH, &other.to_ascii_lowercase()].map(|hash| ("a==1".to_owned(), hash.to_owned()));
        assert_eq!(file.options.hashes, hashes, "{text:?}");
    }
    assert_eq!(
        names("a \\\n==1 # x \\\nb"),
        ["a==1", "b"],
        "a comment ends with its line"
    );
    for (text, why) in [
        (format!("a==1 --hash={HASH} b"), "after a hash"),
        (format!("a==1 --hash={HASH}# b"), "not a digest"),
        ("a==1 --hash=sha256:00".to_owned(), "not a digest"),
        (format!("a==1 --hash={}", HASH.replace("sha256", "sha1")), "not a hash"),
        (format!("a>=1 --hash={HASH}"), "allows several versions"),
        (format!("a==1.* --hash={HASH}"), "allows several versions"),
        (format!("a==1,>=0 --hash={HASH}"), "allows several versions"),
        (format!("a --hash={HASH}"), "allows several versions"),
        ("a==1 --pre".to_owned(), "is an option"),
        ("a==1 --hash".to_owned(), "is not a hash"),
    ] {
        assert!(
            refused(&text).first().message.contains(why),
            "{text:?}: {}",
            refused(&text)
        );
    }
}

#[test]
fn hashes_of_all_requirements_allow_nothing_without_one() {
    let complete = |text: &str| {
        let file = read(text);
        let (requirements, options) = (file.requirements.clone(), file.options);
        options.complete(&requirements)
    };
    assert!(complete(&format!("a==1 --hash={HASH}\nb==1 --hash={HASH}")).require_hashes);
    let some = complete(&format!("b==1\na==1 --hash={HASH}\na==1 --hash={HASH}"));
    assert!(!some.require_hashes && some.hashes.len() == 1);
    assert_eq!(some.hashes_of("a==1").collect::<Vec<_>>(), [HASH]);
    assert_eq!(some.hashes_of("b==1").count(), 0);
    assert!(!complete("").require_hashes);
    assert!(complete("--require-hashes\na==1").require_hashes);
}

#[test]
fn options_that_run_and_contact_nothing_are_read() {
    let inert = "--prefer-binary\n--only-binary :all:\n--only-binary=a,:none: # c\n--no-binary :none:\n--no-binary=:none:\n\
                 --trusted-host host.test\n--use-feature=x\n";
    assert_eq!(read(inert), RequirementsFile::default());
    assert!(read("  --pre # c\na").options.pre_releases);
    let wheels_only = |text: &str| read(text).options.wheels_only;
    assert_eq!(
        wheels_only("--only-binary=B_b,a # c\n--only-binary a"),
        ["b-b", "a", "a"]
    );
    assert_eq!(
        wheels_only("--only-binary a\n--only-binary :none:\n--only-binary :all:"),
        [":all:"]
    );
    let indexes = read(
        "-i https://user:secret@Host.test/simple/\n--index-url=https://host.test/simple?x\n\
         --extra-index-url 'HTTPS://other.test'\n-ihttps://third.test/\n-i=https://fourth.test/a",
    );
    let expected = [
        "https://host.test/simple",
        "https://host.test/simple",
        "https://other.test",
        "https://third.test",
        "https://fourth.test/a",
    ];
    assert_eq!(indexes.options.indexes, expected);
    let used = |text: &str, variables: &[(&str, &str)]| {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let variables: Vec<_> = variables.iter().map(own).collect();
        super::parse_file("/f", text, &SourcePolicy::new(&AllowedSources::default(), &variables)).is_ok()
    };
    let own = ("UV_DEFAULT_INDEX", "https://me:pw@host.test/simple/");
    assert!(used("-i https://host.test/simple", &[own]));
    assert!(!used("-i https://host.test/simple2", &[own]));
    assert!(!used("-i https://host.test/simple", &[]));
    let extra = ("UV_INDEX", "a=https://other.test/x https://third.test/");
    assert!(used(
        "-i https://host.test/simple\n--extra-index-url https://other.test/x/",
        &[own, extra]
    ));
    assert!(used("--extra-index-url https://third.test", &[extra]));
    assert!(used("a", &[]));
    for text in [
        "--no-binary :all:",
        "--no-binary=a",
        "-i",
        "--index-url",
        "-i /srv/wheels",
        "-i file:///srv/wheels",
        "-i https://${HOST}/simple",
        "-i https:///x",
        "-f wheels",
        "--no-index",
        "-r other.txt",
        "-c other.txt",
        "-e .",
        "--pre=x",
        "--config-settings x",
    ] {
        let errors = refused(text);
        assert!(
            errors.first().hint.is_some() && errors.total() == 1,
            "{text:?}: {errors}"
        );
    }
}

#[test]
fn markers_of_every_form_are_read() {
    for (text, expected) in [
        ("os.name == 'nt'", "os_name == \"nt\""),
        (
            "python_implementation=='CPython'",
            "platform_python_implementation == \"CPython\"",
        ),
        ("sys.platform != 'win32'", "sys_platform != \"win32\""),
        ("extra == 'x'", "extra == \"x\""),
        ("'x' == extra", "extra == \"x\""),
        ("python_version in '3.11, 3.12'", "python_version in \"3.11 3.12\""),
        (
            "python_version not in '3.11,3.12 '",
            "python_version not in \"3.11 3.12\"",
        ),
        ("os_name == ''", "os_name == \"\""),
        ("os_name != 'a\"b'", "os_name != 'a\"b'"),
        ("platform_version == '#1 SMP/x@y'", "platform_version == \"#1 SMP/x@y\""),
        ("'linux' in sys_platform", "\"linux\" in sys_platform"),
        ("python_version >= 'new' and os_name == 'nt'", "os_name == \"nt\""),
        ("os_name == 'nt' or (os_name == sys_platform)", "os_name == \"nt\""),
    ] {
        let text = format!("a ; {text}");
        assert_eq!(names(&text), [format!("a ; {expected}")], "{text:?}");
        assert_eq!(names(&names(&text)[0]), names(&text), "again");
    }
    for text in [
        "os_name == sys_platform",
        "'a' == 'b'",
        "'3.1' in python_version",
        "'3.1' ~= python_version",
        "os_name ~= 'nt'",
        "extra in 'x'",
        "'x' in extra",
        "python_version == 'abc'",
        "python_version >= '3.*'",
        "python_version in '3.11, abc'",
    ] {
        assert_eq!(names(&format!("a ; {text}")), ["a"], "{text:?} means nothing to uv");
    }
    for text in [
        "foo == 'x'",
        "os_name == ' --x'",
        "os_name == 'a #b'",
        "os_name == '${X}'",
        "os_name == 'é'",
    ] {
        refused(&format!("a ; {text}"));
    }
}

#[test]
fn every_fault_of_a_file_is_in_one_answer() {
    let text = "numpy\n-e .\n-e ./b\nsix @ file:///build/six\nx=1.0=py_0\n<<<<<<< HEAD\na==1\n=======\nb\n>>>>>>> other\n\
                git+https://u:secret@host.test/r.git\n-r base.txt\nhttps://host.test/a.whl\n";
    insta::assert_snapshot!(refused(text));
}

#[test]
fn texts_of_other_programs_are_named_once() {
    for (text, line, name) in [
        (
            "name: x\nchannels:\n  - defaults\ndependencies:\n  - python=3.11\n  - pip:\n    - six\n",
            4,
            "conda environment file",
        ),
        (
            "# platform: linux-64\n@EXPLICIT\nhttps://host.test/a.conda\n",
            2,
            "conda list --explicit",
        ),
        (
            "Package    Version\n---------- -------\nnumpy      1.26.4\nsix        1.16\n",
            1,
            "pip list",
        ),
        ("numpy\npip install six\n", 2, "is a command"),
        ("!pip install -q six==1.16 \\\n  idna", 1, "is a command"),
        ("$ python -m pip install six", 1, "is a command"),
    ] {
        let errors = refused(text);
        assert_eq!((errors.total(), errors.first().line), (1, Some(line)), "{errors}");
        assert!(errors.first().message.contains(name), "{errors}");
    }
}

#[test]
fn a_hostile_text_costs_little_and_its_answer_is_short() {
    let started = std::time::Instant::now();
    let lines: String = (0..60_000)
        .map(|number| format!("x{number}=1=py_0\ny{number} z\n"))
        .take(30_000)
        .collect();
    let errors = refused(&lines);
    assert_eq!(errors.total(), 60_000);
    assert!(
        errors.groups().count() <= 10 && errors.to_string().len() < 5000,
        "{errors}"
    );
    assert!(names(&"\\\n".repeat(60_000)).is_empty());
    refused(&format!("a ; {}", "(".repeat(900)));
    assert!(started.elapsed() < std::time::Duration::from_secs(20));
}

#[test]
fn a_lock_file_of_thousands_of_lines_is_read() {
    let hashes = format!(" \\\n    --hash={HASH}").repeat(16);
    let text: String = (0..2500)
        .map(|number| format!("package-{number}==1.{number}{hashes}\n    # via x\n"))
        .collect();
    assert_eq!(read(&text).requirements.len(), 2500);
}

fn allowed() -> AllowedSources {
    AllowedSources {
        indexes: vec![NamedIndex {
            name: "ours".to_owned(),
            url: "https://ours.test/simple".to_owned(),
        }],
        wheel_hosts: vec!["files.test".to_owned(), "127.0.0.1:8080".to_owned()],
        git_repositories: vec!["https://git.test/team".to_owned()],
    }
}

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

#[test]
fn a_wheel_and_a_commit_have_one_normal_form_that_is_read_again() {
    let allowed = allowed();
    let policy = SourcePolicy::new(&allowed, &[]);
    for (text, normal) in [
        (
            "Torch@https://FILES.test/x/torch-2.2.0%2Bcpu-cp311-cp311-linux_x86_64.whl",
            "torch @ https://files.test/x/torch-2.2.0%2Bcpu-cp311-cp311-linux_x86_64.whl".to_owned(),
        ),
        (
            "https://files.test/Zope.Interface-5.0-py3-none-any.whl",
            "zope-interface @ https://files.test/Zope.Interface-5.0-py3-none-any.whl".to_owned(),
        ),
        (
            "a[b, A] @ https://files.test/a-1-py3-none-any.whl ; os_name=='posix'",
            "a[a,b] @ https://files.test/a-1-py3-none-any.whl ; os_name == \"posix\"".to_owned(),
        ),
        (
            "a @ http://127.0.0.1:8080/a-1-py3-none-any.whl",
            "a @ http://127.0.0.1:8080/a-1-py3-none-any.whl".to_owned(),
        ),
        (
            &format!("B.C @ git+https://git.test/team/x.git@{}", COMMIT.to_uppercase()),
            format!("b-c @ git+https://git.test/team/x.git@{COMMIT}"),
        ),
        (
            &format!("git+https://git.test/team/x@{COMMIT}#egg=b&subdirectory=/d/e"),
            format!("b @ git+https://git.test/team/x@{COMMIT}#subdirectory=d/e"),
        ),
    ] {
        let read =
            |text: &str| super::parse_file("/f", text, &policy).unwrap_or_else(|errors| panic!("{text}: {errors}"));
        let file = read(text);
        assert_eq!(file.requirements[0].as_str(), normal);
        assert_eq!(read(&normal), file);
        assert!(file.requirements[0].reference().is_some() && file.requirements[0].versions().is_empty());
        assert!(parse_file("/f", text).is_err(), "{text} is off by default");
        // Text that a stranger writes, such as build requirements, never has one.
        assert!(text.parse::<Requirement>().is_err() && normal.parse::<Requirement>().is_err());
    }
    let hashed = format!(
        "a @ https://files.test/a-1-py3-none-any.whl#{}\n",
        HASH.replace(':', "=")
    );
    let file = super::parse_file("/f", &hashed, &policy).unwrap();
    assert_eq!(
        file.options.hashes,
        [(file.requirements[0].to_string(), HASH.to_owned())]
    );
    let pinned = |text: &str| super::read(text, &policy).unwrap().0.pinned("1+cpu");
    assert_eq!(
        pinned("a[b] @ https://files.test/a-1-py3-none-any.whl; os_name=='x'"),
        "a[b]==1+cpu ; os_name == \"x\""
    );
    assert_eq!(pinned("a @ https://files.test/a-1-py3-none-any.whl"), "a==1+cpu");
}

#[test]
fn a_place_that_no_operator_can_allow_is_refused_without_repeating_a_secret() {
    let allowed = allowed();
    for (text, part) in [
        (
            "a @ https://me:hush@files.test/a-1-py3-none-any.whl".to_owned(),
            "password",
        ),
        (
            "a @ https://files.test/a-1-py3-none-any.whl?token=hush".to_owned(),
            "query",
        ),
        ("a @ http://files.test/a-1-py3-none-any.whl".to_owned(), "`http`"),
        ("a @ https://files.test/a-1.tar.gz".to_owned(), "lead to a wheel"),
        (
            "b @ https://files.test/a-1-py3-none-any.whl".to_owned(),
            "another package",
        ),
        (
            "a @ https://files.test/a-x-py3-none-any.whl".to_owned(),
            "name of a wheel",
        ),
        ("a @ https://files.test/../a-1-py3-none-any.whl".to_owned(), "path"),
        ("a @ https://files.test:x/a-1-py3-none-any.whl".to_owned(), "host"),
        ("a>=1 @ https://files.test/a-1-py3-none-any.whl".to_owned(), "URL"),
        ("a @ git+https://git.test/team/x@main".to_owned(), "not a full commit"),
        ("a @ git+https://git.test/team/x".to_owned(), "without a commit"),
        (format!("a @ git+https://hush@git.test/team/x@{COMMIT}"), "user name"),
        (format!("a @ git+https://git.test/team/../x@{COMMIT}"), "path"),
        (format!("a @ git+https://git.test/team%2fx@{COMMIT}"), "path"),
        (format!("a @ git+ssh://git@git.test/team/x@{COMMIT}"), "repository"),
        (
            format!("a @ git+https://git.test/team/x@{COMMIT}#subdirectory=../y"),
            "folder",
        ),
        (
            format!("a @ git+https://git.test/team/x@{COMMIT} --hash={HASH}"),
            "hash of a commit",
        ),
        (format!("git+https://git.test/team/x@{COMMIT}"), "no package name"),
        ("a @ file:///srv/a-1-py3-none-any.whl".to_owned(), "local file"),
    ] {
        let errors = super::parse_file("/f", &text, &SourcePolicy::unknown()).expect_err(&text);
        let reported = super::parse_file("/f", &text, &SourcePolicy::new(&allowed, &[])).expect_err(&text);
        assert_eq!(errors, reported);
        let reported = reported.to_string();
        assert!(
            reported.contains(part) && reported.contains("hint: ") && !reported.contains("hush"),
            "{text}: {reported}"
        );
    }
}

#[test]
fn what_an_operator_could_allow_is_refused_with_its_line_and_the_name_of_the_setting() {
    let text = format!(
        "six\na @ https://files.test/a-1-py3-none-any.whl\n--extra-index-url https://ours.test/simple/\n-f https://ours.test/simple\n\
         b @ git+https://git.test/team/x@{COMMIT}\n"
    );
    let allowed = allowed();
    let file = super::parse_file("/f", &text, &SourcePolicy::new(&allowed, &[])).unwrap();
    assert_eq!((file.requirements.len(), file.options.indexes.len()), (3, 2));
    let off = AllowedSources::default();
    let reported = super::parse_file("/f", &text, &SourcePolicy::new(&off, &[]))
        .unwrap_err()
        .to_string();
    for part in [
        "4 errors",
        "/f line 2: a URL in `a @ https://",
        "/f line 3: the index https://ours.test/simple is not the one in use",
        "the same on line 4",
        "/f line 5: a repository in `b @ git+https://",
        "`wheelHosts`",
        "`indexes`",
        "`gitRepositories`",
    ] {
        assert!(reported.contains(part), "{part}: {reported}");
    }
    let other =
        "a @ https://files.test.evil.test/a-1-py3-none-any.whl\na @ https://files.test:444/a-1-py3-none-any.whl";
    let reported = super::parse_file("/f", other, &SourcePolicy::new(&allowed, &[])).unwrap_err();
    assert_eq!(reported.total(), 2);
    assert!(
        reported.to_string().contains("`files.test.evil.test` is not allowed"),
        "{reported}"
    );
    assert!(super::parse_file("/f", &text, &SourcePolicy::unknown()).is_ok());
}
