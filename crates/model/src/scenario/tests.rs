//! Reading scenario files: what is accepted, and the place and words of every refusal.

use super::*;

const GOOD: &str = r#"
name: good
why: |
  Shows what a scenario looks like.
request:
  pythonCode: print(6 * 7)
  dependencies: numpy
  requirementsFile: |
    # twenty more
    pandas>=2
  systemDependencies: gcc,make
  useCache: true
expect:
  stdout:
    equals: "42"
  first: { min_s: 10, max_s: 60 }
  cached: { min_s: 0.5, max_s: 5 }
"#;

fn refused(text: &str) -> String {
    Scenario::from_yaml("bench-scenarios/good.yaml", text)
        .expect_err(text)
        .to_string()
}

#[test]
fn a_scenario_is_read_with_all_its_fields() {
    let scenario = Scenario::from_yaml("bench-scenarios/good.yaml", GOOD).unwrap();
    assert_eq!(scenario.name, "good");
    assert_eq!(scenario.expect.stdout, ExpectedOutput::Equals("42".into()));
    assert_eq!(scenario.expect.cached, Some(Claim { min_s: 0.5, max_s: 5.0 }));
    assert!(scenario.asks_python() && scenario.asks_system() && scenario.request.use_cache);
}

#[test]
fn a_mistake_in_a_scenario_is_reported_with_file_line_and_column() {
    let requirement = "    pandas>=2";
    let reported: Vec<String> = [
        ("a tab", "  dependencies: numpy", "\tdependencies: numpy"),
        ("an unknown key", "why: |", "whatever: 1\nwhy: |"),
        ("an unknown key of the request", "  useCache: true", "  usecache: true"),
        ("an unknown key of a claim", "min_s: 10", "min: 10"),
        ("an unknown kind of output", "    equals:", "    matches:"),
        (
            "a repeated key",
            "  useCache: true",
            "  useCache: true\n  useCache: false",
        ),
        ("a missing key", "  pythonCode: print(6 * 7)\n", ""),
        ("a loose bool", "useCache: true", "useCache: yes"),
        ("a number for a text", "pythonCode: print(6 * 7)", "pythonCode: [1]"),
        ("a text for a number", "min_s: 10", "min_s: ten"),
        ("two documents", "expect:", "---\nexpect:"),
        ("another file's name", "name: good", "name: better"),
        ("a name with capitals", "name: good", "name: Good One"),
        ("no reason", "why: |\n  Shows what a scenario looks like.", "why: ' '"),
        ("no code", "print(6 * 7)", "''"),
        ("a bad requirement", requirement, "    pandas>=2\n    -e ."),
        (
            "a bad requirement in quotes",
            "|\n    # twenty more\n    pandas>=2",
            "\"six\\n-e .\"",
        ),
        ("a bad dependency", "dependencies: numpy", "dependencies: numpy, ./x"),
        ("a bad tool", "gcc,make", "gcc make"),
        ("no expectation", "\"42\"", "''"),
        ("no pieces", "equals: \"42\"", "contains: []"),
        ("an empty piece", "equals: \"42\"", "contains:\n      - a\n      - ''"),
        ("a claim upside down", "max_s: 60", "max_s: 6"),
        ("a claim from nothing", "min_s: 0.5", "min_s: 0"),
        ("a claim without end", "max_s: 5 ", "max_s: .inf "),
    ]
    .iter()
    .map(|(what, from, to)| {
        assert!(GOOD.contains(from), "{what}");
        format!(
            "{what}\n  {}\n",
            refused(&GOOD.replacen(from, to, 1)).replace('\n', "\n  ")
        )
    })
    .collect();
    insta::assert_snapshot!(reported.join("\n"));
}

#[test]
fn no_text_makes_the_reader_panic() {
    for text in [
        "",
        "\0",
        "- 1",
        "null",
        "a: *x",
        "a: &x [*x]",
        "<<: 1",
        "\u{feff}",
        "name: {",
        "%YAML 9\n---\n1",
    ] {
        let error = Scenario::from_yaml("x.yaml", text).expect_err(text);
        assert!(error.line >= 1 && error.column >= 1, "{error}");
    }
}
