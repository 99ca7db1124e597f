//! The types that other files of a crate can see.

use std::collections::{BTreeMap, BTreeSet};

use syn::{Ident, Item, Visibility};

use super::source::{Crate, attributes, is_test};

/// Type → the files of `krate` that define one of this name, where there are several.
pub(crate) fn repeated(krate: &Crate) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in &krate.files {
        let path = file.path.display().to_string();
        collect(&file.syntax.items, &mut |name| {
            found.entry(name.to_string()).or_default().insert(path.clone());
        });
    }
    found.retain(|_, files| files.len() > 1);
    found
}

fn collect(items: &[Item], found: &mut impl FnMut(&Ident)) {
    for item in items.iter().filter(|item| !is_test(attributes(item))) {
        match item {
            Item::Mod(item) => collect(item.content.as_ref().map_or(&[], |(_, items)| items), found),
            _ => type_name(item)
                .filter(|(visibility, _)| is_seen(visibility))
                .into_iter()
                .for_each(|(_, name)| found(name)),
        }
    }
}

fn type_name(item: &Item) -> Option<(&Visibility, &Ident)> {
    match item {
        Item::Enum(item) => Some((&item.vis, &item.ident)),
        Item::Struct(item) => Some((&item.vis, &item.ident)),
        Item::Trait(item) => Some((&item.vis, &item.ident)),
        Item::Type(item) => Some((&item.vis, &item.ident)),
        Item::Union(item) => Some((&item.vis, &item.ident)),
        _ => None,
    }
}

/// Whether an item of this visibility can be named in another file.
fn is_seen(visibility: &Visibility) -> bool {
    !matches!(visibility, Visibility::Inherited)
}
