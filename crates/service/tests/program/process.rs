//! The program as a child process, and requests to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hybrid-cache-service"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs it to its end and returns its exit code and everything it printed.
pub fn ended(arguments: &[&str]) -> (Option<i32>, String) {
    let output = command(arguments).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

/// A program that listens.
pub struct Program {
    child: Child,
    pub address: String,
    talk: Option<std::thread::JoinHandle<()>>,
}

impl Program {
    #[expect(
        clippy::zombie_processes,
        reason = "where it does not listen, the test fails and its process ends"
    )]
    pub fn start(arguments: &[&str]) -> Program {
        let mut child = command(arguments).stderr(Stdio::piped()).spawn().unwrap();
        let mut reported = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        loop {
            let mut line = String::new();
            if reported.read_line(&mut line).unwrap() == 0 {
                panic!("it ended with {}: {said}", child.wait().unwrap());
            }
            if let Some(address) = line.trim_end().strip_prefix("listening on http://") {
                let address = address.to_owned();
                // Keep reading, so that a full pipe does not block it.
                let talk = Some(std::thread::spawn(move || reported.lines().for_each(drop)));
                return Program { child, address, talk };
            }
            said.push_str(&line);
        }
    }

    /// One request; the answer's status and body.
    pub fn ask(&self, method: &str, path: &str, token: Option<&str>, body: &Value) -> (u16, Value) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let token = token.map_or(String::new(), |token| format!("Authorization: Bearer {token}\r\n"));
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{token}Content-Type: \
             application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    /// Sends a signal and waits for the end; the exit code.
    pub fn end(mut self, signal: Signal) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        let status = self.child.wait().unwrap();
        self.talk.take().unwrap().join().unwrap();
        status.code()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It is already gone if it was ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
