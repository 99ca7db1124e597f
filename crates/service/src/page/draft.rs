//! The form for a task: what was typed into it, and how it is shown.

use hybrid_cache_api::{FieldErrors, Problem};
use hybrid_cache_model::TaskSpec;
use maud::{Markup, html};

use super::fields::{area, line};
use super::layout::{self, capital};
use super::more_fields::MoreFields;
use crate::id::new_task_id;

const EXAMPLE: &str = "import numpy\nprint(numpy.__version__)";

/// What was typed into the form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The task.
    pub spec: TaskSpec,
    /// What was typed into the fields that are no plain text in the task.
    pub more: MoreFields,
    /// True if it runs at once.
    pub run: bool,
    /// The form's idempotency key: sending the form twice creates one task.
    pub key: String,
}

impl Draft {
    /// A new form.
    pub fn empty() -> Draft {
        Draft {
            spec: TaskSpec::new(""),
            more: MoreFields::default(),
            run: true,
            // Without a key the form still works, but sending it twice creates two tasks.
            key: new_task_id().map(|id| id.to_string()).unwrap_or_default(),
        }
    }

    /// Reads a sent form.
    pub fn read(body: &[u8]) -> Draft {
        let mut draft = Draft::empty();
        // A browser does not send a box that is not ticked.
        draft.spec.use_cache = false;
        for (name, value) in form_urlencoded::parse(body) {
            // Browsers send line breaks as CR LF.
            let text = || value.replace("\r\n", "\n");
            match name.as_ref() {
                "pythonCode" => draft.spec.python_code = text(),
                "dependencies" => draft.spec.dependencies = text(),
                "requirementsFile" => draft.spec.requirements_file = text(),
                "constraints" => draft.spec.constraints = text(),
                "pythonVersion" => draft.spec.python_version = text(),
                "systemDependencies" => draft.spec.system_dependencies = text(),
                "useCache" => draft.spec.use_cache = true,
                "then" => draft.run = value == "run",
                "key" => draft.key = text(),
                other => draft.more.read(other, text(), &mut draft.spec),
            }
        }
        draft
    }
}

/// The form, folded unless it is being filled in.
pub fn details(draft: &Draft, refused: Option<&Problem>) -> Markup {
    let spec = &draft.spec;
    html! {
        details class="card" id="new" open[refused.is_some()] {
            summary { "New task" }
            form method="post" action="/tasks" {
                input type="hidden" name="key" value=(draft.key);
                @if let Some(problem) = refused {
                    div class="notice bad" role="alert" id="refused" {
                        p { strong { (capital(&layout::foreign(&problem.detail))) }
                            @if let Some(line) = problem.line { " (line " (line) ")" } }
                        @if let Some(hint) = &problem.hint { p { (capital(&layout::foreign(hint))) } }
                        @for error in problem.errors.iter().skip(1) { (further(error)) }
                    }
                }
                (area("pythonCode", "Python program", &spec.python_code, EXAMPLE, 8, refused))
                div class="pair" {
                    (line("dependencies", "Python packages", &spec.dependencies, "numpy, pandas>=2", refused))
                    (line("systemDependencies", "System tools", &spec.system_dependencies, "gcc, make", refused))
                }
                (area("requirementsFile", "Requirements file", &spec.requirements_file, "numpy>=1.0.0", 2, refused))
                (line("pythonVersion", "Python version", &spec.python_version, "3.12", refused))
                (area("constraints", "Constraints", &spec.constraints, "urllib3<2", 2, refused))
                (draft.more.show(spec, refused))
                label class="tick" {
                    input type="checkbox" name="useCache" value="true" checked[spec.use_cache];
                    " Use the caches"
                }
                div class="buttons" {
                    button type="submit" name="then" value="run" class="main" { "Run" }
                    button type="submit" name="then" value="save" { "Save only" }
                }
            }
        }
    }
}

/// One more fault of the task, in short.
fn further(error: &FieldErrors) -> Markup {
    let times = if error.count > 1 {
        format!(" ({} times)", error.count)
    } else {
        String::new()
    };
    html! {
        p { strong { (capital(&layout::foreign(&error.detail))) }
            @if let Some(line) = error.line { " (line " (line) ")" }
            (times) }
        @if let Some(hint) = &error.hint { p { (capital(&layout::foreign(hint))) } }
    }
}

#[cfg(test)]
mod tests {
    use hybrid_cache_api::ProblemType;

    use super::*;

    #[test]
    fn a_submitted_form_becomes_the_typed_task() {
        let draft =
            Draft::read(b"key=task-a&pythonCode=a%3D1%0D%0Aprint%28a%29&dependencies=numpy&useCache=true&then=save");
        assert_eq!(draft.spec.python_code, "a=1\nprint(a)");
        assert!(draft.spec.use_cache && !draft.run);
        assert!(!Draft::read(b"pythonCode=1").spec.use_cache);
    }

    #[test]
    fn a_refused_form_shows_the_typed_text_and_its_mistake() {
        let mut draft = Draft::empty();
        draft.spec.python_code = "\n</textarea><script>".into();
        let problem = Problem::new(ProblemType::InvalidTask, "a NUL character").at("/pythonCode");
        let form = details(&draft, Some(&problem)).into_string();
        assert!(
            form.contains("\n\n&lt;/textarea&gt;&lt;script&gt;</textarea>"),
            "{form}"
        );
        assert_eq!(form.matches("aria-invalid").count(), 1);
    }
}
