//! Which file uses an item of which other file: paths in `use` items, in code, in attributes and in macros' tokens.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;

use proc_macro2::{Delimiter, Ident, TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Expr, ImplItem, Item, Meta, TraitItem};

use super::resolve::Definition;
use super::source::trait_attributes;
use super::source::{Crate, FileId, ModuleId, attributes, impl_attributes, imports, is_facade, is_test};

/// One use: where it stands and what it says.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Use {
    pub(crate) line: usize,
    pub(crate) path: String,
}

/// (user, definer) → the uses.
pub(crate) type Uses = BTreeMap<(FileId, FileId), BTreeSet<Use>>;

/// All uses between different files of `krate`.
pub(crate) fn uses(krate: &Crate) -> Uses {
    let mut all = Uses::new();
    for (id, file) in krate.files.iter().enumerate() {
        let mut bound = Bound::default();
        bound.visit_file(&file.syntax);
        let mut finder = Finder {
            krate,
            file: id,
            module: file.module,
            bound: bound.0,
            in_attribute: false,
            uses: Uses::new(),
        };
        finder.visit_file(&file.syntax);
        all.append(&mut finder.uses);
    }
    all
}

/// The names that patterns of a file bind: a bare lower-case name may be one of these instead of an import.
#[derive(Default)]
struct Bound(BTreeSet<String>);

impl<'ast> Visit<'ast> for Bound {
    fn visit_pat_ident(&mut self, pattern: &'ast syn::PatIdent) {
        self.0.insert(pattern.ident.to_string());
        visit::visit_pat_ident(self, pattern);
    }
}

struct Finder<'a> {
    krate: &'a Crate,
    file: FileId,
    module: ModuleId,
    bound: BTreeSet<String>,
    /// Only there is a string a path: `#[serde(with = "super::name")]`.
    in_attribute: bool,
    uses: Uses,
}

impl Finder<'_> {
    fn record(&mut self, path: &[String], line: usize) {
        let found = self.krate.resolve(self.module, path);
        self.keep(found, path.join("::"), line);
    }

    fn record_macro(&mut self, path: &[String], line: usize) {
        let found = self.krate.resolve_macro(self.module, path);
        self.keep(found, format!("{}!", path.join("::")), line);
    }

    fn keep(&mut self, found: Vec<Definition>, path: String, line: usize) {
        for one in found {
            // A module is only a way to an item: what is reached through it counts, the module itself does not.
            let Definition::Item(module, _) = one else {
                continue;
            };
            let definer = self.krate.modules[module].file;
            if definer != self.file {
                let at = self.uses.entry((self.file, definer)).or_default();
                at.insert(Use {
                    line,
                    path: path.clone(),
                });
            }
        }
    }

    fn record_path(&mut self, path: &syn::Path) {
        if path.leading_colon.is_none() {
            let names: Vec<String> = path.segments.iter().map(|one| one.ident.to_string()).collect();
            self.record(&names, path.segments[0].ident.span().start().line);
        }
    }

    /// Paths in tokens that only their macro can parse.
    fn scan(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Group(group) => self.scan(group.stream()),
                TokenTree::Literal(literal) if self.in_attribute => self.scan_string(literal),
                TokenTree::Ident(first) => {
                    let (path, next) = path_at(&tokens, at, first);
                    self.scanned(&tokens, at, &path, next);
                    at = next;
                    continue;
                }
                TokenTree::Literal(_) | TokenTree::Punct(_) => {}
            }
            at += 1;
        }
    }

    /// A path that stands at `at` in `tokens` and ends in front of `next`.
    fn scanned(&mut self, tokens: &[TokenTree], at: usize, path: &[String], next: usize) {
        let before = at.checked_sub(1).map(|before| &tokens[before]);
        let foreign = before.is_some_and(|one| is_punct(one, ':')) && at > 1 && is_punct(&tokens[at - 2], ':');
        let other = before.is_some_and(|one| match one {
            TokenTree::Punct(punct) => {
                matches!(punct.as_char(), '.' | '\'') || punct.as_char() == '$' && path[0] != "crate"
            }
            TokenTree::Ident(word) => *word == "fn",
            _ => false,
        });
        if foreign || other {
            return;
        }
        let line = tokens[at].span().start().line;
        let after = tokens.get(next);
        if after.is_some_and(|one| is_punct(one, '!')) && !tokens.get(next + 1).is_some_and(|one| is_punct(one, '=')) {
            self.record_macro(path, line);
            return;
        }
        let called = matches!(after, Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis);
        if path.len() > 1 || called || is_upper(&path[0]) {
            self.record(path, line);
        }
    }

    fn scan_string(&mut self, literal: &proc_macro2::Literal) {
        let text = literal.to_string();
        let Some(text) = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) else {
            return;
        };
        if text.contains("::")
            && let Ok(path) = syn::parse_str::<syn::Path>(text)
            && path.leading_colon.is_none()
        {
            let names: Vec<String> = path.segments.iter().map(|one| one.ident.to_string()).collect();
            self.record(&names, literal.span().start().line);
        }
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        if !is_test(impl_attributes(item)) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_trait_item(&mut self, item: &'ast TraitItem) {
        if !is_test(trait_attributes(item)) {
            visit::visit_trait_item(self, item);
        }
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if !is_test(&field.attrs) {
            visit::visit_field(self, field);
        }
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        if !is_test(&local.attrs) {
            visit::visit_local(self, local);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let child = self.krate.modules[self.module].children.get(&item.ident.to_string());
        if let (Some(child), Some((_, items))) = (child, &item.content) {
            let outer = mem::replace(&mut self.module, *child);
            items.iter().for_each(|item| self.visit_item(item));
            self.module = outer;
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !is_facade(item) {
            for import in imports(item) {
                self.record(&import.path, import.line);
            }
        }
    }

    fn visit_item_macro(&mut self, item: &'ast syn::ItemMacro) {
        if item.ident.is_some() {
            self.scan(item.mac.tokens.clone());
        } else {
            visit::visit_item_macro(self, item);
        }
    }

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        let path = &called.path;
        if path.leading_colon.is_none() {
            let names: Vec<String> = path.segments.iter().map(|one| one.ident.to_string()).collect();
            self.record_macro(&names, path.segments[0].ident.span().start().line);
        }
        self.scan(called.tokens.clone());
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        match &attribute.meta {
            Meta::List(list) => {
                let outer = mem::replace(&mut self.in_attribute, true);
                self.scan(list.tokens.clone());
                self.in_attribute = outer;
            }
            Meta::Path(_) | Meta::NameValue(_) => {}
        }
    }

    /// `pub(in crate::name)` says who may see an item, and uses nothing.
    fn visit_vis_restricted(&mut self, _: &'ast syn::VisRestricted) {}

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        if let Expr::Path(called) = &*call.func
            && called.qself.is_none()
        {
            self.record_path(&called.path);
        }
        visit::visit_expr_call(self, call);
    }

    fn visit_expr_path(&mut self, expression: &'ast syn::ExprPath) {
        let bare = expression.path.get_ident().map(Ident::to_string);
        if bare.is_some_and(|name| !is_upper(&name) && !self.bound.contains(&name)) {
            self.record_path(&expression.path);
        }
        visit::visit_expr_path(self, expression);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.len() > 1 || is_upper(&path.segments[0].ident.to_string()) {
            self.record_path(path);
        }
        visit::visit_path(self, path);
    }
}

/// The path that begins with `first` at `at`, and where it ends.
fn path_at(tokens: &[TokenTree], at: usize, first: &Ident) -> (Vec<String>, usize) {
    let (mut path, mut next) = (vec![first.to_string()], at + 1);
    while let [colon, second, TokenTree::Ident(name), ..] = &tokens[next..]
        && is_punct(colon, ':')
        && is_punct(second, ':')
    {
        path.push(name.to_string());
        next += 3;
    }
    (path, next)
}

fn is_punct(token: &TokenTree, character: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == character)
}

fn is_upper(name: &str) -> bool {
    name != "Self" && name.starts_with(char::is_uppercase)
}
