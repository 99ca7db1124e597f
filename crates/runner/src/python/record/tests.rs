//! RECORDs as wheels bring them: names that count, claims that are only compared, paths that are refused.

use super::*;

const SITE: &str = "lib/python3.11/site-packages";
const RECORD_TEXT: &str = "a/__init__.py,sha256=abc,3\n\"a/with,comma.py\",sha256=def,1\n../../../bin/a,sha256=x,2\n\
                           a-1.0.dist-info/RECORD,,\na-1.0.dist-info/REQUESTED,sha256=e3b0,0\n\
                           a/__pycache__/x.cpython-311.pyc,,\n";

fn interpreter() -> Interpreter {
    Interpreter {
        path: String::new(),
        implementation: "cpython".into(),
        version: "3.11.7".into(),
        abi: "cpython-311".into(),
        platform: String::new(),
        libc: String::new(),
        binary_hash: String::new(),
        start: String::new(),
    }
}

fn environment(record: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let site = dir.path().join(SITE);
    for folder in ["a", "a-1.0.dist-info"] {
        std::fs::create_dir_all(site.join(folder)).unwrap();
    }
    std::fs::create_dir(dir.path().join("bin")).unwrap();
    let files = [
        ("a/__init__.py", "abc"),
        ("a/with,comma.py", "x"),
        ("../../../bin/a", "xy"),
    ];
    for (path, content) in files.into_iter().chain([("a-1.0.dist-info/REQUESTED", "")]) {
        std::fs::write(site.join(path), content).unwrap();
    }
    std::fs::write(site.join("a-1.0.dist-info/RECORD"), record).unwrap();
    dir
}

fn read(dir: &tempfile::TempDir) -> Result<Installed, Failure> {
    Installed::read(dir.path(), &interpreter())
}

#[test]
fn a_complete_environment_passes_the_check_and_bytecode_is_ignored() {
    let dir = environment(RECORD_TEXT);
    let installed = read(&dir).unwrap();
    assert_eq!(installed.pins(), ["a==1.0"]);
    assert_eq!(installed.owner("bin/a").unwrap().name, "a");
    let checked = installed.check(SystemTime::now() - Duration::from_secs(60)).unwrap();
    assert_eq!(
        (checked.files, checked.downloaded_bytes, checked.reused_bytes),
        (5, 4, 0)
    );
}

#[test]
fn files_older_than_the_build_count_as_reused() {
    let dir = environment(RECORD_TEXT);
    let checked = read(&dir)
        .unwrap()
        .check(SystemTime::now() + Duration::from_secs(60))
        .unwrap();
    assert_eq!((checked.downloaded_bytes, checked.reused_bytes), (0, 4));
}

#[test]
fn missing_and_unlisted_files_are_damage_and_sizes_are_not() {
    for spoil in [
        |site: &Path| std::fs::remove_file(site.join("a/with,comma.py")).unwrap(),
        |site: &Path| std::fs::remove_file(site.join("a-1.0.dist-info/RECORD")).unwrap(),
        |site: &Path| std::fs::remove_file(site.join("../../../bin/a")).unwrap(),
    ] {
        let dir = environment(RECORD_TEXT);
        spoil(&dir.path().join(SITE));
        let checked = read(&dir).and_then(|installed| installed.check(SystemTime::now()));
        assert_eq!(checked.unwrap_err().kind, FailureKind::CacheDamaged);
    }
    let dir = environment(&RECORD_TEXT.replace(",3\n", ",many\n"));
    read(&dir).unwrap().check(SystemTime::now()).unwrap();
}

#[test]
fn normalising_removes_bookkeeping_and_writes_through_no_hard_link() {
    let other_order = "../../../bin/a,sha256=x,2\na/__init__.py,sha256=abc,3\n\"a/with,comma.py\",sha256=def,1\n\
                       a-1.0.dist-info/INSTALLER,,\na-1.0.dist-info/RECORD,,\na-1.0.dist-info/RECORD,,\n";
    let mut texts = Vec::new();
    for record in [RECORD_TEXT, other_order] {
        let dir = environment(record);
        let folder = dir.path().join(SITE).join("a-1.0.dist-info");
        std::fs::write(folder.join(INSTALLER), "theirs").unwrap();
        let names = [INSTALLER, RECORD];
        for name in names {
            std::fs::hard_link(folder.join(name), dir.path().join(name)).unwrap();
        }
        read(&dir).unwrap().normalise().unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join(INSTALLER)).unwrap(), "theirs");
        assert_eq!(std::fs::read_to_string(dir.path().join(RECORD)).unwrap(), record);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), names.len());
        texts.push(names.map(|name| std::fs::read_to_string(folder.join(name)).unwrap()));
    }
    assert_eq!(texts[0], texts[1]);
    assert!(!texts[0][1].contains("REQUESTED"), "{texts:?}");
}

#[test]
fn places_outside_of_the_environment_are_refused_by_name() {
    for path in ["/etc/passwd", "../../../../x", "../../../..", "a/../../../../../x"] {
        let dir = environment(&format!("{RECORD_TEXT}{path},,\n"));
        let failure = read(&dir).unwrap_err();
        assert!(
            failure.message.contains(path) && failure.message.contains("a==1.0"),
            "{failure}"
        );
    }
    assert_eq!(inside(SITE, "../../../lib64/x").unwrap(), "lib/x");
}

#[test]
fn package_names_are_normalised() {
    assert_eq!(normal_name("Charset_Normalizer"), "charset-normalizer");
    assert_eq!(normal_name("zope.interface"), "zope-interface");
}
