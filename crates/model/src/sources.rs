//! Where packages may come from beside the index in use: what an operator's settings allow, and whether a task's text keeps to it.
//!
//! All of it is off by default. The driver, the service and the runner hold the same settings against the same text; nothing
//! in them is secret, because credentials are variables of uv alone.

use serde::{Deserialize, Serialize};

use crate::protection::Protection;
use crate::requirement::{Reference, Refusal, is_same_index};

/// What an operator allows. Part of every request of a driver to the runner.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AllowedSources {
    /// Indexes that uv asks in this order, before those of the machine's own settings.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub indexes: Vec<NamedIndex>,
    /// Hosts, with a port if it is not the usual one, that a requirement may take a wheel from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub wheel_hosts: Vec<String>,
    /// Beginnings of the addresses of git repositories, `https://host/path`, that a requirement may name a commit of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub git_repositories: Vec<String>,
    /// True if setuptools is not added for packages that import `pkg_resources`, nor a build repeated with an older one.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_setuptools: bool,
}

/// An index with its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NamedIndex {
    /// The operator's name for it.
    pub name: String,
    /// Its address without credentials.
    pub url: String,
}

impl AllowedSources {
    /// True if nothing is allowed beyond the index in use.
    pub fn is_empty(&self) -> bool {
        *self == AllowedSources::default()
    }

    /// The indexes for a report: the names of these, then the machine's own.
    pub fn with_index(&self, own: &str) -> String {
        let names = self.indexes.iter().map(|index| index.name.as_str());
        names.chain([own]).collect::<Vec<_>>().join(", ")
    }

    /// The value of uv's variable `UV_INDEX`, with what it held before at the end; `None` if there is nothing.
    pub fn index_variable(&self, before: Option<&str>) -> Option<String> {
        let own = self.indexes.iter().map(|index| format!("{}={}", index.name, index.url));
        let all: Vec<String> = own.chain(before.map(str::to_owned)).collect();
        (!all.is_empty()).then(|| all.join(" "))
    }
}

/// The variable with which uv takes the user name or the password of an index: `UV_INDEX_OURS_PASSWORD`.
pub fn login_variable(index: &str, part: &str) -> String {
    let upper = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_uppercase()
        } else {
            '_'
        }
    };
    let name: String = index.chars().map(upper).collect();
    format!("UV_INDEX_{name}_{part}")
}

/// What the sources that a task names are held against.
#[derive(Clone, Copy, Debug, Default)]
pub struct SourcePolicy<'a> {
    allowed: Option<&'a AllowedSources>,
    variables: Option<&'a [(String, String)]>,
}

impl<'a> SourcePolicy<'a> {
    /// Accepts whatever some operator may allow: for those who only look at a task.
    pub fn unknown() -> SourcePolicy<'static> {
        SourcePolicy::default()
    }

    /// The settings of one operator. `variables` are uv's settings, with the addresses of all indexes in use.
    pub fn new(allowed: &'a AllowedSources, variables: &'a [(String, String)]) -> SourcePolicy<'a> {
        if !Protection::NamedSources.is_on() {
            return SourcePolicy::unknown();
        }
        SourcePolicy {
            allowed: Some(allowed),
            variables: Some(variables),
        }
    }

    /// The settings of one operator, where uv's are not known yet: accepts every index.
    pub fn without_indexes(allowed: &'a AllowedSources) -> SourcePolicy<'a> {
        if !Protection::NamedSources.is_on() {
            return SourcePolicy::unknown();
        }
        SourcePolicy {
            allowed: Some(allowed),
            variables: None,
        }
    }

    /// Refuses the address of an index, as [`crate::requirement::PythonOptions::indexes`] holds it, that is not in use.
    pub(crate) fn check_index(&self, asked: &str) -> Result<(), Refusal> {
        let Some(variables) = self.variables else {
            return Ok(());
        };
        let value = |wanted: &str| {
            variables
                .iter()
                .find(|(name, _)| name == wanted)
                .map(|(_, value)| value.as_str())
        };
        let own = value("UV_DEFAULT_INDEX");
        let used = [own, value("UV_INDEX"), value("UV_FIND_LINKS")].into_iter().flatten();
        let mut used = used.flat_map(|value| value.split([' ', ','])).map(without_name);
        let of_operator = self.allowed.iter().flat_map(|allowed| &allowed.indexes);
        let is_uvs_own = || blake3::hash(asked.as_bytes()).to_hex().as_str() == UVS_INDEX;
        if used.any(|used| is_same_index(asked, used))
            || of_operator.into_iter().any(|index| is_same_index(asked, &index.url))
            || (own.is_none() && is_uvs_own())
        {
            return Ok(());
        }
        let message = format!("the index {asked} is not the one in use");
        Err(Refusal::new(message, INDEX_HINT))
    }

    /// Refuses a text with an address or a repository if the operator allows none, whatever else is wrong with it.
    pub(crate) fn check_any(&self, text: &str) -> Result<(), Refusal> {
        let Some(allowed) = self.allowed else {
            return Ok(());
        };
        let is_git = text.split("://").next().is_some_and(|before| before.contains('+'));
        match is_git {
            true if allowed.git_repositories.is_empty() => Err(Refusal::new(repository_in(text), GIT_HINT)),
            false if allowed.wheel_hosts.is_empty() => Err(Refusal::new(url_in(text), WHEEL_HINT)),
            _ => Ok(()),
        }
    }

    /// Refuses a wheel's address or a repository that the operator does not allow. `text` is the requirement.
    pub(crate) fn check_reference(&self, text: &str, reference: &Reference) -> Result<(), Refusal> {
        let Some(allowed) = self.allowed else {
            return Ok(());
        };
        match reference {
            Reference::Wheel { host, .. } => {
                if allowed.wheel_hosts.iter().any(|one| one == host) {
                    return Ok(());
                }
                let message = format!("{}: the host `{host}` is not allowed", url_in(text));
                Err(Refusal::new(message, WHEEL_HINT))
            }
            Reference::Git { repository, .. } => {
                if allowed.git_repositories.iter().any(|one| is_below(repository, one)) {
                    return Ok(());
                }
                let message = format!("{}: {repository} is not allowed", repository_in(text));
                Err(Refusal::new(message, GIT_HINT))
            }
        }
    }
}

fn url_in(text: &str) -> String {
    format!("a URL in {}", Refusal::quote(text))
}

fn repository_in(text: &str) -> String {
    format!("a repository in {}", Refusal::quote(text))
}

const INDEX_HINT: &str = "leave the option out: packages come from the operator's index; the operator can add one to `indexes` in the settings file";
const WHEEL_HINT: &str =
    "name a published package and its version; the operator can add the host to `wheelHosts` in the settings file";
const GIT_HINT: &str = "name a published package and its version; the operator can add the repository to `gitRepositories` in the settings file";

/// True if `repository` is `prefix` or lies in the folder of that name.
fn is_below(repository: &str, prefix: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    let repository = repository.strip_suffix(".git").unwrap_or(repository);
    let prefix = prefix.strip_suffix(".git").unwrap_or(prefix);
    repository
        .strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The digest (BLAKE3) of the address that uv uses if no setting names an index. The address itself is not written here,
/// because only settings say where packages come from.
const UVS_INDEX: &str = "0a91d306db6fcd97539fc466e8127ff5b30282330392b32d48a00e60ff257308";

/// An index may have a name in front: `name=https://…`.
fn without_name(index: &str) -> &str {
    match index.split_once('=') {
        Some((name, address)) if !name.contains(':') => address,
        _ => index,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_lies_below_a_prefix_only_at_a_slash() {
        let prefix = "https://git.test/team";
        for (repository, below) in [
            ("https://git.test/team", true),
            ("https://git.test/team.git", true),
            ("https://git.test/team/x", true),
            ("https://git.test/team/x.git", true),
            ("https://git.test/teams/x", false),
            ("https://git.test.evil.test/team", false),
            ("http://git.test/team", false),
        ] {
            assert_eq!(is_below(repository, prefix), below, "{repository}");
            assert_eq!(is_below(repository, "https://git.test/team/"), below, "{repository}");
        }
        assert!(is_below("https://git.test/team/x", "https://git.test/team/x.git"));
    }

    #[test]
    fn indexes_of_the_operator_come_first_and_have_variables_of_their_own() {
        let index = |name: &str| NamedIndex {
            name: name.to_owned(),
            url: format!("https://{name}.test/simple"),
        };
        let allowed = AllowedSources {
            indexes: vec![index("ours"), index("pytorch-cpu")],
            ..AllowedSources::default()
        };
        assert_eq!(
            allowed.index_variable(Some("https://old.test")).as_deref(),
            Some("ours=https://ours.test/simple pytorch-cpu=https://pytorch-cpu.test/simple https://old.test")
        );
        assert_eq!(AllowedSources::default().index_variable(None), None);
        assert_eq!(allowed.with_index("default"), "ours, pytorch-cpu, default");
        assert_eq!(
            login_variable("pytorch-cpu", "PASSWORD"),
            "UV_INDEX_PYTORCH_CPU_PASSWORD"
        );
        assert_eq!(serde_json::to_string(&AllowedSources::default()).unwrap(), "{}");
    }
}
