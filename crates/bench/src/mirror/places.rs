//! The servers that a preparation uses, read from uv's variables, and the same variables with a mirror in their place.

use hybrid_cache_model::sources::login_variable;

/// uv's variables that name addresses, with the label of a mirror's path; the default index is one.
const NAMING: [(&str, &str); 3] = [
    ("UV_DEFAULT_INDEX", "default"),
    ("UV_INDEX", "index"),
    ("UV_FIND_LINKS", "links"),
];
/// What a mirror on loopback no longer needs, or must not get: it has no login, no proxy and no certificate.
const LEFT_OUT: [&str; 4] = ["UV_INSECURE_HOST", "UV_KEYRING_PROVIDER", "SSL_CLIENT_CERT", "NETRC"];

/// A server of packages. There is no `Debug`: it may hold a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Place {
    /// Its name in the mirror.
    pub label: String,
    /// Its address, as the variable has it.
    pub address: String,
    /// User and password, if variables of their own have them.
    pub login: Option<(String, String)>,
    /// Its name in uv, with the equals sign behind it.
    prefix: String,
    variable: &'static str,
}

/// The servers that uv's variables name, without folders of this machine.
pub fn of_uv(variables: &[(String, String)]) -> Vec<Place> {
    let mut places = Vec::new();
    for (variable, label) in NAMING {
        for (at, one) in words(variables, variable).enumerate() {
            let (prefix, address) = split(one);
            if is_folder(address) {
                continue;
            }
            let name = prefix.trim_end_matches('=');
            let part = |part| value(variables, &login_variable(name, part));
            let user = part("USERNAME").filter(|_| !name.is_empty());
            let label = match label {
                "default" => label.to_owned(),
                _ => format!("{label}-{at}"),
            };
            places.push(Place {
                label,
                address: address.to_owned(),
                login: user.map(|user| (user.to_owned(), part("PASSWORD").unwrap_or_default().to_owned())),
                prefix: prefix.to_owned(),
                variable,
            });
        }
    }
    places
}

/// True if uv asks its own default index, because no variable names another or forbids it.
pub fn uses_uvs_default(variables: &[(String, String)]) -> bool {
    let forbids = value(variables, "UV_NO_INDEX").is_some_and(|value| !["", "0", "false"].contains(&value));
    !forbids && value(variables, "UV_DEFAULT_INDEX").is_none()
}

/// uv's own default index.
pub fn uvs_default(address: String) -> Place {
    Place {
        label: "default".to_owned(),
        address,
        login: None,
        prefix: String::new(),
        variable: "UV_DEFAULT_INDEX",
    }
}

/// uv's variables with the mirror's addresses instead of the places'.
pub fn redirected(
    variables: &[(String, String)],
    places: &[Place],
    mirror: impl Fn(&str) -> String,
) -> Vec<(String, String)> {
    let is_login = |name: &str| name.starts_with("UV_INDEX_") && name != "UV_INDEX_STRATEGY";
    let is_naming = |name: &str| NAMING.iter().any(|(naming, _)| *naming == name);
    let mut kept: Vec<(String, String)> = without_proxies(variables)
        .into_iter()
        .filter(|(name, _)| !is_naming(name) && !is_login(name) && !LEFT_OUT.contains(&name.as_str()))
        .collect();
    for (variable, _) in NAMING {
        let own = places.iter().filter(|place| place.variable == variable);
        let own = own.map(|place| format!("{}{}", place.prefix, mirror(&place.label)));
        let folders = words(variables, variable).filter(|one| is_folder(split(one).1));
        let all: Vec<String> = own.chain(folders.map(str::to_owned)).collect();
        if !all.is_empty() {
            // uv takes commas between folders and addresses of links, and blanks between indexes.
            let between = if variable == "UV_FIND_LINKS" { "," } else { " " };
            kept.push((variable.to_owned(), all.join(between)));
        }
    }
    kept
}

/// The variables without those that name a proxy: a proxy does not reach this machine's loopback.
pub fn without_proxies(variables: &[(String, String)]) -> Vec<(String, String)> {
    let is_proxy = |name: &str| name.to_ascii_uppercase().ends_with("_PROXY");
    let kept = variables.iter().filter(|(name, _)| !is_proxy(name));
    kept.cloned().collect()
}

/// The value of a variable.
pub fn value<'a>(variables: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = variables.iter().find(|(one, _)| one == name);
    found.map(|(_, value)| value.as_str())
}

/// What a variable lists.
pub fn words<'a>(variables: &'a [(String, String)], name: &str) -> impl Iterator<Item = &'a str> {
    let text = value(variables, name).unwrap_or_default();
    text.split([' ', ',', '\n']).filter(|word| !word.is_empty())
}

fn is_folder(address: &str) -> bool {
    !address.starts_with("http://") && !address.starts_with("https://")
}

/// The name with its equals sign, and the address.
fn split(one: &str) -> (&str, &str) {
    match one.split_once('=') {
        Some((name, _)) if !name.contains(['/', ':']) => one.split_at(name.len() + 1),
        _ => ("", one),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(list: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        list.iter().map(owned).collect()
    }

    #[test]
    fn every_server_gets_a_place_and_no_login_stays() {
        let own = variables(&[
            (
                "UV_INDEX",
                "ours=https://packages.example/simple https://u:secret@b.example/x",
            ),
            ("UV_FIND_LINKS", "/opt/wheels,https://wheels.example/list.html"),
            ("UV_INDEX_OURS_USERNAME", "robot"),
            ("UV_INDEX_OURS_PASSWORD", "secret"),
            ("HTTPS_PROXY", "http://me:secret@proxy.example"),
            ("no_proxy", ".corp"),
            ("NETRC", "/home/me/.netrc"),
            ("SSL_CERT_FILE", "/c.pem"),
        ]);
        let mut places = of_uv(&own);
        let labels: Vec<_> = places.iter().map(|place| place.label.as_str()).collect();
        assert_eq!(labels, ["index-0", "index-1", "links-1"]);
        assert!(places[0].login == Some(("robot".to_owned(), "secret".to_owned())) && places[1].login.is_none());
        assert!(uses_uvs_default(&own) && !uses_uvs_default(&variables(&[("UV_NO_INDEX", "1")])));
        places.push(uvs_default("https://index.example/simple".to_owned()));
        let with_mirror = redirected(&own, &places, |label| format!("http://mirror/{label}/"));
        assert_eq!(
            with_mirror,
            variables(&[
                ("SSL_CERT_FILE", "/c.pem"),
                ("UV_DEFAULT_INDEX", "http://mirror/default/"),
                ("UV_INDEX", "ours=http://mirror/index-0/ http://mirror/index-1/"),
                ("UV_FIND_LINKS", "http://mirror/links-1/,/opt/wheels"),
            ])
        );
    }

    #[test]
    fn a_default_index_may_have_a_name() {
        let own = variables(&[("UV_DEFAULT_INDEX", "corp=https://index.example/simple?x=1")]);
        let place = &of_uv(&own)[0];
        assert!(place.label == "default" && place.address == "https://index.example/simple?x=1");
        let with_mirror = redirected(&own, &of_uv(&own), |_| "http://mirror/".to_owned());
        assert_eq!(with_mirror, variables(&[("UV_DEFAULT_INDEX", "corp=http://mirror/")]));
    }
}
