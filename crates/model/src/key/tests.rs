//! What changes a key, and what does not.

use super::*;
use crate::protocol::Volumes;
use crate::requirement;

fn context() -> EnvironmentContext {
    EnvironmentContext {
        volumes: Volumes {
            python: "/cache/python".into(),
            nix: "/nix".into(),
        },
        interpreter: Interpreter {
            path: "/usr/bin/python3.11".into(),
            implementation: "cpython".into(),
            version: "3.11.7".into(),
            abi: "cpython-311".into(),
            platform: "linux-x86_64".into(),
            libc: "glibc 2.36".into(),
            binary_hash: "0".repeat(64),
            start: String::new(),
        },
        index: "default".into(),
        system_source: "nixpkgs:1".into(),
        max_age_s: 1,
        tenant: Default::default(),
        index_scope: Default::default(),
        no_builds: false,
        sources: Default::default(),
    }
}

fn key(dependencies: &str, context: &EnvironmentContext) -> RequestKey {
    let requirements = requirement::parse_list("/dependencies", dependencies, &Default::default()).unwrap();
    RequestKey::new(&PythonRequest::new(&requirements, context))
}

#[test]
fn a_key_is_a_file_name_and_depends_on_each_field() {
    let base = key("numpy", &context());
    assert_eq!(base.as_str().len(), 32);
    assert_eq!(base, key("NumPy", &context()));
    assert_ne!(base, key("numpy>=1", &context()));
    assert_ne!(
        base,
        key(
            "numpy",
            &EnvironmentContext {
                index: "other".into(),
                ..context()
            }
        )
    );
}

#[test]
fn a_request_without_options_keeps_the_key_that_it_had_before_there_were_options() {
    let text = "numpy>=2 ; python_version >= '3.8' and os_name == 'posix',six";
    assert_eq!(key(text, &context()).as_str(), "157efbb79f9dec7c17f94069c2fd1f80");
    let task = |file: &str| {
        let spec = crate::TaskSpec {
            dependencies: text.to_owned(),
            requirements_file: file.to_owned(),
            ..crate::TaskSpec::new("1")
        };
        spec.check().unwrap()
    };
    let context = context();
    let of = |file: &str| RequestKey::new(&PythonRequest::of(&task(file), &context));
    let inert = "--prefer-binary\n--only-binary :none:\n--no-binary :none:\n# a comment\n";
    assert_eq!(of(inert), key(text, &context));
    let hash = format!("six==1 --hash=sha256:{}", "0".repeat(64));
    let files = [
        "",
        "--pre",
        "--require-hashes",
        "-i https://host.test",
        "six==1",
        &hash,
        "--only-binary :all:",
        "--only-binary six",
    ];
    let different: std::collections::BTreeSet<_> = files.into_iter().map(of).collect();
    assert_eq!(different.len(), 8);
    assert_eq!(of("--only-binary Six,a_b"), of("--only-binary a.b\n--only-binary six"));
    let constrained = |constraints: &str| {
        let spec = crate::TaskSpec {
            dependencies: text.to_owned(),
            constraints: constraints.to_owned(),
            ..crate::TaskSpec::new("1")
        };
        RequestKey::new(&PythonRequest::of(&spec.check().unwrap(), &context))
    };
    assert_eq!(constrained("# none\n"), key(text, &context));
    assert_eq!(constrained("b\na<2"), constrained("A < 2\nb"));
    assert_eq!(constrained("a<2").as_str(), "825cbafea8c2355c19e859aa7d8d26c8");
    assert_ne!(constrained("a<2"), constrained("a<3"));
    // A version chooses the interpreter, whose key this is.
    let spec = crate::TaskSpec {
        dependencies: text.to_owned(),
        python_version: "3.11".to_owned(),
        ..crate::TaskSpec::new("1")
    };
    let task = spec.check().unwrap();
    assert_eq!(
        RequestKey::new(&PythonRequest::of(&task, &context)),
        key(text, &context)
    );
}

#[test]
fn fields_cannot_run_into_each_other() {
    let one = FieldHasher::new("t").field("ab", "c").finish();
    let other = FieldHasher::new("t").field("a", "bc").finish();
    assert_ne!(one, other);
}

#[test]
fn a_key_depends_on_the_interpreter_path_and_not_on_mount_points() {
    let mut moved = context();
    moved.volumes.python = "/elsewhere".into();
    assert_eq!(key("numpy", &context()), key("numpy", &moved));
    assert_eq!(SystemKey::new(&[], &context()), SystemKey::new(&[], &moved));
    // An environment names its interpreter by path.
    moved.interpreter.path = "/opt/python".into();
    assert_ne!(key("numpy", &context()), key("numpy", &moved));
    assert_eq!(SystemKey::new(&[], &context()), SystemKey::new(&[], &moved));
}

/// Options that each differ from the default in one field.
fn changed_options(pairs: &[(String, String)]) -> [PythonOptions; 4] {
    [
        PythonOptions {
            hashes: pairs.to_vec(),
            ..PythonOptions::default()
        },
        PythonOptions {
            require_hashes: true,
            ..PythonOptions::default()
        },
        PythonOptions {
            pre_releases: true,
            ..PythonOptions::default()
        },
        PythonOptions {
            indexes: vec!["a".to_owned()],
            ..PythonOptions::default()
        },
    ]
}

#[test]
fn every_field_of_a_request_and_of_its_interpreter_changes_its_key() {
    let context = context();
    let requirements = requirement::parse_list("/dependencies", "numpy", &Default::default()).unwrap();
    let base = PythonRequest::new(&requirements, &context);
    let pairs = [("a".to_owned(), "b".to_owned())];
    let options = changed_options(&pairs);
    let named = [NamedIndex {
        name: "a".to_owned(),
        url: "b".to_owned(),
    }];
    let libc = Interpreter {
        libc: "glibc 2.28".into(),
        ..context.interpreter.clone()
    };
    let others = [
        PythonRequest {
            requirements: &[],
            ..base
        },
        PythonRequest {
            interpreter: &libc,
            ..base
        },
        PythonRequest { index: "other", ..base },
        PythonRequest {
            index_strategy: "unsafe-best-match",
            ..base
        },
        PythonRequest {
            named_indexes: &named,
            ..base
        },
        PythonRequest {
            index_scope: "private",
            ..base
        },
        PythonRequest {
            options: &options[0],
            ..base
        },
        PythonRequest {
            options: &options[1],
            ..base
        },
        PythonRequest {
            options: &options[2],
            ..base
        },
        PythonRequest {
            options: &options[3],
            ..base
        },
        PythonRequest {
            constraints: &requirements,
            ..base
        },
        PythonRequest {
            builds: "sources",
            ..base
        },
        PythonRequest { python: "3.12", ..base },
        PythonRequest {
            setuptools: false,
            ..base
        },
    ];
    let mut keys: Vec<RequestKey> = others.iter().chain([&base]).map(RequestKey::new).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), others.len() + 1);
}

#[test]
fn the_name_the_address_and_the_order_of_the_operators_indexes_are_in_the_key() {
    let with = |indexes: &[(&str, &str)]| {
        let mut context = context();
        let named = |(name, url): &(&str, &str)| NamedIndex {
            name: (*name).to_owned(),
            url: (*url).to_owned(),
        };
        context.sources.indexes = indexes.iter().map(named).collect();
        key("torch", &context)
    };
    let (a, b) = (("a", "https://a.test/simple"), ("b", "https://b.test/simple"));
    let mut keys = vec![
        with(&[]),
        with(&[a]),
        with(&[b]),
        with(&[("b", a.1)]),
        with(&[a, b]),
        with(&[b, a]),
    ];
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 6);
    // Which hosts and repositories are allowed changes nothing that is installed: the address itself is a requirement.
    let mut hosts = context();
    hosts.sources.wheel_hosts = vec!["files.test".to_owned()];
    hosts.sources.git_repositories = vec!["https://git.test".to_owned()];
    assert_eq!(key("torch", &hosts), key("torch", &context()));
    let wheel = |path: &str| format!("a @ https://files.test/{path}/a-1-py3-none-any.whl");
    assert_ne!(key(&wheel("x"), &hosts), key(&wheel("y"), &hosts));
    assert_ne!(key(&wheel("x"), &hosts), key("a==1", &hosts));
}

#[test]
fn another_package_source_changes_the_system_key() {
    let other = EnvironmentContext {
        system_source: "nixpkgs:2".into(),
        ..context()
    };
    assert_ne!(SystemKey::new(&[], &context()), SystemKey::new(&[], &other));
}
