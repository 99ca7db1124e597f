//! The operator's settings file: further indexes, hosts of wheels, git repositories, Python versions, and how pods run on a
//! cluster. Every fault of it is named at once.
//!
//! A file names where a user name and a password are, never what they are: whoever reads the file learns no secret, and a
//! message may quote it.

mod faults;
mod pods;
mod prepared;
mod tree;

use crate::python_version;
use crate::requirement::Address;
use crate::sources::{AllowedSources, NamedIndex, login_variable};
use faults::{FaultList, HINT, line, quote};
use tree::{Node, Tree};

pub use faults::SettingsFault;
pub use pods::PodSettings;

/// Largest accepted file, in bytes.
pub const MAX_BYTES: usize = 64 << 10;

/// What a settings file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// What is allowed.
    pub sources: AllowedSources,
    /// Where the credentials of its indexes are.
    pub logins: Vec<Login>,
    /// Python versions, such as `3.12` or `3.12.1`, that the image brings beside its own.
    pub python_versions: Vec<String>,
    /// Where pods run on a cluster, and what tasks may use there.
    pub pods: PodSettings,
}

/// A user name or a password of one index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The index.
    pub index: String,
    /// The variable of uv that takes it: `UV_INDEX_OURS_PASSWORD`.
    pub variable: String,
    /// Where it is.
    pub secret: SecretSource,
    /// The line that names it, for messages.
    pub line: u64,
}

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// In an environment variable of the process that reads the settings.
    Variable(String),
    /// In a file; a relative name is one in the folder of the settings file.
    File(String),
}

impl Settings {
    /// Reads and checks the text of a settings file.
    ///
    /// # Errors
    /// Everything that is wrong with it, in its order.
    pub fn from_yaml(text: &str) -> Result<Settings, Vec<SettingsFault>> {
        let mut reader = Reader::default();
        if text.len() > MAX_BYTES {
            let message = format!("it has {} bytes, at most {MAX_BYTES} are accepted", text.len());
            reader.faults.add(
                1,
                "the file",
                message,
                "name prefixes of repositories instead of each one",
            );
            return Err(reader.faults.all());
        }
        match tree::read(text) {
            Ok(document) => reader.document(&document),
            Err(error) => {
                let error = error.without_snippet();
                let line = error.location().map_or(1, |place| place.line()).max(1);
                let message = error.to_string();
                let message: String = message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
                reader.faults.add(line, "the file", message, HINT);
            }
        }
        match reader.faults.all() {
            faults if faults.is_empty() => Ok(reader.settings),
            faults => Err(faults),
        }
    }
}

const FIELDS: [&str; 6] = [
    "indexes",
    "wheelHosts",
    "gitRepositories",
    "pythonVersions",
    "addSetuptools",
    "pods",
];
const INDEX_FIELDS: [&str; 4] = ["name", "url", "username", "password"];

/// Reads a tree and collects its faults.
#[derive(Default)]
struct Reader {
    settings: Settings,
    faults: FaultList,
}

impl Reader {
    fn document(&mut self, document: &Node) {
        let fields = match &document.value {
            Tree::Map(fields) => fields,
            Tree::Null => return,
            _ => return self.faults.add(line(document), "the file", "it holds no fields", HINT),
        };
        for (name, node) in fields {
            match name.as_str() {
                "indexes" => {
                    for (place, item) in self.faults.list(name, node) {
                        self.index(&place, item);
                    }
                }
                "wheelHosts" => {
                    for (place, item) in self.faults.list(name, node) {
                        self.host(&place, item);
                    }
                }
                "gitRepositories" => {
                    for (place, item) in self.faults.list(name, node) {
                        self.repository(&place, item);
                    }
                }
                "pythonVersions" => {
                    for (place, item) in self.faults.list(name, node) {
                        self.python_version(&place, item);
                    }
                }
                "addSetuptools" => match node.value {
                    Tree::Truth(adds) => self.settings.sources.no_setuptools = !adds,
                    Tree::Null => {}
                    _ => self.faults.add(
                        line(node),
                        name,
                        "it is neither true nor false",
                        "write `false` or leave it out",
                    ),
                },
                "pods" => self.settings.pods = pods::read(name, node, &mut self.faults),
                _ => self.faults.unknown(name, "", node, &FIELDS),
            }
        }
    }

    fn index(&mut self, place: &str, node: &Node) {
        let Tree::Map(fields) = &node.value else {
            return self
                .faults
                .add(line(node), place, "it is not an index", "write `name:` and `url:`");
        };
        for (name, node) in fields.iter().filter(|(name, _)| !INDEX_FIELDS.contains(&name.as_str())) {
            self.faults.unknown(name, &format!("{place}."), node, &INDEX_FIELDS);
        }
        let field = |wanted: &str| fields.iter().find(|(name, _)| name == wanted).map(|(_, node)| node);
        for missing in ["name", "url"].into_iter().filter(|name| field(name).is_none()) {
            self.faults
                .add(line(node), place, format!("it has no `{missing}`"), HINT);
        }
        let name = field("name").and_then(|node| self.index_name(&format!("{place}.name"), node));
        let url = field("url").and_then(|node| self.address(&format!("{place}.url"), node));
        for part in ["username", "password"] {
            if let (Some(node), Some(index)) = (field(part), &name)
                && let Some(secret) = self.secret(&format!("{place}.{part}"), node)
            {
                self.settings.logins.push(Login {
                    index: index.clone(),
                    variable: login_variable(index, &part.to_ascii_uppercase()),
                    secret,
                    line: line(node),
                });
            }
        }
        if let (Some(name), Some(url)) = (name, url) {
            self.settings.sources.indexes.push(NamedIndex { name, url });
        }
    }

    fn index_name(&mut self, place: &str, node: &Node) -> Option<String> {
        let name = self.faults.text(place, node)?;
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        let is_name = name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(inner) && name.len() < 64;
        if !is_name {
            let hint = "begin with a letter; a-z, 0-9, `-` and `_`, at most 63 characters";
            self.faults
                .add(line(node), place, format!("{} is not a name", quote(name)), hint);
            return None;
        }
        let same = |index: &&NamedIndex| login_variable(&index.name, "") == login_variable(name, "");
        if let Some(other) = self.settings.sources.indexes.iter().find(same) {
            let message = format!("{} has the same variables as the index `{}`", quote(name), other.name);
            self.faults
                .add(line(node), place, message, "give each index a name of its own");
            return None;
        }
        Some(name.to_owned())
    }

    /// An address without secrets, as it is compared.
    fn address(&mut self, place: &str, node: &Node) -> Option<String> {
        let text = self.faults.text(place, node)?;
        let fault = match Address::read(text) {
            Err(why) => (format!("{} {why}", quote(text)), "write `https://host/path`"),
            Ok(read) if read.has_login => (
                "a user name or a password in an address".to_owned(),
                "take it out, and name a variable or a file with `username:` and `password:`",
            ),
            Ok(read) if read.has_query || !read.fragment.is_empty() => (
                "a query or a fragment in an address".to_owned(),
                "take it out; a secret may stand there, and this file is not secret",
            ),
            Ok(read) if !read.is_protected() => (
                "`http`, which anybody on the way can change".to_owned(),
                "write `https`; only a server of this machine may use `http`",
            ),
            // uv reads a space and a comma as the end of an address.
            Ok(read) if !read.is_simple() || text.contains(',') => (
                format!("a strange host or path in {}", quote(text)),
                "write `https://host/path`",
            ),
            Ok(read) => return Some(read.plain()),
        };
        self.faults.add(line(node), place, fault.0, fault.1);
        None
    }

    fn host(&mut self, place: &str, node: &Node) {
        let Some(text) = self.faults.text(place, node) else {
            return;
        };
        let read = Address::read(&format!("https://{text}"));
        match read {
            Ok(read) if read.is_simple() && read.host.eq_ignore_ascii_case(text) => {
                self.settings.sources.wheel_hosts.push(read.host);
            }
            _ => {
                let hint = "write the host alone, `files.example.org`, with `:PORT` if it is not the usual one";
                self.faults
                    .add(line(node), place, format!("{} is not a host", quote(text)), hint);
            }
        }
    }

    fn repository(&mut self, place: &str, node: &Node) {
        if let Some(address) = self.address(place, node) {
            if address.contains(['%', '@']) || address.contains("//.") {
                let hint = "write the path as it is, `https://host/team`";
                return self.faults.add(line(node), place, "an encoded path", hint);
            }
            self.settings.sources.git_repositories.push(address);
        }
    }

    fn python_version(&mut self, place: &str, node: &Node) {
        // YAML reads 3.10 as the number 3.1.
        let (what, hint) = match &node.value {
            Tree::Text(text) if python_version::is_version(text) => {
                return self.settings.python_versions.push(text.clone());
            }
            Tree::Text(text) => (
                format!("{} is not a Python version", quote(text)),
                "write a version such as `\"3.12\"` or `\"3.12.1\"`",
            ),
            _ => (
                "it is not a text".to_owned(),
                "write the version in quotes, `\"3.10\"`: without them it is a number, 3.1",
            ),
        };
        self.faults.add(line(node), place, what, hint);
    }

    fn secret(&mut self, place: &str, node: &Node) -> Option<SecretSource> {
        let hint = "write `{variable: NAME}` or `{file: PATH}`: the value itself must not stand in this file";
        if let Tree::Map(fields) = &node.value
            && let [(kind, value)] = fields.as_slice()
            && let Tree::Text(text) = &value.value
            && !text.is_empty()
        {
            let is_name = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            match kind.as_str() {
                "variable" if is_name => return Some(SecretSource::Variable(text.clone())),
                "file" => return Some(SecretSource::File(text.clone())),
                _ => {}
            }
        }
        // The value may be the secret, so no message repeats it.
        self.faults
            .add(line(node), place, "it names neither a variable nor a file", hint);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
# what tasks may use
indexes:
  - name: pytorch
    url: https://Download.example/whl/cpu/
  - name: our-own
    url: http://127.0.0.1:8080/simple
    username: {variable: OUR_USER}
    password: {file: secrets/token}
wheelHosts:
  - files.example
  - files.example:8443
gitRepositories:
  - https://git.example/team/
pythonVersions: [\"3.10\", '3.12.1']
addSetuptools: false
pods:
  runtimeClassName: gvisor
";

    #[test]
    fn a_file_says_what_is_allowed_and_where_the_credentials_are() {
        let settings = Settings::from_yaml(GOOD).unwrap();
        let index = |name: &str, url: &str| NamedIndex {
            name: name.to_owned(),
            url: url.to_owned(),
        };
        assert_eq!(
            settings.sources.indexes,
            [
                index("pytorch", "https://download.example/whl/cpu"),
                index("our-own", "http://127.0.0.1:8080/simple")
            ]
        );
        assert_eq!(settings.sources.wheel_hosts, ["files.example", "files.example:8443"]);
        assert_eq!(settings.sources.git_repositories, ["https://git.example/team"]);
        assert_eq!(settings.python_versions, ["3.10", "3.12.1"]);
        assert!(settings.sources.no_setuptools);
        assert_eq!(settings.pods.placement.runtime_class_name.as_deref(), Some("gvisor"));
        let [user, password] = settings.logins.as_slice() else {
            panic!("{:?}", settings.logins)
        };
        assert_eq!(user.variable, "UV_INDEX_OUR_OWN_USERNAME");
        assert_eq!(user.secret, SecretSource::Variable("OUR_USER".to_owned()));
        assert_eq!(password.variable, "UV_INDEX_OUR_OWN_PASSWORD");
        assert_eq!(
            (&password.secret, password.line),
            (&SecretSource::File("secrets/token".to_owned()), 8)
        );
        for empty in [
            "",
            "# nothing\n",
            "indexes: []\n",
            "indexes:\n",
            "{}",
            "addSetuptools: true",
        ] {
            assert_eq!(Settings::from_yaml(empty), Ok(Settings::default()), "{empty:?}");
        }
    }

    #[test]
    fn every_fault_of_a_file_has_its_line_and_its_field_and_no_secret() {
        let text = "\
indexes:
  - name: Pytorch
    url: http://download.example/whl
  - name: ours
    url: https://me:hush@packages.example/simple
    password: hush
    verify: no
  - url: https://packages.example/simple?token=hush
  - name: ours
    url: https://packages.example/simple
  - name: our_s
    url: https://packages.example/a
    username: {variable: A, file: hush}
  - name: our-s
    url: file:///srv
wheelHost: [a]
wheelHosts:
  - https://files.example
  - files.example/x
  - 12
gitRepositories: https://git.example
pythonVersions:
  - 3.10
  - \">=3.10\"
  - \"3\"
addSetuptools: \"no\"
pods: [here]
";
        let faults = Settings::from_yaml(text).unwrap_err();
        let reported: Vec<String> = faults.iter().map(ToString::to_string).collect();
        for (line, field) in [
            (2, "indexes[0].name"),
            (3, "indexes[0].url"),
            (7, "indexes[1].verify"),
            (5, "indexes[1].url"),
            (6, "indexes[1].password"),
            (8, "indexes[2]"),
            (8, "indexes[2].url"),
            (13, "indexes[4].username"),
            (14, "indexes[5].name"),
            (15, "indexes[5].url"),
            (16, "wheelHost"),
            (18, "wheelHosts[0]"),
            (19, "wheelHosts[1]"),
            (20, "wheelHosts[2]"),
            (21, "gitRepositories"),
            (23, "pythonVersions[0]"),
            (24, "pythonVersions[1]"),
            (25, "pythonVersions[2]"),
            (26, "addSetuptools"),
            (27, "pods"),
        ] {
            let start = format!("line {line}, {field}: ");
            assert!(
                reported
                    .iter()
                    .any(|one| one.starts_with(&start) && one.contains("hint: ")),
                "{start}{reported:#?}"
            );
        }
        assert_eq!(reported.len(), 20, "{reported:#?}");
        assert!(!reported.concat().contains("hush"), "{reported:#?}");
        let reported = Settings::from_yaml("indexes: [\n").unwrap_err();
        assert_eq!(reported.len(), 1);
        assert!(Settings::from_yaml(&"#".repeat(MAX_BYTES + 1)).is_err());
        assert!(Settings::from_yaml("wheelHosts: [a]\nwheelHosts: [b]\n").is_err());
    }
}
