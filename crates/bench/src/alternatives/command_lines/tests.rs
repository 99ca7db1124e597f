//! Every command line, word by word.

use std::collections::BTreeMap;

use hybrid_cache_model::protocol::{Provider, SystemTools};

use super::super::tools::Pex;
use super::*;

fn tools(source: PackageSource) -> AlternativeTools {
    AlternativeTools {
        python: PythonTools {
            uv: "/tools/uv".to_owned(),
            variables: vec![
                (
                    "UV_DEFAULT_INDEX".to_owned(),
                    "main=https://index.example/simple".to_owned(),
                ),
                ("UV_FIND_LINKS".to_owned(), "/one,/two".to_owned()),
                ("UV_HTTP_TIMEOUT".to_owned(), "9".to_owned()),
                ("SSL_CERT_FILE".to_owned(), "/certificates.pem".to_owned()),
            ],
        },
        pex: Some(Pex {
            interpreter: "/default/python".into(),
            library: "/tools/pex/lib".into(),
        }),
        nix: Some(NixShell {
            program: "/tools/nix".into(),
            tools: SystemTools {
                provider: Provider::Nix {
                    program: "/tools/nix".to_owned(),
                },
                source,
                variables: Vec::new(),
            },
            bubblewrap: vec!["/tools/bwrap".to_owned()],
            root_folders: vec!["/etc".into(), "/usr".into()],
        }),
        threads: 2,
        missing: BTreeMap::new(),
        records: Vec::new(),
    }
}

fn debnix() -> PackageSource {
    PackageSource::Debnix {
        folder: "/debnix".to_owned(),
        mirrors: vec!["https://mirror.example/debian/".to_owned()],
        busybox: "/tools/busybox".to_owned(),
    }
}

fn with_place<T>(tools: &AlternativeTools, look: impl FnOnce(&Workplace<'_>) -> T) -> T {
    look(&Workplace {
        tools,
        folder: Path::new("/peer"),
        interpreter: Path::new("/python"),
        pins: &["idna==3.10".to_owned(), "six==1.17.0".to_owned()],
        packages: &["gcc".to_owned(), "make".to_owned()],
    })
}

fn shown(lines: &[CommandLine]) -> Vec<String> {
    let shown = |line: &CommandLine| {
        let words = line.arguments.iter().map(|word| word.to_string_lossy().into_owned());
        let program = line.program.display().to_string();
        std::iter::once(program).chain(words).collect::<Vec<_>>().join(" ")
    };
    lines.iter().map(shown).collect()
}

fn lines(peer: Peer) -> CommandLines {
    with_place(&tools(debnix()), |place| place.command_lines(peer)).unwrap()
}

fn variable<'a>(line: &'a CommandLine, name: &str) -> Option<&'a str> {
    let own = line.variables.iter().find(|(own, _)| own == name);
    own.map(|(_, value)| value.as_str())
}

#[test]
fn each_peer_runs_what_a_person_would_type() {
    let expected: [(Peer, &[&str]); 4] = [
        (
            Peer::PipVenv,
            &[
                "/python -m venv /peer/environment",
                "/peer/environment/bin/python -m pip install --only-binary=:all: --requirement /peer/requirements.txt",
                "/peer/environment/bin/python /peer/main.py",
            ],
        ),
        (
            Peer::UvVenv,
            &[
                "/tools/uv venv --python /python /peer/environment",
                "/tools/uv pip install --no-build --python /peer/environment/bin/python --requirement /peer/requirements.txt",
                "/peer/environment/bin/python /peer/main.py",
            ],
        ),
        (
            Peer::UvRunWith,
            &[
                "/tools/uv run --no-project --no-build --python /python --with idna==3.10 --with six==1.17.0 /peer/main.py",
            ],
        ),
        (
            Peer::UvRunScript,
            &["/tools/uv run --no-build --python /python --script /peer/main.py"],
        ),
    ];
    for (peer, each) in expected {
        let lines = lines(peer);
        assert_eq!(shown(&lines.each), each);
        assert!(lines.once.is_empty());
    }
}

#[test]
fn pex_makes_its_file_once_and_only_the_file_is_measured() {
    let lines = lines(Peer::PexVenv);
    assert_eq!(
        shown(&lines.once),
        [
            "/default/python -m pex --venv --sh-boot --use-pip-config --no-build --python /python --python-shebang /python \
          --output-file /peer/app.pex --requirement /peer/requirements.txt"
        ]
    );
    assert_eq!(shown(&lines.each), ["/peer/app.pex /peer/main.py"]);
    assert_eq!(variable(&lines.once[0], "PYTHONPATH"), Some("/tools/pex/lib"));
    for line in [&lines.once[0], &lines.each[0]] {
        assert_eq!(variable(line, "PEX_ROOT"), Some("/peer/pex"));
    }
}

#[test]
fn nix_shell_takes_the_packages_of_our_own_source_and_has_a_store_of_its_own() {
    let common =
        "/tools/bwrap --dev-bind /etc /etc --dev-bind /usr /usr --proc /proc --bind /peer/nix /nix /tools/nix shell ";
    let line = &lines(Peer::NixShell).each;
    let packages = "--file /debnix/default.nix gcc make --argstr mirror https://mirror.example/debian --argstr busybox /tools/busybox";
    assert_eq!(
        shown(line),
        [format!("{common}{packages} --command /python /peer/main.py")]
    );
    assert!(
        variable(&line[0], "NIX_CONFIG")
            .unwrap()
            .ends_with("\nsubstituters =\n")
    );
    let nixpkgs = PackageSource::Nixpkgs {
        flake: "github:NixOS/nixpkgs/1".to_owned(),
    };
    let line = with_place(&tools(nixpkgs), |place| place.command_lines(Peer::NixShell))
        .unwrap()
        .each;
    let packages = "github:NixOS/nixpkgs/1#gcc github:NixOS/nixpkgs/1#make";
    assert_eq!(
        shown(&line),
        [format!("{common}{packages} --command /python /peer/main.py")]
    );
    assert!(!variable(&line[0], "NIX_CONFIG").unwrap().contains("substituters"));
}

#[test]
fn pip_gets_the_index_settings_of_uv_in_its_own_words_and_each_cache_is_the_peers_own() {
    let pip = &lines(Peer::PipVenv).each[1];
    for (name, value) in [
        ("PIP_INDEX_URL", "https://index.example/simple"),
        ("PIP_FIND_LINKS", "/one /two"),
        ("PIP_CERT", "/certificates.pem"),
        ("PIP_CACHE_DIR", "/peer/cache"),
        ("PIP_CONFIG_FILE", "/dev/null"),
        ("HOME", "/peer/home"),
    ] {
        assert_eq!(variable(pip, name), Some(value), "{name}");
    }
    assert_eq!(variable(pip, "UV_HTTP_TIMEOUT"), None);
    for peer in [Peer::UvVenv, Peer::UvRunWith, Peer::UvRunScript] {
        let line = &lines(peer).each[0];
        assert_eq!(variable(line, "UV_CACHE_DIR"), Some("/peer/cache"));
        assert_eq!(variable(line, "UV_HTTP_TIMEOUT"), Some("9"));
    }
}

#[test]
fn only_a_script_of_uv_names_its_packages_and_the_code_stays_as_it_is() {
    with_place(&tools(debnix()), |place| {
        assert_eq!(place.program_text(Peer::UvRunWith, "print(1)"), "print(1)");
        assert_eq!(
            place.program_text(Peer::UvRunScript, "print(1)"),
            "# /// script\n# dependencies = [\n#     \"idna==3.10\",\n#     \"six==1.17.0\",\n# ]\n# ///\nprint(1)"
        );
    });
}

#[test]
fn a_peer_whose_tool_is_missing_has_no_command_line() {
    let mut tools = tools(debnix());
    (tools.pex, tools.nix) = (None, None);
    for peer in [Peer::PexVenv, Peer::NixShell, Peer::DirectExec] {
        assert!(with_place(&tools, |place| place.command_lines(peer)).is_none());
    }
}
