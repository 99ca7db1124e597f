//! The tokens that clients must send. Each belongs to one tenant.
//!
//! ```text
//! # a comment
//! team-a  6f1c…            a tenant may have several, so that one can be changed while the other is in use
//! team-b  90aa…
//! ```
//!
//! If a file holds one token and nothing else, it belongs to the tenant `default`.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use hybrid_cache_model::Tenant;

/// Shortest accepted token, in bytes: 128 bits as hexadecimal digits.
pub const MIN_TOKEN_BYTES: usize = 32;
/// Most tokens in a file, because each request is compared with all of them.
const MAX_TOKENS: usize = 1000;
/// A command that makes a token file that only its owner can read.
const MAKE: &str = "`(umask 077; openssl rand -hex 32 > FILE)` makes a file with a good one";

/// Tokens with their tenants. Only hashes are kept, and they are compared in constant time.
#[derive(Clone)]
pub struct Tokens {
    known: Vec<(Tenant, blake3::Hash)>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({})", self.known.len())
    }
}

/// One mistake in a token file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fault {
    /// The line, from 1.
    line: usize,
    what: String,
}

/// All mistakes in a token file. None of its text is quoted, because any word may be a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenFaults(Vec<Fault>);

impl TokenFaults {
    /// One line for each mistake, after the file's name, and a hint.
    pub fn describe(&self, file: &Path) -> String {
        let mut text = String::new();
        for fault in &self.0 {
            text += &format!("{}:{}: {}\n", file.display(), fault.line, fault.what);
        }
        text + "hint: a file holds one token, or lines of the form `TENANT TOKEN`; " + MAKE
    }
}

impl Tokens {
    /// Reads the text of a token file.
    ///
    /// # Errors
    /// It holds no token, or something that is not a token: all mistakes at once.
    pub fn read(text: &str) -> Result<Tokens, TokenFaults> {
        let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
        let entries: Vec<(usize, &str)> = lines
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
            .collect();
        let mut faults = Vec::new();
        let mut known = Vec::new();
        let mut lines = HashMap::new();
        let mut fault = |line, what: String| faults.push(Fault { line, what });
        if entries.is_empty() {
            fault(1, "there is no token".to_owned());
        }
        if entries.len() > MAX_TOKENS {
            fault(entries[MAX_TOKENS].0, format!("more than {MAX_TOKENS} tokens"));
        }
        let is_alone = entries.len() == 1;
        for (line, entry) in entries.into_iter().take(MAX_TOKENS) {
            let words: Vec<&str> = entry.split_whitespace().collect();
            let (tenant, token) = match words.as_slice() {
                [token] if is_alone => (Some(Tenant::default()), *token),
                [token] => {
                    fault(
                        line,
                        "there is a token without a tenant among several tokens".to_owned(),
                    );
                    (None, *token)
                }
                [tenant, token] => (tenant.parse().ok(), *token),
                _ => {
                    fault(
                        line,
                        format!("there are {} words; at most two are expected", words.len()),
                    );
                    continue;
                }
            };
            if tenant.is_none() && words.len() == 2 {
                let form = "use a-z, 0-9 and -, at most 32 characters, a letter or digit at both ends";
                fault(line, format!("the first word is not a tenant's name: {form}"));
            }
            if let Some(what) = unfit(token) {
                fault(line, what);
                continue;
            }
            let hash = blake3::hash(token.as_bytes());
            if let Some(before) = lines.insert(hash, line) {
                fault(line, format!("the token is that of line {before}"));
            }
            known.extend(tenant.map(|tenant| (tenant, hash)));
        }
        if faults.is_empty() {
            Ok(Tokens { known })
        } else {
            faults.sort_by_key(|fault| fault.line);
            Err(TokenFaults(faults))
        }
    }

    /// The tenant of this token. The time does not depend on the text, only on its length.
    pub fn tenant(&self, sent: &[u8]) -> Option<&Tenant> {
        let sent = blake3::hash(sent);
        let mut found = None;
        for (tenant, hash) in &self.known {
            // blake3::Hash compares in constant time, and every token is compared.
            if *hash == sent {
                found = Some(tenant);
            }
        }
        found
    }
}

fn unfit(token: &str) -> Option<String> {
    if token.len() < MIN_TOKEN_BYTES {
        let characters = token.chars().count();
        return Some(format!(
            "the token has {characters} characters; at least {MIN_TOKEN_BYTES} are required"
        ));
    }
    let fits = token.bytes().all(|byte| byte.is_ascii_graphic());
    (!fits).then(|| "the token has characters other than visible ASCII".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_one_token_or_one_for_each_tenant() {
        let (one, other) = ("s3cret42".repeat(4), "0123456789abcdef".repeat(2));
        let alone = Tokens::read(&format!("# ours\n\n{one}\r\n")).unwrap();
        assert_eq!(alone.tenant(one.as_bytes()), Some(&Tenant::default()));
        assert_eq!(alone.tenant(b"s3cret42"), None);
        let several = Tokens::read(&format!("team-a {one}\n  # x\nteam-b\t{other}\nteam-a {one}{other}")).unwrap();
        assert_eq!(several.tenant(one.as_bytes()).unwrap().as_str(), "team-a");
        assert_eq!(several.tenant(other.as_bytes()).unwrap().as_str(), "team-b");
        assert_eq!(
            several.tenant(format!("{one}{other}").as_bytes()).unwrap().as_str(),
            "team-a"
        );
        assert_eq!(several.tenant(b""), None);
        assert!(!format!("{several:?}").contains("s3cret"));
    }

    #[test]
    fn every_mistake_in_a_token_file_names_its_line_and_shows_no_token() {
        let token = "s3cret42".repeat(4);
        let umlauts = "ä".repeat(40);
        let text =
            format!("{token}\nteam-a short\nTeam {token}x\n{token}y team-a\nteam-b {token}\na b c\nteam-c {umlauts}\n");
        let reported = Tokens::read(&text).unwrap_err().describe(Path::new("tokens"));
        for line in [
            "tokens:1: there is a token without a tenant",
            "tokens:2: the token has 5 characters",
            "tokens:3: the first word is not a tenant's name",
            "tokens:4: the first word is not a tenant's name",
            "tokens:4: the token has 6 characters",
            "tokens:5: the token is that of line 1",
            "tokens:6: there are 3 words",
            "tokens:7: the token has characters other",
            "hint: ",
        ] {
            assert_eq!(
                reported.lines().filter(|reported| reported.starts_with(line)).count(),
                1,
                "{line}\n{reported}"
            );
        }
        assert_eq!(reported.lines().count(), 9, "{reported}");
        assert!(
            !reported.contains("s3cret") && !reported.contains("short"),
            "{reported}"
        );
        for empty in ["", "\n# only a comment\n"] {
            assert!(
                Tokens::read(empty)
                    .unwrap_err()
                    .describe(Path::new("t"))
                    .starts_with("t:1: there is no token")
            );
        }
    }
}
