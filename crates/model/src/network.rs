//! The messages between the local driver and `runner hold-network`, the process that keeps a task's network.

use serde::{Deserialize, Serialize};

use crate::protocol::Identity;

/// Address that a task asks for names when this machine's own resolver is out of its reach.
pub const NAME_SERVER: &str = "192.0.0.3";

/// The request to `runner hold-network`: one line of JSON on its standard input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldRequest {
    /// The slot's folder, which the driver has made and locked.
    pub folder: String,
    /// pasta, with the arguments that must precede it.
    pub pasta: Vec<String>,
    /// The user to become, if the driver is root. It must not be the user that runs user code: a process with the same
    /// user id outside owns the namespaces.
    pub identity: Option<Identity>,
    /// Seconds without a task after which the holder ends.
    pub idle_s: u64,
    /// True if the holder makes this machine's addresses unreachable.
    pub block_routes: bool,
}

/// The answer of `runner hold-network`: one line of JSON on its standard output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldReport {
    /// The network is ready; the slot's file `holder` describes it.
    Ready,
    /// There is no network, and why.
    Failed(String),
}

/// The content of a slot's file `holder`. Its lock is held for as long as the holder lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The holder's process id.
    pub pid: u32,
    /// Inode of its user namespace.
    pub user_namespace: u64,
    /// Inode of its network namespace.
    pub network_namespace: u64,
    /// Hash of `/etc/resolv.conf` when the network was made; see [`resolver_hash`].
    pub resolver: String,
    /// Name servers of `/etc/resolv.conf` that a task cannot reach, because they are on this machine. Queries to
    /// [`NAME_SERVER`] reach them.
    pub local_name_servers: Vec<String>,
    /// True if this machine's addresses are unreachable.
    pub routes_blocked: bool,
    /// True once the network no longer fits this machine's; the holder ends as soon as no task uses it.
    pub retired: bool,
}

/// Hash of the text of `/etc/resolv.conf`.
pub fn resolver_hash(text: &[u8]) -> String {
    blake3::hash(text).to_hex().to_string()
}

/// The name servers that a text in the form of `/etc/resolv.conf` names.
pub fn name_servers(resolver: &str) -> impl Iterator<Item = &str> {
    resolver.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()).flatten()
    })
}

/// `resolver` with [`NAME_SERVER`] in place of its name servers. pasta forwards to the first of them, and answers from that
/// one carry the address [`NAME_SERVER`] from then on, so that none of them can stay.
pub fn forwarded_resolver(resolver: &str) -> String {
    let others = resolver.lines().filter(|line| name_servers(line).next().is_none());
    let lines = others.map(|line| format!("{line}\n"));
    format!("nameserver {NAME_SERVER}\n{}", lines.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_replaced_and_the_rest_of_the_text_stays() {
        let text = "# made by hand\nnameserver 127.0.0.53\n nameserver  ::1 # local\noptions edns0\n";
        assert_eq!(name_servers(text).collect::<Vec<_>>(), ["127.0.0.53", "::1"]);
        assert_eq!(
            forwarded_resolver(text),
            "nameserver 192.0.0.3\n# made by hand\noptions edns0\n"
        );
    }
}
