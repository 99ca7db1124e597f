//! A package index, perhaps with a login, a place of wheels and git repositories, at an address of this machine.

use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::process::{Child, Command, Stdio};

/// What a server offers.
#[derive(Default)]
pub struct Plan {
    /// `(name, version, module, requirements)`.
    pub wheels: Vec<(&'static str, &'static str, &'static str, Vec<String>)>,
    pub sdists: Vec<(&'static str, &'static str)>,
    pub repositories: Vec<(&'static str, &'static str)>,
    /// `user:password` that it asks for; empty if for none.
    pub login: String,
    /// Where `/leads-on/…` leads to, and where the files of an index with a login are.
    pub leads_on: String,
}

/// A server that ends with its last user.
pub struct Server {
    program: Child,
    host: String,
    pub commits: Vec<String>,
    folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

impl Server {
    pub fn start(python: &str, address: IpAddr, plan: Plan) -> Server {
        let folder = tempfile::tempdir().unwrap();
        let mut program = Command::new(python)
            .args(["-c", include_str!("settings_server.py")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let text = serde_json::json!({
            "address": address,
            "wheels": plan.wheels,
            "sdists": plan.sdists,
            "repositories": plan.repositories,
            "login": plan.login,
            "leads_on": plan.leads_on,
            "folder": folder.path(),
            "log": folder.path().join("log"),
        });
        serde_json::to_writer(program.stdin.take().unwrap(), &text).unwrap();
        let mut line = String::new();
        BufReader::new(program.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let mut words = line.split_whitespace().map(str::to_owned);
        let port = words.next().expect("the server starts");
        Server {
            host: format!("{address}:{port}"),
            commits: words.collect(),
            program,
            folder,
        }
    }

    pub fn address(&self, path: &str) -> String {
        format!("http://{}/{path}", self.host)
    }

    pub fn host(&self) -> String {
        self.host.clone()
    }

    /// Each request as `path authorization`.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}
