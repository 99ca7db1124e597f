//! Reading a crate: its files, found from `mod` declarations, and what each module declares. Tests are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::mem;
use std::path::{Path, PathBuf};

use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};
use syn::{Attribute, Expr, ImplItem, Item, Lit, Meta, Token, TraitItem, UseTree, Visibility};

/// Index of a module in [`Crate::modules`].
pub(crate) type ModuleId = usize;

/// Index of a file in [`Crate::files`].
pub(crate) type FileId = usize;

/// What ships of a crate: one tree of modules for each of its programs and its library.
pub(crate) struct Crate {
    pub(crate) files: Vec<SourceFile>,
    pub(crate) modules: Vec<Module>,
}

pub(crate) struct SourceFile {
    /// Relative to the crate's folder.
    pub(crate) path: PathBuf,
    pub(crate) module: ModuleId,
    pub(crate) lines: usize,
    pub(crate) syntax: syn::File,
}

#[derive(Default)]
pub(crate) struct Module {
    pub(crate) file: FileId,
    pub(crate) parent: Option<ModuleId>,
    pub(crate) children: BTreeMap<String, ModuleId>,
    /// Items that this module defines, macros apart.
    pub(crate) items: BTreeSet<String>,
    /// Enum → its variants, for `use Enum::*`.
    pub(crate) variants: BTreeMap<String, BTreeSet<String>>,
    pub(crate) macros: BTreeSet<String>,
    /// `#[macro_export]` macros of the whole tree; filled at the root alone.
    pub(crate) exported: BTreeMap<String, ModuleId>,
    pub(crate) imports: Vec<Import>,
    /// `#[macro_use]`: its macros are known by bare name beside it and below.
    pub(crate) macro_use: bool,
}

/// One leaf of a `use`, also of one inside a function.
#[derive(Clone)]
pub(crate) struct Import {
    pub(crate) path: Vec<String>,
    /// `None` for a glob and for `as _`.
    pub(crate) name: Option<String>,
    pub(crate) is_glob: bool,
    pub(crate) line: usize,
}

impl Crate {
    /// The crate in `folder`, which holds `src`.
    pub(crate) fn read(folder: &Path) -> Crate {
        let mut reader = Reader {
            folder: folder.to_owned(),
            krate: Crate {
                files: Vec::new(),
                modules: Vec::new(),
            },
        };
        let mut roots: Vec<PathBuf> = ["src/lib.rs", "src/main.rs"].into_iter().map(PathBuf::from).collect();
        let programs = fs::read_dir(folder.join("src/bin")).into_iter().flatten().flatten();
        roots.extend(programs.map(|entry| Path::new("src/bin").join(entry.file_name())));
        roots.retain(|root| root.extension().is_some_and(|end| end == "rs") && folder.join(root).is_file());
        for root in roots {
            let below = root.parent().unwrap().to_owned();
            reader.file(&root, &below, None);
        }
        assert!(
            !reader.krate.files.is_empty(),
            "{}: no src/lib.rs or src/main.rs",
            folder.display()
        );
        reader.krate
    }

    pub(crate) fn root_of(&self, mut module: ModuleId) -> ModuleId {
        while let Some(parent) = self.modules[module].parent {
            module = parent;
        }
        module
    }
}

struct Reader {
    folder: PathBuf,
    krate: Crate,
}

impl Reader {
    /// Reads `path` as a module; its child modules' files are in `below`.
    fn file(&mut self, path: &Path, below: &Path, parent: Option<ModuleId>) -> ModuleId {
        let whole = self.folder.join(path);
        let text = fs::read_to_string(&whole).unwrap_or_else(|error| panic!("{}: {error}", whole.display()));
        let mut syntax = syn::parse_file(&text)
            .unwrap_or_else(|error| panic!("{}:{}: {error}", whole.display(), error.span().start().line));
        let file = self.krate.files.len();
        let module = self.new_module(file, parent);
        let items = mem::take(&mut syntax.items);
        let lines = text.lines().count();
        self.krate.files.push(SourceFile {
            path: path.to_owned(),
            module,
            lines,
            syntax,
        });
        self.declare(module, &items, path, below);
        self.krate.files[file].syntax.items = items;
        module
    }

    fn new_module(&mut self, file: FileId, parent: Option<ModuleId>) -> ModuleId {
        self.krate.modules.push(Module {
            file,
            parent,
            ..Module::default()
        });
        self.krate.modules.len() - 1
    }

    fn declare(&mut self, module: ModuleId, items: &[Item], path: &Path, below: &Path) {
        for item in items.iter().filter(|item| !is_test(attributes(item))) {
            if let Item::Mod(item) = item {
                let name = item.ident.to_string();
                if name == "tests" {
                    continue;
                }
                let child = match &item.content {
                    Some((_, items)) => {
                        let child = self.new_module(self.krate.modules[module].file, Some(module));
                        self.declare(child, items, path, &below.join(&name));
                        child
                    }
                    None => {
                        let (file, below) = self.find(&name, &item.attrs, path, below);
                        // The compiler refuses a missing file; here the others can still be looked at.
                        if !self.folder.join(&file).is_file() {
                            continue;
                        }
                        self.file(&file, &below, Some(module))
                    }
                };
                self.krate.modules[child].macro_use = item.attrs.iter().any(|one| one.path().is_ident("macro_use"));
                self.krate.modules[module].children.insert(name, child);
                continue;
            }
            let mut imports = Imports(Vec::new());
            imports.visit_item(item);
            self.krate.modules[module].imports.extend(imports.0);
            self.define(module, item);
        }
    }

    fn define(&mut self, module: ModuleId, item: &Item) {
        if let Item::Macro(item) = item {
            let Some(name) = item.ident.as_ref().map(ToString::to_string) else {
                return;
            };
            if item.attrs.iter().any(|one| one.path().is_ident("macro_export")) {
                let root = self.krate.root_of(module);
                self.krate.modules[root].exported.insert(name.clone(), module);
            }
            self.krate.modules[module].macros.insert(name);
            return;
        }
        let into = &mut self.krate.modules[module];
        if let Item::Enum(item) = item {
            let variants = item.variants.iter().map(|variant| variant.ident.to_string()).collect();
            into.variants.insert(item.ident.to_string(), variants);
        }
        into.items.extend(item_name(item));
    }

    /// The file of `mod name;`, and the folder of its children.
    fn find(&self, name: &str, attributes: &[Attribute], path: &Path, below: &Path) -> (PathBuf, PathBuf) {
        if let Some(given) = attributes.iter().find_map(path_attribute) {
            let file = path.parent().unwrap().join(given);
            let below = file.parent().unwrap().to_owned();
            return (file, below);
        }
        let beside = below.join(format!("{name}.rs"));
        let file = if self.folder.join(&beside).is_file() {
            beside
        } else {
            below.join(name).join("mod.rs")
        };
        (file, below.join(name))
    }
}

/// Collects the `use` items of an item, at any depth.
struct Imports(Vec<Import>);

impl<'ast> Visit<'ast> for Imports {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.0.extend(imports(item));
    }
}

/// The leaves of a `use`; none for one of `::name`, which is another crate.
pub(crate) fn imports(item: &syn::ItemUse) -> Vec<Import> {
    let mut leaves = Vec::new();
    if item.leading_colon.is_none() {
        leaf(&item.tree, &mut Vec::new(), &mut leaves);
    }
    leaves
}

fn leaf(tree: &UseTree, before: &mut Vec<String>, into: &mut Vec<Import>) {
    let mut end = |last: Option<&syn::Ident>, name: Option<&syn::Ident>, line: usize| {
        let mut path = before.clone();
        path.extend(
            last.filter(|last| *last != "self" || before.is_empty())
                .map(ToString::to_string),
        );
        let name = name.filter(|name| *name != "_").map(ToString::to_string);
        // `use a::b::{self}` brings `b` in scope.
        let name = if name.as_deref() == Some("self") {
            path.last().cloned()
        } else {
            name
        };
        into.push(Import {
            path,
            name,
            is_glob: last.is_none(),
            line,
        });
    };
    match tree {
        UseTree::Path(one) => {
            before.push(one.ident.to_string());
            leaf(&one.tree, before, into);
            before.pop();
        }
        UseTree::Name(one) => end(Some(&one.ident), Some(&one.ident), one.ident.span().start().line),
        UseTree::Rename(one) => end(Some(&one.ident), Some(&one.rename), one.ident.span().start().line),
        UseTree::Glob(one) => end(None, None, one.star_token.spans[0].start().line),
        UseTree::Group(group) => group.items.iter().for_each(|one| leaf(one, before, into)),
    }
}

/// Whether a `use` only passes names on: a facade uses nothing itself.
pub(crate) fn is_facade(item: &syn::ItemUse) -> bool {
    !matches!(item.vis, Visibility::Inherited)
}

/// Whether attributes leave an item to tests alone.
pub(crate) fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let path = attribute.path();
        path.is_ident("test") || path.is_ident("cfg") && attribute.parse_args().is_ok_and(|meta| needs_test(&meta))
    })
}

fn needs_test(meta: &Meta) -> bool {
    let Meta::List(list) = meta else {
        return meta.path().is_ident("test");
    };
    let all = list
        .parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)
        .unwrap_or_default();
    list.path.is_ident("all") && all.iter().any(needs_test) || list.path.is_ident("any") && all.iter().all(needs_test)
}

/// The file that `#[path = "…"]` names.
pub(crate) fn path_attribute(attribute: &Attribute) -> Option<String> {
    match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
            Expr::Lit(literal) => match &literal.lit {
                Lit::Str(text) => Some(text.value()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

pub(crate) fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

pub(crate) fn impl_attributes(item: &ImplItem) -> &[Attribute] {
    match item {
        ImplItem::Const(item) => &item.attrs,
        ImplItem::Fn(item) => &item.attrs,
        ImplItem::Macro(item) => &item.attrs,
        ImplItem::Type(item) => &item.attrs,
        _ => &[],
    }
}

pub(crate) fn trait_attributes(item: &TraitItem) -> &[Attribute] {
    match item {
        TraitItem::Const(item) => &item.attrs,
        TraitItem::Fn(item) => &item.attrs,
        TraitItem::Macro(item) => &item.attrs,
        TraitItem::Type(item) => &item.attrs,
        _ => &[],
    }
}

fn item_name(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(name.to_string())
}
