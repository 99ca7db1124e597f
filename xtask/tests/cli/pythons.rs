//! A Python that the machine lacks: who asks for it learns the command that gets one, and nothing is downloaded unasked.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::program::{Ended, no_tools, xtask};

/// A machine whose only further interpreters are those that uv has installed.
struct Machine {
    folder: tempfile::TempDir,
    path: std::ffi::OsString,
}

impl Machine {
    fn new(without: &str) -> Machine {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&path);
        // A folder of shims has every version's name.
        let path = std::env::join_paths(folders.filter(|folder| !folder.join(without).exists())).unwrap();
        Machine {
            folder: tempfile::tempdir().unwrap(),
            path,
        }
    }

    fn ended(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
        let mut command = xtask(arguments);
        command.env("PATH", &self.path).env("PYENV_ROOT", self.folder.path());
        command.env("UV_PYTHON_INSTALL_DIR", self.folder.path().join("pythons"));
        command.envs(variables.iter().copied());
        command.output().unwrap().into()
    }

    fn run(&self, version: &str) -> Ended {
        let code = "import platform; print(platform.python_version())";
        let caches = self.folder.path().join("caches");
        let caches = caches.to_str().unwrap();
        self.ended(
            &[
                "run",
                "--cache-dir",
                caches,
                "--python-version",
                version,
                "--python",
                code,
            ],
            &[],
        )
    }
}

/// An interpreter of this machine in a folder of its own, with its version.
fn installed() -> Option<(PathBuf, String)> {
    let output = xtask(&["tools", "--json"]).output().unwrap();
    let tools: Value = serde_json::from_slice(&output.stdout).unwrap();
    let others = tools["other_interpreters"].as_array().unwrap().iter();
    let mut own = others.filter(|one| !one["base_prefix"].as_str().unwrap().starts_with("/usr"));
    own.next_back().map(|one| {
        let text = |name: &str| one[name].as_str().unwrap().to_owned();
        (PathBuf::from(text("base_prefix")), text("version"))
    })
}

/// An archive of an interpreter, as uv downloads one: it finds its library from its own place, as uv's do.
fn archive(prefix: &Path, minor: &str, folder: &Path) -> PathBuf {
    let name = prefix.file_name().unwrap().to_str().unwrap();
    let target = folder.join("python.tar.gz");
    let tree = folder.join("tree");
    std::fs::create_dir(&tree).unwrap();
    let mut copy = Command::new("sh");
    copy.arg("-c").arg(
        "tar --create --directory \"$0\" --exclude=test --exclude=site-packages --exclude='config-*' --exclude=__pycache__ \
         --exclude='*.a' \"$1/bin\" \"$1/lib\" \"$1/include\" | tar --extract --directory \"$2\" && mv \"$2/$1\" \"$2/python\"",
    );
    copy.args([prefix.parent().unwrap().as_os_str(), name.as_ref(), tree.as_os_str()]);
    assert!(copy.status().unwrap().success());
    let program = tree.join("python/bin").join(format!("python{minor}"));
    let mut bytes = std::fs::read(&program).unwrap();
    let old = format!("{}/lib\0", prefix.display());
    if let Some(at) = bytes.windows(old.len()).position(|window| window == old.as_bytes()) {
        let mut new = b"$ORIGIN/../lib".to_vec();
        new.resize(old.len(), 0);
        bytes[at..at + old.len()].copy_from_slice(&new);
        std::fs::write(&program, bytes).unwrap();
    }
    let mut tar = Command::new("tar");
    tar.args(["--create", "--gzip", "--file"])
        .arg(&target)
        .arg("--directory")
        .arg(&tree);
    assert!(tar.arg("python").status().unwrap().success());
    target
}

/// Answers every request with the file.
fn serve(file: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let _ = lines
                .take_while(|line| line.as_ref().is_ok_and(|line| !line.is_empty()))
                .count();
            let body = std::fs::read(&file).unwrap();
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        }
    });
    address
}

/// uv's list of downloads with one of them.
fn list(file: &Path, version: &str, url: &str) {
    let numbers: Vec<u32> = version.split('.').map(|part| part.parse().unwrap()).collect();
    let (arch, os) = (std::env::consts::ARCH, std::env::consts::OS);
    let download = json!({
        "name": "cpython", "arch": {"family": arch, "variant": null}, "os": os, "libc": "gnu", "prerelease": "",
        "major": numbers[0], "minor": numbers[1], "patch": numbers[2], "url": url, "sha256": null, "variant": null,
        "build": "20240107",
    });
    let key = format!("cpython-{version}-{os}-{arch}-gnu");
    std::fs::write(file, json!({ key: download }).to_string()).unwrap();
}

#[test]
fn a_python_that_is_missing_is_downloaded_when_a_person_asks_for_it() {
    let test = "a_python_that_is_missing_is_downloaded_when_a_person_asks_for_it";
    if no_tools(test) {
        return;
    }
    let Some((prefix, version)) = installed() else {
        println!("skipped: {test}: this machine has no further Python in a folder of its own");
        return;
    };
    let minor = version.rsplit_once('.').unwrap().0;
    let machine = Machine::new(&format!("python{minor}"));
    // Nothing is downloaded unasked.
    let command = format!("`cargo xtask tools --python-version {minor}`");
    machine.run(minor).with(2, &["is not on offer", &command]);
    let file = |name: &str| machine.folder.path().join(name);
    assert!(!file("pythons").exists());

    let downloads = file("downloads.json");
    let variable = ("UV_PYTHON_DOWNLOADS_JSON_URL", downloads.to_str().unwrap());
    let ask = ["tools", "--python-version", minor, "--json"];
    // Port 9 is that of nobody.
    list(&downloads, &version, "http://127.0.0.1:9/cpython-install_only.tar.gz");
    let refused = machine.ended(&ask, &[variable, ("UV_HTTP_RETRIES", "0")]);
    refused.with(4, &["http://127.0.0.1:9/cpython", "UV_PYTHON_INSTALL_MIRROR"]);
    let forbidden = machine.ended(&ask, &[variable, ("UV_PYTHON_DOWNLOADS", "never")]);
    forbidden.with(4, &["downloads are not allowed", "UV_PYTHON_DOWNLOADS=manual"]);
    let unknown = machine.ended(&["tools", "--python-version", "3.98"], &[variable]);
    unknown.with(4, &["No download found", "3.98"]);
    let odd = machine.ended(&["tools", "--python-version", ">=3.12"], &[variable]);
    odd.with(2, &["write a version such as 3.12"]);

    let url = serve(archive(&prefix, minor, machine.folder.path())) + "/cpython-install_only.tar.gz";
    list(&downloads, &version, &url);
    let brought = machine.ended(&ask, &[variable]);
    brought.with(0, &[]);
    let tools: Value = serde_json::from_str(&brought.stdout).unwrap();
    let found = &tools["other_interpreters"][0];
    assert_eq!(found["version"], version.as_str(), "{tools}");
    assert!(found["path"].as_str().unwrap().contains("/pythons/cpython-"), "{found}");
    // It is there now, so nothing is asked for.
    machine.ended(&ask, &[("UV_PYTHON_DOWNLOADS", "never")]).with(0, &[]);
    assert_eq!(machine.run(minor).with(0, &[]).stdout, format!("{version}\n"));
}
