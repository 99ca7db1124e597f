//! Reads the operator's settings file and the credentials that it names, and gives both to the tools of one place.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use hybrid_cache_model::settings::{Login, PodSettings, SecretSource, Settings};
use hybrid_cache_model::{AllowedSources, SourcePolicy};

use crate::environment;
use crate::error::{Error, Result};

/// Names the settings file if no option does.
pub const VARIABLE: &str = "HYBRID_CACHE_SETTINGS";
/// Longest user name or password, in bytes.
const MAX_SECRET_BYTES: u64 = 4 << 10;

/// The operator's settings with their credentials.
#[derive(Clone, Default)]
pub struct OperatorSettings {
    /// What is allowed; nothing of it is secret.
    pub sources: AllowedSources,
    /// Python versions that the image brings beside its own.
    pub python_versions: Vec<String>,
    /// Where pods run on a cluster, and what tasks may use there.
    pub pods: PodSettings,
    /// uv's variables with user names and passwords.
    logins: Vec<(String, String)>,
}

impl std::fmt::Debug for OperatorSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.logins.iter().map(|(name, _)| name).collect();
        f.debug_struct("OperatorSettings")
            .field("sources", &self.sources)
            .field("python_versions", &self.python_versions)
            .field("pods", &self.pods)
            .field("logins", &names)
            .finish()
    }
}

impl OperatorSettings {
    /// Reads the file that an option or the variable [`VARIABLE`] names; without either nothing is allowed.
    ///
    /// # Errors
    /// The file or a credential cannot be read, or something in it is wrong: all of it at once.
    pub fn read(file: Option<&Path>) -> Result<OperatorSettings> {
        let file = file
            .map(Path::to_owned)
            .or_else(|| environment::raw(VARIABLE).map(PathBuf::from));
        let Some(file) = file else {
            return Ok(OperatorSettings::default());
        };
        let text = std::fs::read_to_string(&file).map_err(|error| {
            let hint = format!("check --settings and {VARIABLE}");
            Error::input(format!("the settings file {}: {error}\nhint: {hint}", file.display()))
        })?;
        OperatorSettings::from_text(&file, &text, &environment::text)
    }

    fn from_text(file: &Path, text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<OperatorSettings> {
        let settings = Settings::from_yaml(text).map_err(|faults| {
            let faults: Vec<String> = faults
                .iter()
                .map(|fault| format!("{}: {fault}", file.display()))
                .collect();
            Error::input(faults.join("\n"))
        })?;
        let (mut logins, mut faults) = (Vec::new(), Vec::new());
        for login in settings.logins {
            match secret(file, &login, variable) {
                Ok(secret) => logins.push((login.variable, secret)),
                Err(why) => faults.push(format!("{}: line {}: {why}", file.display(), login.line)),
            }
        }
        if !faults.is_empty() {
            return Err(Error::input(faults.join("\n")));
        }
        Ok(OperatorSettings {
            sources: settings.sources,
            python_versions: settings.python_versions,
            pods: settings.pods,
            logins,
        })
    }

    /// What a task's text is held against before it is known where the task runs.
    pub fn policy(&self) -> SourcePolicy<'_> {
        SourcePolicy::without_indexes(&self.sources)
    }

    /// True if an index asks for a login: then not everybody can download the same.
    pub fn is_private(&self) -> bool {
        !self.logins.is_empty()
    }

    /// Adds the indexes and their credentials to uv's variables.
    ///
    /// # Errors
    /// The machine's own settings forbid every index, or have an index of the same name.
    pub fn add_to(&self, variables: &mut Vec<(String, String)>) -> Result<()> {
        if self.sources.indexes.is_empty() {
            return Ok(());
        }
        let value = |wanted: &str| {
            variables
                .iter()
                .find(|(name, _)| name == wanted)
                .map(|(_, value)| value.clone())
        };
        if value("UV_NO_INDEX").is_some_and(|value| !["", "0", "false"].contains(&value.as_str())) {
            let message = "the settings file names indexes, but UV_NO_INDEX forbids all of them";
            return Err(Error::input(format!(
                "{message}\nhint: unset UV_NO_INDEX, or leave `indexes` out"
            )));
        }
        let before = value("UV_INDEX");
        let both = [before.clone(), value("UV_DEFAULT_INDEX")];
        let named = both.iter().flatten().flat_map(|value| value.split([' ', ',']));
        let named: BTreeSet<&str> = named.filter_map(|one| Some(one.split_once('=')?.0)).collect();
        if let Some(index) = self
            .sources
            .indexes
            .iter()
            .find(|index| named.contains(index.name.as_str()))
        {
            let message = format!(
                "the index `{}` has the name of one in this machine's uv settings",
                index.name
            );
            return Err(Error::input(format!(
                "{message}\nhint: give it another name in the settings file"
            )));
        }
        let joined = self.sources.index_variable(before.as_deref());
        variables.retain(|(name, _)| name != "UV_INDEX");
        variables.extend(joined.map(|value| ("UV_INDEX".to_owned(), value)));
        variables.extend(self.logins.iter().cloned());
        Ok(())
    }
}

/// The value of one credential.
fn secret(file: &Path, login: &Login, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let of = format!("{} of the index `{}`", what(login), login.index);
    let text = match &login.secret {
        SecretSource::Variable(name) => variable(name).ok_or_else(|| {
            let hint = "set it for the command that reads the settings";
            format!("the variable {name}, {of}, is not set\nhint: {hint}")
        })?,
        SecretSource::File(name) => {
            let path = file.parent().unwrap_or(Path::new(".")).join(name);
            let cannot = |error: std::io::Error| {
                format!(
                    "the file {}, {of}: {error}\nhint: a relative name is one in the settings file's folder",
                    path.display()
                )
            };
            let mut text = String::new();
            let opened = std::fs::File::open(&path).map_err(cannot)?;
            opened
                .take(MAX_SECRET_BYTES + 1)
                .read_to_string(&mut text)
                .map_err(cannot)?;
            text
        }
    };
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() || text.len() as u64 > MAX_SECRET_BYTES || text.chars().any(char::is_control) {
        let hint = "it must be one line that is not empty";
        return Err(format!("{of} cannot be used\nhint: {hint}"));
    }
    Ok(text.to_owned())
}

fn what(login: &Login) -> &'static str {
    if login.variable.ends_with("_USERNAME") {
        "the user name"
    } else {
        "the password"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "indexes:\n  - name: ours\n    url: https://packages.example/simple\n    username: {variable: USER_OF_OURS}\n    password: {file: token}\n";

    #[test]
    fn credentials_become_variables_of_uv_and_are_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("settings.yaml");
        std::fs::write(folder.path().join("token"), "hush\n").unwrap();
        let variable = |name: &str| (name == "USER_OF_OURS").then(|| "robot".to_owned());
        let settings = OperatorSettings::from_text(&file, TEXT, &variable).unwrap();
        assert!(settings.is_private() && !format!("{settings:?}").contains("hush"));
        let mut variables = vec![
            ("UV_DEFAULT_INDEX".to_owned(), "https://default.example".to_owned()),
            ("UV_INDEX".to_owned(), "https://machine.example".to_owned()),
        ];
        settings.add_to(&mut variables).unwrap();
        let value = |name: &str| {
            variables
                .iter()
                .find(|(one, _)| one == name)
                .map(|(_, value)| value.as_str())
        };
        assert_eq!(
            value("UV_INDEX"),
            Some("ours=https://packages.example/simple https://machine.example")
        );
        assert_eq!(value("UV_DEFAULT_INDEX"), Some("https://default.example"));
        assert_eq!(value("UV_INDEX_OURS_USERNAME"), Some("robot"));
        assert_eq!(value("UV_INDEX_OURS_PASSWORD"), Some("hush"));
        let same = &mut vec![("UV_INDEX".to_owned(), "ours=https://machine.example".to_owned())];
        assert!(settings.add_to(same).is_err());
        let none = &mut vec![("UV_NO_INDEX".to_owned(), "1".to_owned())];
        assert!(settings.add_to(none).unwrap_err().to_string().contains("UV_NO_INDEX"));
        let nothing = &mut Vec::new();
        OperatorSettings::default().add_to(nothing).unwrap();
        assert!(nothing.is_empty());
    }

    #[test]
    fn every_credential_that_is_not_there_is_named_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("settings.yaml");
        let reported = OperatorSettings::from_text(&file, TEXT, &|_| None)
            .unwrap_err()
            .to_string();
        for part in [
            "line 4: the variable USER_OF_OURS, the user name of the index `ours`",
            "line 5: the file ",
            "token",
        ] {
            assert!(reported.contains(part), "{part}: {reported}");
        }
        std::fs::write(folder.path().join("token"), "hush\nhush\n").unwrap();
        let reported = OperatorSettings::from_text(&file, TEXT, &|_| Some("x".to_owned()))
            .unwrap_err()
            .to_string();
        assert!(
            reported.contains("line 5: the password") && !reported.contains("hush"),
            "{reported}"
        );
        let reported = OperatorSettings::from_text(&file, "a: 1\nb: 2\n", &|_| None)
            .unwrap_err()
            .to_string();
        assert_eq!(reported.matches("settings.yaml: line ").count(), 2, "{reported}");
        let reported = OperatorSettings::read(Some(&folder.path().join("none.yaml")))
            .unwrap_err()
            .to_string();
        assert!(reported.contains("--settings"), "{reported}");
    }
}
