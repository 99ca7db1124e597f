//! How long a crate is without its tests.

use syn::Item;

use super::source::{Crate, is_test};

/// The lines of each file of a crate without its tests: files that only tests have, and `#[cfg(test)]` modules inside of files.
pub(crate) fn shipped_lines(krate: &Crate) -> Vec<(usize, String)> {
    let lines = krate.files.iter().map(|file| {
        let tests: usize = file.syntax.items.iter().map(test_lines).sum();
        (file.lines - tests, file.path.display().to_string())
    });
    lines.collect()
}

/// The lines of a module inside of its file that only tests have, with its attributes; 0 for any other item.
fn test_lines(item: &Item) -> usize {
    let Item::Mod(item) = item else {
        return 0;
    };
    match (&item.content, item.attrs.first()) {
        (Some((braces, _)), Some(first)) if is_test(&item.attrs) => {
            braces.span.close().end().line + 1 - first.pound_token.spans[0].start().line
        }
        _ => 0,
    }
}
