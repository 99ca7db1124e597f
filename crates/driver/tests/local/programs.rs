//! Programs that expect what an ordinary machine has.

#[path = "../shared/programs.rs"]
mod shared;

use std::path::Path;

use hybrid_cache_driver::local::config::Network;
use hybrid_cache_driver::local::sandbox::basic_tools;
use hybrid_cache_model::TaskSpec;

use crate::bench::{Bench, machine, machine_with_nix, python, system};

/// The name of this machine's time zone; `None` if its link does not say it.
fn own_time_zone() -> Option<String> {
    let link = std::fs::canonicalize("/etc/localtime").ok()?;
    let name = link.strip_prefix("/usr/share/zoneinfo").ok()?;
    let text = std::fs::read_to_string("/etc/timezone").ok()?;
    let name = name.to_str()?.to_owned();
    (Path::new("/etc/localtime").is_symlink() && text.trim() == name).then_some(name)
}

#[tokio::test]
async fn the_host_name_the_time_zone_and_the_streams_are_as_on_an_ordinary_machine() {
    let test = "the_host_name_the_time_zone_and_the_streams_are_as_on_an_ordinary_machine";
    let Some(config) = machine(test) else { return };
    let Some(zone) = own_time_zone() else {
        println!("skipped: {test}: this machine's time zone has no name");
        return;
    };
    let bench = Bench::shared(config);
    for network in [Network::Isolated, Network::Shared, Network::None] {
        let bench = bench.with(|config| config.network = network);
        let ran = bench.run(&python("tzlocal", shared::EXPECTS_A_MACHINE)).await;
        let mut lines = ran.good().lines();
        assert_eq!(lines.next(), Some(zone.as_str()), "{network:?}");
        assert_eq!(lines.collect::<Vec<_>>(), shared::MACHINE_LINES, "{network:?}");
        assert_eq!(ran.stderr, "the other too\n", "{network:?}");
    }
}

#[tokio::test]
async fn scripts_find_the_basic_tools_that_this_machine_has() {
    let test = "scripts_find_the_basic_tools_that_this_machine_has";
    let Some(config) = machine(test) else { return };
    let is_here = |tool: &str| {
        ["/usr/bin", "/bin"]
            .iter()
            .any(|folder| Path::new(folder).join(tool).exists())
    };
    if let Some(lacking) = ["ps", "which", "free"].into_iter().find(|tool| !is_here(tool)) {
        println!("skipped: {test}: this machine has no {lacking}");
        return;
    }
    let ran = Bench::shared(config)
        .run(&TaskSpec::new(shared::USES_BASIC_TOOLS))
        .await;
    let mut expected: Vec<&str> = basic_tools().filter(|tool| is_here(tool)).collect();
    expected.sort_unstable();
    assert_eq!(ran.good().split(' ').collect::<Vec<_>>(), expected);
}

/// A server with a certificate of an authority of its own, a proxy that counts, and programs that reach the one through the
/// other: all on the loopback of the task's own network. `KEY` and `CERTIFICATE` are replaced.
const CALLS_A_SERVER: &str = r#"
import http.server, os, socket, ssl, subprocess, threading, urllib.request
import requests
KEY, CERTIFICATE = KEY_AND_CERTIFICATE
open("pair.pem", "w").write(KEY + CERTIFICATE)

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")
    def log_message(self, *_): pass

class Proxy(http.server.BaseHTTPRequestHandler):
    asked = []
    def do_CONNECT(self):
        Proxy.asked.append(self.path)
        host, port = self.path.rsplit(":", 1)
        with socket.create_connection((host, int(port))) as server:
            self.send_response(200)
            self.end_headers()
            def copy(source, to):
                while part := source.recv(65536):
                    to.sendall(part)
                to.shutdown(socket.SHUT_WR)
            there = threading.Thread(target=copy, args=(self.connection, server))
            there.start()
            copy(server, self.connection)
            there.join()
        self.close_connection = True
    def log_message(self, *_): pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("pair.pem")
server.socket = context.wrap_socket(server.socket, server_side=True)
proxy = http.server.ThreadingHTTPServer(("127.0.0.1", 3128), Proxy)
for one in (server, proxy):
    threading.Thread(target=one.serve_forever, daemon=True).start()

url = f"https://localhost:{server.server_port}/"
try:
    assert requests.get(url, timeout=20).text == "hello"
    assert urllib.request.urlopen(url, timeout=20).read() == b"hello"
    print("trusted")
except requests.exceptions.SSLError as error:
    print("not trusted:", "self-signed" in str(error))
print("through the proxy:", len(Proxy.asked))
for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "PIP_CERT", "GIT_SSL_CAINFO"):
    if file := os.environ.get(name):
        assert CERTIFICATE.strip() in open(file).read() and "PRIVATE" not in open(file).read(), name
"#;

/// A key and a certificate for `localhost` that is its own authority; `None` if this machine has no `openssl`.
fn own_authority(folder: &Path) -> Option<(String, String)> {
    let (key, certificate) = (folder.join("key.pem"), folder.join("ca.pem"));
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"])
        .args([
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
            "-keyout",
        ])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output();
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    made.is_ok_and(|made| made.status.success())
        .then(|| (read(&key), read(&certificate)))
}

#[tokio::test]
async fn the_operators_certificates_and_proxy_reach_user_code() {
    let test = "the_operators_certificates_and_proxy_reach_user_code";
    let Some(mut config) = machine(test) else { return };
    // This machine may have settings of its own.
    config.certificates.clear();
    config.task_variables.clear();
    let folder = tempfile::tempdir().unwrap();
    let Some((key, certificate)) = own_authority(folder.path()) else {
        println!("skipped: {test}: this machine has no openssl that makes certificates");
        return;
    };
    let code = CALLS_A_SERVER.replace("KEY_AND_CERTIFICATE", &format!("{key:?}, {certificate:?}"));
    let spec = python("requests", &code);
    let bench = Bench::shared(config);
    assert_eq!(bench.run(&spec).await.good(), "not trusted: True\nthrough the proxy: 0");
    // The key in the same file must stay behind.
    let file = folder.path().join("both.pem");
    std::fs::write(&file, key + &certificate).unwrap();
    let reported = bench.with(|config| {
        config.certificates = vec![file];
        let proxy = |name: &str| (name.to_owned(), "http://127.0.0.1:3128".to_owned());
        config.task_variables = vec![proxy("HTTPS_PROXY"), proxy("https_proxy")];
    });
    assert_eq!(reported.run(&spec).await.good(), "trusted\nthrough the proxy: 2");
}

/// What two build tools find of a library, and whether a program that is made with it runs.
const LOOKS_FOR_ZLIB: &str = r#"
import os, pathlib, subprocess
def run(*command):
    return subprocess.run(command, capture_output=True, text=True)
pathlib.Path("main.c").write_text('#include <stdio.h>\n#include <zlib.h>\nint main(void) { return puts(zlibVersion()) < 0; }\n')
pathlib.Path("CMakeLists.txt").write_text("""
cmake_minimum_required(VERSION 3.13)
project(probe C CXX)
find_package(Threads REQUIRED)
find_library(MATH m REQUIRED)
find_program(SHELL_PROGRAM sh)
find_program(MACHINE_PROGRAM ldd)
message(STATUS "program=${MACHINE_PROGRAM}")
find_package(ZLIB)
message(STATUS "zlib=${ZLIB_FOUND}")
if(ZLIB_FOUND)
  add_executable(probe main.c)
  target_link_libraries(probe ZLIB::ZLIB Threads::Threads ${MATH})
endif()
""")
configured = run("cmake", "-B", "build")
assert configured.returncode == 0, configured.stdout + configured.stderr
by_cmake = "zlib=TRUE" in configured.stdout
assert "program=MACHINE_PROGRAM-NOTFOUND" in configured.stdout, configured.stdout
described = run("pkg-config", "--cflags", "--libs", "zlib")
print(by_cmake, described.returncode == 0)
if by_cmake:
    built = run("cmake", "--build", "build")
    assert built.returncode == 0, built.stdout + built.stderr
    print(run("build/probe").stdout.split(".")[0])
if described.returncode == 0:
    built = run("gcc", "main.c", "-o", "by-hand", *described.stdout.split())
    assert built.returncode == 0, built.stderr
    print(run("./by-hand").stdout.split(".")[0])
"#;

#[tokio::test]
async fn build_tools_find_what_was_asked_for_and_nothing_of_the_machine() {
    let test = "build_tools_find_what_was_asked_for_and_nothing_of_the_machine";
    let Some(config) = machine_with_nix(test) else { return };
    let bench = Bench::shared(config);
    let tools = "cmake,gcc,gnumake,pkg-config";
    let ran = bench.run(&system(tools, LOOKS_FOR_ZLIB)).await;
    assert_eq!(ran.good(), "False False");
    let ran = bench.run(&system(&format!("{tools},zlib"), LOOKS_FOR_ZLIB)).await;
    assert_eq!(ran.good(), "True True\n1\n1");
}
