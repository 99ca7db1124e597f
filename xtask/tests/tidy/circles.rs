//! No circle of files: what a file uses never uses that file, so that each can be read after those it builds on.

use std::fs;

use tempfile::TempDir;

use crate::syntax::findings::findings;
use crate::syntax::graph::circles;
use crate::syntax::source::Crate;
use crate::tree::report;

#[test]
fn no_files_of_a_crate_use_each_other_in_a_circle() {
    let mut problems = Vec::new();
    for one in findings() {
        problems.extend(
            one.circles
                .iter()
                .map(|circle| format!("{}: {}", one.folder.display(), circle.reported)),
        );
    }
    report(&problems);
}

/// A made-up crate of these files in `src`.
fn made_up(files: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, text) in files {
        let file = folder.path().join("src").join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    folder
}

/// The circles of a made-up crate, each as its files.
fn of(files: &[(&str, &str)]) -> Vec<String> {
    let folder = made_up(files);
    let names = |files: &[String]| {
        files
            .iter()
            .map(|file| file.trim_start_matches("src/"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    circles(&Crate::read(folder.path()))
        .iter()
        .map(|circle| names(&circle.files))
        .collect()
}

#[test]
fn a_direct_circle_is_found_and_told_with_its_uses() {
    let folder = made_up(&[
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "pub struct A;\nfn f(_: crate::b::B) {}"),
        ("b.rs", "use super::a;\npub struct B;\nfn f() -> a::A { a::A }"),
    ]);
    let found = circles(&Crate::read(folder.path()));
    assert_eq!(found.len(), 1);
    for part in ["src/a.rs src/b.rs", "src/a.rs:2: `crate::b::B`", "src/b.rs:3: `a::A`"] {
        assert!(
            found[0].reported.contains(part),
            "{part} is missing in\n{}",
            found[0].reported
        );
    }
}

#[test]
fn a_circle_of_three_is_one_circle() {
    let one = |uses: &str| format!("use crate::{uses}::f as g; pub fn f() {{}}");
    let files = [
        ("lib.rs", "mod a; mod b; mod c; mod d;"),
        ("a.rs", &one("b")),
        ("b.rs", &one("c")),
        ("c.rs", &one("a")),
    ];
    let with = |last: &str| of(&[&files[..], &[("d.rs", last)]].concat());
    assert_eq!(with("use crate::a::f as g;"), ["a.rs b.rs c.rs"]);
}

#[test]
fn a_child_that_uses_what_its_parents_file_defines_makes_a_circle_with_it() {
    let of_mod = |text: &str, child: &str| of(&[("lib.rs", "mod a;"), ("a/mod.rs", text), ("a/child.rs", child)]);
    let uses = "mod child; pub struct Type; fn f() { child::run() }";
    assert_eq!(of_mod(uses, "pub fn run(_: super::Type) {}"), ["a/child.rs a/mod.rs"]);
    assert_eq!(
        of_mod("mod child; pub struct Type;", "pub fn run(_: super::Type) {}"),
        [""; 0]
    );
    assert_eq!(of_mod(uses, "pub fn run() {}"), [""; 0]);
    let facade_and_use = "mod child; pub use child::Made; pub struct Type; fn f(_: Made) {}";
    assert_eq!(
        of_mod(facade_and_use, "pub struct Made(super::Type);"),
        ["a/child.rs a/mod.rs"]
    );
    let facade = "mod child; pub use child::Made; pub struct Type;";
    assert_eq!(of_mod(facade, "pub struct Made(super::Type);"), [""; 0]);
}

#[test]
fn what_a_facade_passes_on_belongs_to_the_file_that_defines_it() {
    let of_facades = |root: &str, b: &str| {
        let c = "pub use crate::d::inner::*;";
        let d = "pub(crate) mod inner { pub use crate::a::A as Last; }";
        let a = "pub struct A; use crate::b::f;";
        of(&[("lib.rs", root), ("a.rs", a), ("b.rs", b), ("c.rs", c), ("d.rs", d)])
    };
    let renamed = "mod a; mod b; mod c; mod d; pub use c::Last as First; pub use a::*;";
    assert_eq!(of_facades(renamed, "pub fn f(_: crate::First) {}"), ["a.rs b.rs"]);
    assert_eq!(
        of_facades(renamed, "use crate::{self as root}; pub fn f(_: root::A) {}"),
        ["a.rs b.rs"]
    );
    assert_eq!(
        of_facades(renamed, "use super::*; pub fn f() { let _ = A; }"),
        ["a.rs b.rs"]
    );
    assert_eq!(of_facades(renamed, "pub use crate::First; pub fn f() {}"), [""; 0]);
}

#[test]
fn layers_have_no_circle() {
    let files = [
        (
            "lib.rs",
            "pub mod top; mod middle; mod low; pub use top::run; pub use low::Low;",
        ),
        (
            "top.rs",
            "mod part; use crate::middle::middle; pub fn run() { middle(part::part()) }",
        ),
        (
            "top/part.rs",
            "use crate::Low; pub(super) fn part() -> Low { Low { run: 0 } }",
        ),
        (
            "middle.rs",
            "use std::fmt; use serde::Low as _; pub(in crate::middle) struct X; pub fn middle(_: crate::Low) {}",
        ),
        (
            "low.rs",
            "pub struct Low { pub run: u8 } impl Low { fn f(&self) { let top = 1; g(top) } } fn g(_: u8) {}",
        ),
    ];
    assert_eq!(of(&files), [""; 0]);
}

#[test]
fn macros_are_read_as_tokens_and_belong_to_their_file() {
    let circle = |b: &str| {
        let a = "pub const A: u8 = 1; pub fn a() {} #[macro_export] macro_rules! failed { () => {} } fn f() { crate::b::f() }";
        of(&[("lib.rs", "#[macro_use] mod a; mod b;"), ("a.rs", a), ("b.rs", b)])
    };
    for b in [
        "pub fn f() { format!(\"{}\", crate::a::A); }",
        "pub fn f() { html! { p { (super::a::a()) } } }",
        "use super::a::*; pub fn f() { assert!(matches!(1, A)); }",
        "pub fn f() { crate::failed!() }",
        "pub fn f() { failed!() }",
        "pub fn f() {} macro_rules! m { () => { $crate::a::a() } }",
        "pub fn f() {} #[serde(with = \"crate::a::a\")] struct S;",
    ] {
        assert_eq!(circle(b), ["a.rs b.rs"], "{b}");
    }
    for b in [
        "pub fn f() { html! { p.a::A { \"crate::a::A\" } } }",
        "pub fn f() { x!(::a::A, y.a()) }",
    ] {
        assert_eq!(circle(b), [""; 0], "{b}");
    }
}

#[test]
fn tests_do_not_count() {
    let files = [
        ("lib.rs", "mod a; mod b;"),
        (
            "a.rs",
            "pub struct A; #[cfg(test)] mod tests { use crate::b::B; } #[cfg(all(test, unix))] use crate::b::B;",
        ),
        (
            "b.rs",
            "mod tests; pub struct B(crate::a::A); impl B { #[cfg(test)] fn f() { tests::f() } }",
        ),
        ("b/tests.rs", "use super::B; pub fn f() {}"),
    ];
    assert_eq!(of(&files), [""; 0]);
    let shipped = ("a.rs", "pub struct A; #[cfg(not(test))] use crate::b::B;");
    assert_eq!(of(&[files[0], shipped, files[2], files[3]]), ["a.rs b.rs"]);
}

#[test]
fn a_program_is_a_tree_of_its_own_beside_the_library() {
    let files = [
        ("lib.rs", "mod a;"),
        ("a.rs", "pub struct A;"),
        ("main.rs", "mod b; fn main() { b::f() }"),
    ];
    let with = |b: &str| of(&[&files[..], &[("b.rs", b)]].concat());
    assert_eq!(with("pub fn f() { library::a() }"), [""; 0]);
    assert_eq!(with("pub fn f() { crate::main() }"), ["b.rs main.rs"]);
}

#[test]
fn a_crate_is_read_where_it_is() {
    let folder = made_up(&[("lib.rs", "mod a { pub mod b; }"), ("a/b.rs", "fn f() {}")]);
    assert!(circles(&Crate::read(folder.path())).is_empty());
}
