//! xtask is the face alone: flags, commands, exit codes and what a person sees. Work belongs in the crates below it.

use std::fs;
use std::path::Path;

use crate::syntax::findings::findings;
use crate::syntax::lines::shipped_lines;
use crate::syntax::source::Crate;

const MAX_FACE_LINES: usize = 4_000;

#[test]
fn the_face_is_small() {
    let face = findings().iter().find(|one| one.folder == Path::new("xtask")).unwrap();
    let mut files = face.lines.clone();
    files.sort();
    let lines: usize = files.iter().map(|(lines, _)| lines).sum();
    let largest: Vec<_> = files
        .iter()
        .rev()
        .take(10)
        .map(|(lines, file)| format!("{lines:>6} {file}"))
        .collect();
    assert!(
        lines <= MAX_FACE_LINES,
        "xtask has {lines} lines without tests, at most {MAX_FACE_LINES}; its largest files:\n{}",
        largest.join("\n")
    );
}

#[test]
fn lines_of_tests_are_not_the_faces() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("src")).unwrap();
    let put = |name: &str, text: &str| fs::write(folder.path().join("src").join(name), text).unwrap();
    put(
        "main.rs",
        "//! A face.\n\nmod a;\n#[cfg(test)]\nmod tests;\n\n/// Ends.\nfn main() {}\n",
    );
    put("tests.rs", "//! Tests.\n");
    put(
        "a.rs",
        "//! A.\n#[cfg(test)]\n#[expect(dead_code)]\nmod tests {\n    fn f() {}\n}\nfn g() {}\n",
    );
    let lines = shipped_lines(&Crate::read(folder.path()));
    assert_eq!(lines, [(8, "src/main.rs".to_owned()), (2, "src/a.rs".to_owned())]);
}
