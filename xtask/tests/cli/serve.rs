//! `serve`: what it refuses before anything is started, and how it comes to its end.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::program::{ended, no_tools, wait, xtask};

#[test]
fn an_address_that_is_taken_or_open_is_refused_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    ended(&["serve", "--listen", &taken]).with(
        4,
        &["cannot listen on 127.0.0.1:", "hint: another program listens there"],
    );
    ended(&["serve", "--listen", "0.0.0.0:0"]).with(2, &["others can reach", "--token-file"]);
    ended(&["serve", "--listen", "nowhere"]).with(2, &["nowhere"]);
}

#[test]
fn a_token_that_can_be_guessed_or_read_nowhere_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let file = file.to_str().unwrap();
    ended(&["serve", "--token-file", file]).with(2, &[file]);
    std::fs::write(file, "secret\n").unwrap();
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644)).unwrap();
    ended(&["serve", "--token-file", file]).with(2, &["others can read it (mode 0644)", "hint: `chmod 600 "]);
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let refused = ended(&["serve", "--token-file", file]);
    refused.with(2, &["6 characters; at least 32", "openssl rand -hex 32"]);
    assert!(!refused.stderr.contains("secret"), "{}", refused.stderr);
}

/// A service that listens, with what it has said since.
#[expect(
    clippy::zombie_processes,
    reason = "where it does not listen, the test fails and its process ends"
)]
pub fn listening(folder: &str) -> (Child, String, BufReader<std::process::ChildStderr>) {
    let arguments = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--cache-dir",
        folder,
        "--grace",
        "60",
    ];
    let mut child = xtask(&arguments)
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut reported = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    loop {
        let mut line = String::new();
        if reported.read_line(&mut line).unwrap() == 0 {
            panic!("it ended with {}: {said}", child.wait().unwrap());
        }
        if let Some(address) = line.trim_end().strip_prefix("listening on http://") {
            return (child, address.to_owned(), reported);
        }
        said.push_str(&line);
    }
}

/// One request; the answer's text.
pub fn ask(address: &str, method: &str, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    write!(
        stream,
        "{head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn one_signal_waits_for_the_running_task_and_a_second_one_does_not() {
    if no_tools("one_signal_waits_for_the_running_task_and_a_second_one_does_not") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    for (sleeps, signals, code) in [("2", &[Signal::TERM][..], 0), ("600", &[Signal::INT, Signal::INT], 130)] {
        let (child, address, reported) = listening(folder);
        let code_text = format!("{{\"pythonCode\": \"import time; time.sleep({sleeps}); print('done')\"}}");
        let saved = ask(&address, "POST", "/api/v1/tasks/submit", &code_text);
        let id = saved
            .split("\"id\":\"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap()
            .to_owned();
        let task = format!("/api/v1/tasks/{id}");
        assert!(ask(&address, "POST", &format!("{task}/run"), "").starts_with("HTTP/1.1 202"));
        let began = Instant::now();
        while !ask(&address, "GET", &task, "").contains("\"state\":\"running\"") {
            assert!(began.elapsed() < Duration::from_secs(60), "it never ran");
            std::thread::sleep(Duration::from_millis(20));
        }
        let talk = std::thread::spawn(move || reported.lines().map_while(Result::ok).collect::<Vec<_>>().join("\n"));
        for (at, one) in signals.iter().enumerate() {
            // The second one comes once the first was heard: two at once are one.
            std::thread::sleep(Duration::from_millis(if at == 0 { 0 } else { 300 }));
            signal(&child, *one);
        }
        let ended = wait(child);
        let talk = talk.join().unwrap();
        assert_eq!(ended.code, Some(code), "{talk}");
        assert!(code == 130 || talk.contains("active tasks: 1 ended, 0 go on"), "{talk}");
    }
    // What was cut off is known to have been, and what ended before is still reported.
    let (child, address, _told) = listening(folder);
    let list = ask(&address, "GET", "/api/v1/tasks", "");
    assert!(
        list.contains("\"exitCode\":0") && list.contains("\"end\":\"failed\""),
        "{list}"
    );
    signal(&child, Signal::TERM);
    assert_eq!(wait(child).code, Some(0));
}
