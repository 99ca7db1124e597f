//! A server that the mirror stands for.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use url::Url;

use crate::error::MirrorError;
use crate::path;

/// What a server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamKind {
    /// Pages of links to files, as a package index has them (PEP 503, PEP 691).
    Pages,
    /// Files.
    Files,
}

/// A server that the mirror stands for. Its `Debug` names no address, which may hold a password.
#[derive(Clone)]
pub struct Upstream {
    pub(crate) label: String,
    pub(crate) kind: UpstreamKind,
    /// Without user and password.
    pub(crate) url: Url,
    /// The header `Authorization`.
    pub(crate) login: Option<String>,
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Upstream { label, kind, .. } = self;
        f.debug_struct("Upstream")
            .field("label", label)
            .field("kind", kind)
            .finish_non_exhaustive()
    }
}

impl Upstream {
    /// The server at `address`, which may hold a user and a password; `login` has both if they are given apart. The label is a
    /// part of the recording, so it stays the same from day to day.
    ///
    /// # Errors
    /// The address cannot be mirrored.
    pub fn new(
        label: &str,
        kind: UpstreamKind,
        address: &str,
        login: Option<(&str, &str)>,
    ) -> Result<Upstream, MirrorError> {
        let refused = |why: &str| MirrorError::Address {
            label: label.to_owned(),
            why: why.to_owned(),
        };
        if !path::is_label(label) {
            return Err(refused("its name is not one of a-z, 0-9 and -"));
        }
        let mut url = Url::parse(address).map_err(|error| refused(&error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(refused("it begins neither with http:// nor with https://"));
        }
        if url.query().is_some() {
            return Err(refused("a query may hold a secret, and would be part of every address"));
        }
        url.set_fragment(None);
        let own = (!url.username().is_empty() || url.password().is_some())
            .then(|| (decoded(url.username()), decoded(url.password().unwrap_or_default())));
        let named = login.map(|(user, password)| (user.to_owned(), password.to_owned()));
        let login = named.or(own).map(|(user, password)| {
            let pair = STANDARD.encode(format!("{user}:{password}"));
            format!("Basic {pair}")
        });
        // Both only fail for addresses without a host.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        Ok(Upstream {
            label: label.to_owned(),
            kind,
            url,
            login,
        })
    }

    /// Identity of its address, for a recording: a login and a slash at the end change nothing.
    pub(crate) fn identity(&self) -> String {
        let address = self.url.as_str().trim_end_matches('/');
        blake3::hash(address.as_bytes()).to_hex()[..path::ID_LENGTH].to_owned()
    }

    /// The address of what lies at a path below this server's.
    pub(crate) fn at(&self, rest: &str) -> Option<Url> {
        if rest.is_empty() {
            return Some(self.url.clone());
        }
        let mut base = self.url.as_str().trim_end_matches('/').to_owned();
        base.push('/');
        base.push_str(rest);
        let joined = Url::parse(&base).ok()?;
        // A path that the parser has read as another one is not what was asked for.
        (joined.as_str() == base && joined.origin() == self.url.origin()).then_some(joined)
    }
}

fn decoded(text: &str) -> String {
    path::decoded(text).unwrap_or_else(|| text.to_owned())
}
