//! One name, one thing: within a crate, a type that other files can see shares its name with no other type.

use std::collections::BTreeSet;
use std::fs;

use crate::syntax::findings::findings;
use crate::syntax::source::Crate;
use crate::syntax::types::repeated;
use crate::tree::report;

/// Crate, name that may repeat in it, and why.
const REPEATED: [(&str, &str, &str); 0] = [];

#[test]
fn no_two_files_of_a_crate_define_a_type_of_the_same_name() {
    let mut problems = Vec::new();
    let mut unused: BTreeSet<_> = REPEATED.iter().map(|(of, name, _)| (*of, *name)).collect();
    for one in findings() {
        let of = one.folder.file_name().unwrap().to_string_lossy();
        for (name, files) in &one.repeated {
            let known = unused.iter().copied().find(|one| *one == (&*of, name.as_str()));
            match known {
                Some(known) => {
                    unused.remove(&known);
                }
                None => problems.push(format!(
                    "{of}: `{name}` is a type in each of {files:?}; give each a name of its own"
                )),
            }
        }
    }
    problems.extend(
        unused
            .iter()
            .map(|(of, name)| format!("{of}: `{name}` is no longer repeated; delete its row in REPEATED")),
    );
    report(&problems);
}

#[test]
fn only_types_that_other_files_see_and_that_ship_count() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("src")).unwrap();
    let put = |name: &str, text: &str| fs::write(folder.path().join("src").join(name), text).unwrap();
    put(
        "lib.rs",
        "mod a; mod b; #[cfg(test)] pub struct InTest; struct Private; pub mod inner { pub enum Two {} }",
    );
    put(
        "a.rs",
        "pub struct One; pub(crate) struct Three; pub struct Private; fn f() { struct Local; }",
    );
    put(
        "b.rs",
        "pub(super) trait One {} type Three = u8; pub struct InTest; pub type Two = u8; pub struct Local;",
    );
    let found: Vec<_> = repeated(&Crate::read(folder.path()))
        .into_iter()
        .map(|(name, files)| (name, files.len()))
        .collect();
    assert_eq!(found, [("One".to_owned(), 2), ("Two".to_owned(), 2)]);
}
