//! An engine that answers a few questions and then does something unkind.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use hybrid_cache_tools::{Error, ErrorClass};

use super::*;

/// Serves one answer for each connection, in turn, until there are no more.
fn engine(socket: &Path, answers: Vec<&'static str>) -> Settings {
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        let mut answers = answers.into_iter();
        while answers.len() > 0 {
            let Ok((mut stream, _)) = listener.accept() else { return };
            // The first look at the socket asks nothing.
            if read_request(&mut stream) {
                let _ = stream.write_all(answers.next().unwrap().as_bytes());
            }
        }
        // It dies: nothing listens any more.
    });
    Settings {
        host: Some(["unix://", socket.to_str().unwrap()].concat()),
        ..Settings::default()
    }
}

/// Reads up to the end of the headers; what is sent behind them may wait.
fn read_request(stream: &mut UnixStream) -> bool {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => request.push(byte[0]),
            _ => return false,
        }
    }
    true
}

const VERSION: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 48\r\nconnection: close\r\n\r\n\
                       {\"ApiVersion\":\"1.41\",\"MinAPIVersion\":\"1.12\"    }";
const OLD: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 21\r\nconnection: close\r\n\r\n\
                   {\"ApiVersion\":\"1.30\"}";
/// A line of a build, a promise of more, and the end of the connection.
const HALF_A_BUILD: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n\
                            1b\r\n{\"stream\":\"Step 1/2 : RUN\"}\r\n";
const A_BUILD_THAT_FAILS: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n\
    1c\r\n{\"stream\":\"gcc: not found\"}\n\r\n\
    5f\r\n{\"errorDetail\":{\"code\":1,\"message\":\"exit code 1\"},\"error\":\"The command returned exit code 1\"}\n\n\r\n0\r\n\r\n";

fn build(settings: &Settings) -> Error {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let result = runtime.block_on(async {
        let engine = Engine::connect_to(settings).await?;
        let build = Build {
            reference: "image:1",
            target: None,
            arguments: &[],
            cache: BuildCache::Use,
        };
        engine.build(&build, Vec::new(), &mut |_| {}).await
    });
    result.unwrap_err()
}

#[test]
fn an_engine_that_dies_during_a_build_is_told_from_a_build_that_fails() {
    let dir = tempfile::tempdir().unwrap();
    let died = build(&engine(&dir.path().join("1"), vec![VERSION, HALF_A_BUILD]));
    let died = format!("{died:#}");
    assert!(died.contains("Step 1/2 : RUN"), "{died}");
    assert!(
        died.contains("building image:1: the connection to the Docker engine failed"),
        "{died}"
    );
    assert!(died.contains("hint: `docker info`"), "{died}");

    let failed = build(&engine(&dir.path().join("2"), vec![VERSION, A_BUILD_THAT_FAILS]));
    let failed = format!("{failed:#}");
    assert!(
        failed.contains("gcc: not found") && failed.contains("exit code 1"),
        "{failed}"
    );
    assert!(!failed.contains("connection"), "{failed}");
}

#[test]
fn an_engine_that_is_too_old_is_a_missing_prerequisite() {
    let dir = tempfile::tempdir().unwrap();
    let error = build(&engine(&dir.path().join("docker.sock"), vec![OLD]));
    assert_eq!(error.class(), ErrorClass::Prerequisite);
    assert!(error.to_string().contains("1.30"), "{error}");
}

#[test]
fn a_socket_that_nobody_listens_at_any_more_is_an_engine_that_does_not_run() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("docker.sock");
    drop(UnixListener::bind(&socket).unwrap());
    let settings = Settings {
        host: Some(["unix://", socket.to_str().unwrap()].concat()),
        ..Settings::default()
    };
    let error = build(&settings);
    assert_eq!(error.class(), ErrorClass::Prerequisite);
    assert!(error.to_string().contains("not running"), "{error}");
}
