//! The part of the settings that is about interpreters which standby pods prepare.

use std::collections::BTreeSet;

use crate::prepared::{self, MAX_ENTRIES, MAX_IMPORTS, MAX_PODS, PreparedInterpreter};
use crate::settings::faults::{FaultList, HINT, line};
use crate::settings::tree::{Node, Tree};

const FIELDS: [&str; 4] = ["dependencies", "systemDependencies", "imports", "pods"];

/// Reads the field `pods.preparedInterpreters`.
pub fn read(place: &str, node: &Node, faults: &mut FaultList) -> Vec<PreparedInterpreter> {
    let items = faults.list(place, node);
    if items.len() > MAX_ENTRIES {
        let message = format!("{} entries, at most {MAX_ENTRIES} are accepted", items.len());
        faults.add(line(node), place, message, "keep those that tasks ask for most often");
    }
    let mut seen = BTreeSet::new();
    let mut entries = Vec::new();
    for (place, node) in items {
        let entry = entry(&place, node, faults);
        if !seen.insert((entry.dependencies.clone(), entry.system_dependencies.clone())) {
            let hint = "name the modules of both in one entry: a task takes the pods of the first";
            faults.add(line(node), &place, "an entry before has the same packages", hint);
        }
        entries.push(entry);
    }
    entries
}

fn entry(place: &str, node: &Node, faults: &mut FaultList) -> PreparedInterpreter {
    let mut entry = PreparedInterpreter {
        dependencies: String::new(),
        system_dependencies: String::new(),
        imports: Vec::new(),
        pods: 0,
    };
    let fields = faults.fields(place, node, &FIELDS);
    for missing in ["imports", "pods"] {
        if fields.iter().all(|(name, _)| *name != missing) {
            faults.add(line(node), place, format!("it has no `{missing}`"), HINT);
        }
    }
    for (name, node) in fields {
        let place = format!("{place}.{name}");
        match name {
            "dependencies" => entry.dependencies = packages(&place, node, faults, |text| (text, String::new())),
            "systemDependencies" => {
                entry.system_dependencies = packages(&place, node, faults, |text| (String::new(), text));
            }
            "imports" => entry.imports = imports(&place, node, faults),
            _ => entry.pods = pods(&place, node, faults),
        }
    }
    entry
}

/// Packages as a task names them. `as_fields` says in which of the two fields.
fn packages(
    place: &str,
    node: &Node,
    faults: &mut FaultList,
    as_fields: impl Fn(String) -> (String, String),
) -> String {
    let Some(text) = faults.text(place, node) else {
        return String::new();
    };
    let (dependencies, system_dependencies) = as_fields(text.to_owned());
    let alone = PreparedInterpreter {
        dependencies,
        system_dependencies,
        imports: Vec::new(),
        pods: 1,
    };
    if let Err(errors) = alone.check_packages() {
        for group in errors.groups() {
            let hint = group.first.hint.clone().unwrap_or_else(|| HINT.to_owned());
            faults.add(line(node), place, group.first.message.clone(), hint);
        }
    }
    text.to_owned()
}

fn imports(place: &str, node: &Node, faults: &mut FaultList) -> Vec<String> {
    let items = faults.list(place, node);
    if items.len() > MAX_IMPORTS {
        let message = format!("{} modules, at most {MAX_IMPORTS} are accepted", items.len());
        faults.add(line(node), place, message, "name those that take the longest");
    }
    let mut modules = Vec::new();
    for (place, node) in items {
        let Some(name) = faults.text(&place, node) else {
            continue;
        };
        match prepared::check_module(name) {
            Ok(()) => modules.push(name.to_owned()),
            Err(refusal) => faults.add(line(node), &place, refusal.message, refusal.hint),
        }
    }
    modules
}

fn pods(place: &str, node: &Node, faults: &mut FaultList) -> u32 {
    let number = match node.value {
        Tree::Whole(number) => u32::try_from(number)
            .ok()
            .filter(|number| (1..=MAX_PODS).contains(number)),
        _ => None,
    };
    number.unwrap_or_else(|| {
        faults.add(
            line(node),
            place,
            "it is not a number of pods",
            format!("write a whole number from 1 to {MAX_PODS}"),
        );
        0
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tree;

    fn read_list(text: &str) -> (Vec<PreparedInterpreter>, Vec<String>) {
        let document = tree::read(text).unwrap();
        let mut faults = FaultList::default();
        let entries = read("pods.preparedInterpreters", &document, &mut faults);
        (entries, faults.all().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn entries_name_packages_modules_and_a_number_of_pods() {
        let text = "\
- {dependencies: \"numpy,pandas\", imports: [numpy, pandas.io], pods: 4}
- systemDependencies: gcc
  imports: [json]
  pods: 1
";
        let (entries, faults) = read_list(text);
        assert_eq!(faults, Vec::<String>::new());
        let expected = [
            ("numpy,pandas", "", vec!["numpy", "pandas.io"], 4),
            ("", "gcc", vec!["json"], 1),
        ];
        let expected = expected.map(|(dependencies, system, imports, pods)| PreparedInterpreter {
            dependencies: dependencies.to_owned(),
            system_dependencies: system.to_owned(),
            imports: imports.into_iter().map(str::to_owned).collect(),
            pods,
        });
        assert_eq!(entries, expected);
        assert_eq!(read_list("[]"), (Vec::new(), Vec::new()));
    }

    #[test]
    fn every_fault_has_its_line_and_its_field() {
        let many = "- {dependencies: a, imports: [a], pods: 1}\n".repeat(9);
        let (_, faults) = read_list(&many);
        assert!(faults[0].contains("9 entries, at most 8"), "{faults:#?}");
        let text = "\
- {dependencies: --find-links x, imports: [a], pods: 1}
- {systemDependencies: /bin/sh, imports: [a], pods: 1}
- {dependencies: numpy, imports: [\"os; evil\", a..b, 1], pods: 1}
- {dependencies: numpy, imports: [a], pods: 0}
- {dependencies: a, imports: [a], pods: 101}
- {dependencies: b, imports: [a], pods: many}
- {dependencies: c, import: [a]}
";
        let (_, reported) = read_list(text);
        let expected = [
            (1, "[0].dependencies", ""),
            (2, "[1].systemDependencies", ""),
            (3, "[2].imports[0]", "not the name of a module"),
            (3, "[2].imports[1]", "not the name of a module"),
            (3, "[2].imports[2]", "not a text"),
            (4, "[3].pods", "not a number of pods"),
            (4, "[3]", "the same packages"),
            (5, "[4].pods", "not a number of pods"),
            (6, "[5].pods", "not a number of pods"),
            (7, "[6].import", "no setting"),
            (7, "[6]", "no `imports`"),
            (7, "[6]", "no `pods`"),
        ];
        for (line, field, words) in expected {
            let start = format!("line {line}, pods.preparedInterpreters{field}: ");
            let is_it = |one: &&String| one.starts_with(&start) && one.contains(words) && one.contains("hint: ");
            assert!(reported.iter().any(|one| is_it(&one)), "{start}{words}: {reported:#?}");
        }
        assert_eq!(reported.len(), expected.len(), "{reported:#?}");
    }
}
