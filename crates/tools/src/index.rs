//! Which Python package index this machine uses, as settings for uv, read from pip's and uv's own settings and the environment.
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde::Serialize;

use crate::facts::Witness;
use crate::{environment, process};

/// Settings for uv. `Debug` and `Serialize` leave out the values of `env`: addresses may hold a password.
#[derive(Clone, Default, Serialize)]
pub struct IndexSettings {
    /// Variables to start uv with, in a cleared environment.
    #[serde(skip)]
    pub env: BTreeMap<String, String>,
    /// Files and folders those variables name; they must be visible where uv runs.
    pub files: Vec<PathBuf>,
    /// The same index gives the same text on every machine; it names no host and holds no secret.
    pub identity: String,
    /// The folder of wheels that pip looks into; no variable names one without wheels.
    #[serde(skip)]
    pub wheel_folders: Vec<PathBuf>,
    /// True if an address carries credentials: not everybody can download the same then.
    pub is_private: bool,
}

impl IndexSettings {
    /// Files and folders that these settings were made from.
    pub(crate) fn witnesses(&self) -> Vec<Witness> {
        let paths = self.files.iter().chain(&self.wheel_folders);
        paths.map(Witness::new).collect()
    }
}

impl std::fmt::Debug for IndexSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.env.keys().collect();
        f.debug_struct("IndexSettings")
            .field("identity", &self.identity)
            .field("env", &names)
            .field("files", &self.files)
            .finish()
    }
}

/// Variables that uv understands and that we hand on as they are.
const HANDED_ON: [&str; 17] = [
    "UV_DEFAULT_INDEX",
    "UV_INDEX",
    "UV_INSECURE_HOST",
    "UV_NATIVE_TLS",
    "UV_SYSTEM_CERTS",
    "UV_KEYRING_PROVIDER",
    "UV_FIND_LINKS",
    "UV_NO_INDEX",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "SSL_CLIENT_CERT",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "NETRC",
    "UV_HTTP_TIMEOUT",
];

/// Reads the environment and pip's settings.
pub fn read() -> IndexSettings {
    let pip = process::output(
        Command::new("python3").args(["-m", "pip", "config", "list"]),
        Duration::from_secs(20),
    );
    settings(&environment::text, &pip_settings(&pip.unwrap_or_default()))
}

/// `global.index-url='https://…'` lines; what `:env:` or a section of a command says wins over `global`.
fn pip_settings(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for scope in ["global.", "download.", "install.", ":env:."] {
        for (name, value) in text.lines().filter_map(|line| line.split_once('=')) {
            if let Some(name) = name.strip_prefix(scope) {
                let value = value.trim_matches(['\'', '"']).replace("\\n", " ");
                found.insert(name.to_owned(), value.trim().to_owned());
            }
        }
    }
    found
}

fn settings(variable: &dyn Fn(&str) -> Option<String>, pip: &BTreeMap<String, String>) -> IndexSettings {
    let mut env = BTreeMap::new();
    for name in HANDED_ON {
        if let Some(value) =
            variable(name).or_else(|| variable(&name.to_lowercase()).filter(|_| name.ends_with("_PROXY")))
        {
            env.insert(name.to_owned(), value);
        }
    }
    let mut default = |name: &str, value: Option<&String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            env.entry(name.to_owned()).or_insert_with(|| value.clone());
        }
    };
    let old_names = [("UV_DEFAULT_INDEX", "UV_INDEX_URL"), ("UV_INDEX", "UV_EXTRA_INDEX_URL")];
    for (name, old) in old_names {
        default(name, variable(old).as_ref());
    }
    default("UV_DEFAULT_INDEX", pip.get("index-url"));
    default("UV_INDEX", pip.get("extra-index-url"));
    default("UV_INSECURE_HOST", pip.get("trusted-host"));
    default("SSL_CERT_FILE", pip.get("cert"));
    default("HTTPS_PROXY", pip.get("proxy"));
    default("HTTP_PROXY", pip.get("proxy"));
    // uv takes commas where pip takes blanks; an empty folder only costs a look
    let has_files = |folder: &&str| {
        std::fs::read_dir(folder).is_ok_and(|mut files| files.next().is_some()) || folder.contains("://")
    };
    let links = pip
        .get("find-links")
        .map(|links| links.split_whitespace().filter(has_files).collect::<Vec<_>>().join(","));
    default("UV_FIND_LINKS", links.as_ref());
    let wheel_folders = pip
        .get("find-links")
        .into_iter()
        .flat_map(|links| links.split_whitespace());
    let wheel_folders = wheel_folders.filter(|link| link.starts_with('/')).map(PathBuf::from);
    let wheel_folders = wheel_folders.collect();
    let named = [
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "SSL_CLIENT_CERT",
        "NETRC",
        "UV_FIND_LINKS",
    ];
    let files = named
        .iter()
        .filter_map(|name| env.get(*name))
        .flat_map(|value| value.split(','));
    let files = files.filter(|file| file.starts_with('/')).map(PathBuf::from).collect();
    let is_private = addresses(&env).any(|(_, address)| carries_credentials(address));
    IndexSettings {
        identity: identity(&env),
        is_private,
        files,
        wheel_folders,
        env,
    }
}

/// The addresses that packages come from, each with the variable that names it.
fn addresses(env: &BTreeMap<String, String>) -> impl Iterator<Item = (&'static str, &str)> {
    let names = ["UV_DEFAULT_INDEX", "UV_INDEX", "UV_FIND_LINKS"];
    let values = names.into_iter().filter_map(|name| Some((name, env.get(name)?)));
    values.flat_map(|(name, value)| {
        let addresses = value.split([' ', ',']).filter(|address| !address.is_empty());
        addresses.map(move |address| (name, address))
    })
}

/// True if an address has a user, a password or a query, which may hold a token.
fn carries_credentials(address: &str) -> bool {
    let Some((_, rest)) = address.split_once("://") else {
        return false;
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    host.contains('@') || rest.contains('?')
}

/// `default`, or a digest of the addresses without user, password or query.
fn identity(env: &BTreeMap<String, String>) -> String {
    let mut text = String::new();
    for (name, address) in addresses(env) {
        text.push_str(name);
        text.push('=');
        text.push_str(&without_secrets(address));
        text.push('\n');
    }
    if let Some(value) = env.get("UV_NO_INDEX") {
        text.push_str(&format!("UV_NO_INDEX={value}\n"));
    }
    if text.is_empty() {
        "default".into()
    } else {
        format!("index-{}", &blake3::hash(text.as_bytes()).to_hex()[..12])
    }
}

fn without_secrets(address: &str) -> String {
    let address = address
        .split(['?', '#'])
        .next()
        .unwrap_or_default()
        .trim_end_matches('/');
    match address.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
            let host = host.rsplit('@').next().unwrap_or(host);
            format!("{scheme}://{host}/{path}")
        }
        None => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pip_settings_become_uv_variables() {
        let pip = pip_settings(
            "global.index-url='https://u:secret@index.example/simple/'\nglobal.extra-index-url='https://a/x\\nhttps://b/y'\n:env:.cert='/c.pem'\nglobal.cert='/old.pem'\n",
        );
        let found = settings(&|_| None, &pip);
        assert_eq!(found.env["UV_DEFAULT_INDEX"], "https://u:secret@index.example/simple/");
        assert_eq!(found.env["UV_INDEX"], "https://a/x https://b/y");
        assert_eq!(found.files, [PathBuf::from("/c.pem")]);
        assert!(!format!("{found:?}").contains("secret"));
        assert!(!serde_json::to_string(&found).unwrap().contains("secret"));
    }

    #[test]
    fn an_address_with_credentials_is_a_private_index() {
        let with = |name: &str, value: &str| {
            let variable = |asked: &str| (asked == name).then(|| value.to_owned());
            settings(&variable, &BTreeMap::new()).is_private
        };
        assert!(with("UV_DEFAULT_INDEX", "https://u:p@index.example/simple"));
        assert!(with("UV_INDEX", "https://a.example/x https://token@b.example/y"));
        assert!(with("UV_FIND_LINKS", "https://index.example/files?token=1"));
        assert!(!with("UV_DEFAULT_INDEX", "https://index.example/@scope/simple"));
        assert!(!with("UV_FIND_LINKS", "/srv/wheels"));
    }

    #[test]
    fn the_identity_ignores_secrets_and_names_no_host() {
        let with = |index: &str| {
            settings(
                &|name| (name == "UV_DEFAULT_INDEX").then(|| index.to_owned()),
                &BTreeMap::new(),
            )
            .identity
        };
        assert_eq!(
            with("https://u:p@index.example/simple"),
            with("https://index.example/simple/?token=1")
        );
        assert_ne!(
            with("https://index.example/simple"),
            with("https://index.example/other")
        );
        assert!(!with("https://index.example/simple").contains("example"));
        assert_eq!(settings(&|_| None, &BTreeMap::new()).identity, "default");
    }
}
