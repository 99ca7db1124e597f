//! A package index on this machine with source distributions, for pods.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use super::sdists;

/// Longest time for one request.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Answers requests until the test's process ends.
pub struct PackageIndex {
    address: SocketAddr,
}

impl PackageIndex {
    /// Serves source distributions of these packages at an address of this machine.
    pub fn serve(address: IpAddr, packages: &[(&str, &str, &str)]) -> PackageIndex {
        let folder = tempfile::tempdir().unwrap();
        sdists::write("python3", folder.path(), packages);
        let mut pages = BTreeMap::new();
        for (name, version, _) in packages {
            let file = format!("{name}-{version}.tar.gz");
            let bytes = std::fs::read(folder.path().join(&file)).unwrap();
            let page = format!("<!DOCTYPE html><a href=\"/files/{file}\">{file}</a>");
            pages.insert(format!("/simple/{name}/"), ("text/html", page.into_bytes()));
            pages.insert(format!("/files/{file}"), ("application/gzip", bytes));
        }
        let listener = TcpListener::bind((address, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let pages = Arc::new(pages);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let pages = Arc::clone(&pages);
                std::thread::spawn(move || answer(stream, &pages));
            }
        });
        PackageIndex { address }
    }

    /// Its address, as uv takes it.
    pub fn url(&self) -> String {
        format!("http://{}/simple", self.address)
    }
}

fn answer(mut stream: TcpStream, pages: &BTreeMap<String, (&str, Vec<u8>)>) {
    let _ = stream.set_read_timeout(Some(TIMEOUT));
    let mut lines = BufReader::new(&stream).lines();
    let first = lines.next().and_then(Result::ok).unwrap_or_default();
    while lines.next().and_then(Result::ok).is_some_and(|line| !line.is_empty()) {}
    let mut words = first.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (status, (kind, body)) = match pages.get(path) {
        Some((kind, body)) => ("200 OK", (*kind, body.as_slice())),
        None => ("404 Not Found", ("text/plain", &b"no such package"[..])),
    };
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    let body = if method == "HEAD" { &[] } else { body };
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
}
