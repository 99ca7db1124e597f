//! From a path in a module to the module whose file defines what it names, through imports, facades and globs.

use std::collections::BTreeSet;

use super::source::{Crate, ModuleId};

/// What a name stands for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Definition {
    Module(ModuleId),
    /// Something that this module defines: a type, a function, a macro and their like, by name.
    Item(ModuleId, String),
    /// Something of another crate, or of the language.
    Foreign,
}

/// Imports that are being followed, so that one which leads to itself ends.
type Following = BTreeSet<(ModuleId, String)>;

impl Crate {
    /// What `path`, written in `module`, names. More than one where a module and a function share a name.
    pub(crate) fn resolve(&self, module: ModuleId, path: &[String]) -> Vec<Definition> {
        self.follow(module, path, &mut Following::new())
    }

    /// What a macro that is called `path!` in `module` is.
    pub(crate) fn resolve_macro(&self, module: ModuleId, path: &[String]) -> Vec<Definition> {
        let found = self.resolve(module, path);
        match path {
            [name] if !found.iter().any(|one| matches!(one, Definition::Item(..))) => {
                let found = self.textual_macro(module, name);
                found.map(|at| Definition::Item(at, name.clone())).into_iter().collect()
            }
            _ => found,
        }
    }

    fn follow(&self, module: ModuleId, path: &[String], following: &mut Following) -> Vec<Definition> {
        let Some((first, rest)) = path.split_first() else {
            return vec![Definition::Module(module)];
        };
        let mut found = match first.as_str() {
            "crate" => vec![Definition::Module(self.root_of(module))],
            "self" => vec![Definition::Module(module)],
            "super" => self.modules[module]
                .parent
                .map(Definition::Module)
                .into_iter()
                .collect(),
            name => self.look_up(module, name, following),
        };
        if found.is_empty() {
            return vec![Definition::Foreign];
        }
        for name in rest {
            // Only a module or a type has something inside; a function of the same name does not.
            if found.iter().any(|one| matches!(one, Definition::Module(_))) {
                found.retain(|one| matches!(one, Definition::Module(_)));
            }
            let step = |one: Definition| self.step(one, name, following);
            found = found.into_iter().flat_map(step).collect();
        }
        found.sort();
        found.dedup();
        found
    }

    /// `name` inside of `within`.
    fn step(&self, within: Definition, name: &str, following: &mut Following) -> Vec<Definition> {
        let Definition::Module(module) = within else {
            return vec![within];
        };
        match name {
            "self" => return vec![within],
            "super" => {
                return self.modules[module]
                    .parent
                    .map(Definition::Module)
                    .into_iter()
                    .collect();
            }
            _ => {}
        }
        let found = self.look_up(module, name, following);
        if found.is_empty() {
            // Made by a macro or a derive of this module.
            return vec![Definition::Item(module, name.to_owned())];
        }
        found
    }

    /// What `name` is in the scope of `module`; nothing if only another crate can have it.
    fn look_up(&self, module: ModuleId, name: &str, following: &mut Following) -> Vec<Definition> {
        let scope = &self.modules[module];
        let mut found = Vec::new();
        found.extend(scope.children.get(name).map(|child| Definition::Module(*child)));
        if scope.items.contains(name) || scope.macros.contains(name) {
            found.push(Definition::Item(module, name.to_owned()));
        }
        found.extend(
            scope
                .exported
                .get(name)
                .map(|at| Definition::Item(*at, name.to_owned())),
        );
        if !following.insert((module, name.to_owned())) {
            return found;
        }
        for import in scope
            .imports
            .iter()
            .filter(|import| import.name.as_deref() == Some(name))
        {
            found.extend(self.follow(module, &import.path, following));
        }
        if found.is_empty() {
            for glob in scope.imports.iter().filter(|import| import.is_glob) {
                for from in self.follow(module, &glob.path, following) {
                    found.extend(self.in_glob(from, name, following));
                }
            }
        }
        following.remove(&(module, name.to_owned()));
        found
    }

    fn in_glob(&self, from: Definition, name: &str, following: &mut Following) -> Vec<Definition> {
        match from {
            Definition::Module(module) => self.look_up(module, name, following),
            Definition::Item(module, of) => {
                let variants = self.modules[module].variants.get(&of);
                let found = variants.is_some_and(|variants| variants.contains(name));
                found.then_some(Definition::Item(module, of)).into_iter().collect()
            }
            Definition::Foreign => Vec::new(),
        }
    }

    /// A `macro_rules!` that is known by its bare name: of this module, one above, or a `#[macro_use]` module there.
    fn textual_macro(&self, module: ModuleId, name: &str) -> Option<ModuleId> {
        let mut above = Some(module);
        while let Some(module) = above {
            if let Some(found) = self.macro_within(module, name) {
                return Some(found);
            }
            above = self.modules[module].parent;
        }
        None
    }

    fn macro_within(&self, module: ModuleId, name: &str) -> Option<ModuleId> {
        if self.modules[module].macros.contains(name) {
            return Some(module);
        }
        let mut children = self.modules[module].children.values();
        children.find_map(|child| {
            self.modules[*child]
                .macro_use
                .then(|| self.macro_within(*child, name))?
        })
    }
}
